//! Governed: `[budget.NAME]`, how much callers may have in a time.

use std::time::Duration;

use super::apis::department;
use super::callers::purpose;
use super::read::{Table, Value};
use super::settings::{Allowance, Budget};
use super::shapes::Names;
use crate::catalog::Catalog;

/// Requests or rows in a time.
const BUDGET_MOST: u64 = 1_000_000_000;
/// Different customers in a time: each of them is remembered for as long.
const BUDGET_CUSTOMERS_MAX: u64 = 100_000;
const WITHIN_MIN: Duration = Duration::from_secs(1);
const WITHIN_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// All of one file's that could be read.
pub(super) fn budgets(table: &Table<'_>, names: &Names<'_>, catalog: &Catalog) -> Vec<Budget> {
    table.named().into_iter().filter_map(|(name, _, value)| budget(name, value, names, catalog)).collect()
}

fn budget(name: &str, value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<Budget> {
    let mut table = value.table(format!("`[budget.{name}]`"))?;
    let whose = table.need("for").and_then(|v| whose(v, names, catalog));
    let (requests, rows, customers) = (table.opt("requests"), table.opt("rows"), table.opt("customers"));
    if requests.is_none() && rows.is_none() && customers.is_none() {
        table.error_help(format!("budget `{name}` bounds nothing"), "add `requests`, `rows` or `customers`, such as `customers = \"500/24h\"`");
    }
    table.finish();
    let read = |value: Option<Value<'_>>, most: u64| value.map_or(Some(None), |v| allowance(v, most).map(Some));
    let (requests, rows, customers) = (read(requests, BUDGET_MOST), read(rows, BUDGET_MOST), read(customers, BUDGET_CUSTOMERS_MAX));
    Some(Budget { name: name.to_owned(), requests: requests?, rows: rows?, customers: customers?, ..whose? })
}

/// `for = { client = "sales-copilot" }`: what stands there must all be true of a request.
fn whose(value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<Budget> {
    let mut table = value.table("`for`")?;
    let client = table.opt("client").map(|v| client(v, names));
    let department = table.opt("department").map(|v| department(v, names));
    let purpose = table.opt("purpose").map(|v| purpose(v, names.vocabulary?));
    let api = table.opt("api").map(|v| {
        let text = v.str()?;
        let found = catalog.apis.iter().find(|api| api.name.as_str() == text).map(|api| api.name);
        if found.is_none() {
            v.unknown("api", text, catalog.apis.iter().map(|api| api.name.as_str()));
        }
        found
    });
    let each = table.opt("each").map(|v| v.word("each", &[("client", true)]));
    if client.is_none() && department.is_none() && purpose.is_none() && api.is_none() && each.is_none() {
        table.error_help("nobody is named", "write `client`, `department`, `purpose`, `api`, or `each = \"client\"` for each client by itself");
    }
    table.finish();
    let each_client = each.map_or(Some(false), |each| each)?;
    let (client, department) = (read(client)?, read(department)?);
    Some(Budget {
        name: String::new(),
        client,
        department,
        purpose: read(purpose)?,
        api: read(api)?,
        each_client,
        requests: None,
        rows: None,
        customers: None,
    })
}

/// What stands there must have been read.
fn read<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn client(value: Value<'_>, names: &Names<'_>) -> Option<crate::model::Client> {
    let (text, vocabulary) = (value.str()?, names.vocabulary?);
    let found = vocabulary.client(text);
    if found.is_none() {
        value.unknown("client", text, vocabulary.clients.keys().map(|client| client.as_str()));
    }
    found
}

/// `1000/1h`
fn allowance(value: Value<'_>, most: u64) -> Option<Allowance> {
    let help = "write a number and a time: `1000/1h`, `500/24h` or `50000/7d`";
    let text = value.str()?;
    let parts = text.split_once('/').and_then(|(number, time)| {
        let is_plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        Some((number.parse::<u64>().ok().filter(|_| is_plain)?, super::values::time(time)?))
    });
    let Some((number, within)) = parts else {
        value.error_help("this is not a number in a time", help);
        return None;
    };
    if !(1..=most).contains(&number) {
        value.error(format!("expected a number from 1 to {most}"));
        return None;
    }
    if !(WITHIN_MIN..=WITHIN_MAX).contains(&within) {
        value.error("expected a time from 1s to 31d");
        return None;
    }
    Some(Allowance { most: number, within })
}
