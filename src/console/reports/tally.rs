//! Reports that count decisions: denies, breach, processing record, policy effect. From the search index alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Asked;
use super::report::{Report, Table};
use crate::audit::{Index, IndexError, Names, Row, Verdict};
use crate::console::ActivePolicy;
use crate::model::Activity;

/// Of a set of decisions.
#[derive(Clone, Copy, Debug)]
struct Count {
    decisions: u64,
    /// Customers of each decision, added up.
    customers: u64,
    first: i64,
    last: i64,
}

impl Default for Count {
    fn default() -> Self {
        Self { decisions: 0, customers: 0, first: i64::MAX, last: i64::MIN }
    }
}

impl Count {
    fn add(&mut self, row: &Row<'_>, customers: u64) {
        self.decisions += 1;
        self.customers += customers;
        (self.first, self.last) = (self.first.min(row.at), self.last.max(row.at));
    }
}

/// Refused requests by month, department, app, purpose and code.
pub(super) fn denies(index: &Index, asked: &Asked) -> Result<Report, IndexError> {
    /// Month, department, app, purpose, code.
    type Key = (String, u32, u32, Option<u32>, Option<u32>);
    let mut counts: HashMap<Key, Count> = HashMap::new();
    let (mut all, mut months) = (0u64, Months::default());
    let names = index.scan(asked.window, |names, row| {
        all += u64::from(asked.wants(names, row));
        if row.is_denied && asked.wants(names, row) {
            let key = (months.of(row.at), row.department, row.app, row.purpose, row.code);
            counts.entry(key).or_default().add(row, row.judged.iter().map(|reading| reading.parties).sum());
        }
    })?;
    let denied: u64 = counts.values().map(|count| count.decisions).sum();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let mut by_department: BTreeMap<(String, String), u64> = BTreeMap::new();
    for ((month, department, app, purpose, code), count) in counts {
        let text = |name: u32| names.text(name).to_owned();
        *by_department.entry((month.clone(), text(department))).or_default() += count.decisions;
        rows.push(vec![
            json!(month),
            json!(text(department)),
            json!(text(app)),
            json!(purpose.map(text)),
            json!(code.map(text)),
            json!(count.decisions),
            json!(time(count.last)),
        ]);
    }
    sort(&mut rows);
    let lead = format!("{denied} of {} were refused.", counted(all, "request"));
    let (strangers, rejects) = rejects(index, asked)?;
    let by_department: Vec<Vec<Value>> =
        by_department.into_iter().map(|((month, name), count)| vec![json!(month), json!(name), json!(count)]).collect();
    Ok(asked
        .report("denies", "Refused requests", lead)
        .table(Table::new(
            "denies",
            "By month, department, app, purpose and reason",
            &[
                ("month", "Month"),
                ("department", "Department"),
                ("app", "App"),
                ("purpose", "Purpose"),
                ("code", "Code"),
                ("decisions", "Refused"),
                ("last", "Last"),
            ],
            rows,
        ))
        .table(Table::new(
            "departments",
            "By month and department",
            &[("month", "Month"), ("department", "Department"), ("decisions", "Refused")],
            by_department,
        ))
        .table(Table::new(
            "rejects",
            "Refused before a caller was known, or because nothing could be recorded",
            &[("month", "Month"), ("listener", "Listener"), ("code", "Code"), ("network", "Network"), ("count", "Refused"), ("last", "Last")],
            rejects,
        ))
        .note(format!(
            "Beside these, {strangers} requests and connections were refused before a caller was known, or because nothing could be recorded."
        ))
        .note("A list from which customers were left out was answered, not refused; it is not counted here."))
}

/// Rejects have no app, department or API: a question about one of these has none of them.
fn rejects(index: &Index, asked: &Asked) -> Result<(u64, Vec<Vec<Value>>), IndexError> {
    /// Month, listener, code, network.
    type Key = (String, String, String, Option<String>);
    let mut counts: BTreeMap<Key, (u64, i64)> = BTreeMap::new();
    let (mut all, mut months) = (0u64, Months::default());
    if asked.app.is_none() && asked.department.is_none() && asked.api.is_none() {
        index.rejected(asked.window, |row| {
            let key = (months.of(row.at), row.listener.to_owned(), row.code.to_owned(), row.network.map(str::to_owned));
            let (count, last) = counts.entry(key).or_insert((0, i64::MIN));
            (*count, *last) = (count.saturating_add(row.count), row.at.max(*last));
            all = all.saturating_add(row.count);
        })?;
    }
    let rows = counts.into_iter().map(|((month, listener, code, network), (count, last))| {
        vec![json!(month), json!(listener), json!(code), json!(network), json!(count), json!(time(last))]
    });
    Ok((all, rows.collect()))
}

/// Who received which categories of how many customers: for a notification of a breach (GDPR Art. 33).
pub(super) fn breach(index: &Index, asked: &Asked, party: impl Fn(u64) -> Value) -> Result<Report, IndexError> {
    /// Department, app, employee, API, route.
    type Key = (u32, u32, Option<u32>, u32, u32);
    let mut counts: HashMap<Key, BTreeMap<String, Count>> = HashMap::new();
    let mut heads: HashSet<u64> = HashSet::new();
    let names = index.scan(asked.window, |names, row| {
        if row.disclosed.is_empty() || !asked.wants(names, row) {
            return;
        }
        let categories = counts.entry((row.department, row.app, row.actor, row.api, row.route)).or_default();
        let mut released: BTreeMap<&str, u64> = BTreeMap::new();
        for reading in row.disclosed {
            for verdict in names.verdicts(reading.class).iter().filter(|verdict| is_released(verdict)) {
                *released.entry(verdict.category.as_str()).or_default() += reading.parties;
            }
        }
        if !released.is_empty() {
            heads.insert(row.index);
        }
        for (category, customers) in released {
            categories.entry(category.to_owned()).or_default().add(row, customers);
        }
    })?;
    let customers = index.disclosed_parties(&heads)?;
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for ((department, app, actor, api, route), categories) in counts {
        let text = |name: u32| json!(names.text(name));
        for (category, count) in categories {
            rows.push(vec![
                text(department),
                text(app),
                actor.map_or(Value::Null, text),
                json!(category),
                text(api),
                text(route),
                json!(count.decisions),
                json!(count.customers),
                json!(time(count.first)),
                json!(time(count.last)),
            ]);
        }
    }
    sort(&mut rows);
    let recipients: BTreeSet<&str> = rows.iter().filter_map(|row| row.get(1)?.as_str()).collect();
    let lead = format!(
        "{} about {} let data go to {}.",
        counted(heads.len() as u64, "decision"),
        counted(customers.len() as u64, "customer"),
        counted(recipients.len() as u64, "app")
    );
    let parties: Vec<Vec<Value>> = customers.into_iter().map(|number| vec![party(number)]).collect();
    Ok(asked
        .report("breach", "What went to whom", lead)
        .table(Table::new(
            "recipients",
            "By recipient and category",
            &[
                ("department", "Department"),
                ("app", "App"),
                ("actor", "Employee"),
                ("category", "Category"),
                ("api", "API"),
                ("route", "Route"),
                ("decisions", "Decisions"),
                ("customers", "Customers, added up"),
                ("first", "First"),
                ("last", "Last"),
            ],
            rows,
        ))
        .table(Table::new("customers", "Customers, each once", &[("party", "Customer")], parties))
        .note("What may have left counts as left: answers that were cut, and those whose end is not in the log.")
        .note("Employees are pseudonyms. The report says what the gateway released; what an app did with it afterwards is not in this log."))
}

/// What was observed beside what is declared (GDPR Art. 30).
pub(super) fn processing_record(index: &Index, asked: &Asked, declared: &[Activity]) -> Result<Report, IndexError> {
    type Key = (Option<(String, u64)>, u32, u32, Option<u32>, String);
    let mut counts: HashMap<Key, (Count, BTreeSet<String>, BTreeSet<u32>)> = HashMap::new();
    let names = index.scan(asked.window, |names, row| {
        if !asked.wants(names, row) {
            return;
        }
        let mut seen: HashMap<Key, (u64, BTreeSet<String>)> = HashMap::new();
        for reading in row.disclosed {
            for verdict in names.verdicts(reading.class).iter().filter(|verdict| is_released(verdict)) {
                let activity = verdict.activity.clone().map(|key| (key, verdict.activity_version.unwrap_or_default()));
                let (customers, categories) = seen.entry((activity, row.department, row.app, row.purpose, verdict.basis.clone())).or_default();
                *customers = (*customers).max(reading.parties);
                categories.insert(verdict.category.clone());
            }
        }
        for (key, (customers, categories)) in seen {
            let (count, all, apis) = counts.entry(key).or_default();
            count.add(row, customers);
            all.extend(categories);
            apis.insert(row.api);
        }
    })?;
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let (mut met, mut differing) = (BTreeSet::new(), 0u64);
    for ((activity, department, app, purpose, basis), (count, categories, apis)) in counts {
        let text = |name: u32| names.text(name).to_owned();
        let known = activity
            .as_ref()
            .and_then(|(key, version)| declared.iter().find(|known| known.id.as_str() == key && u64::from(known.version) == *version));
        let differs = differences(known, activity.is_some(), declared.is_empty(), &text(department), purpose.map(text).as_deref(), &categories);
        differing += u64::from(!differs.is_empty());
        met.extend(activity.as_ref().map(|(key, _)| key.clone()));
        rows.push(vec![
            json!(activity.as_ref().map(|(key, _)| key)),
            json!(activity.as_ref().map(|(_, version)| version)),
            json!(text(department)),
            json!(text(app)),
            json!(purpose.map(text)),
            json!(basis),
            json!(categories),
            json!(apis.into_iter().map(text).collect::<BTreeSet<_>>()),
            json!(known.map(|known| known.recipients.clone())),
            json!(known.map(|known| known.retention.clone())),
            json!(count.decisions),
            json!(count.customers),
            json!(time(count.first)),
            json!(time(count.last)),
            json!(differs),
        ]);
    }
    sort(&mut rows);
    let unseen: Vec<Vec<Value>> = declared
        .iter()
        .filter(|activity| !met.contains(activity.id.as_str()))
        .map(|a| {
            let purposes: Vec<&str> = a.purposes.iter().map(|purpose| purpose.as_str()).collect();
            vec![json!(a.id.as_str()), json!(a.version), json!(a.department.as_str()), json!(purposes), json!(a.basis.as_str())]
        })
        .collect();
    let lead = format!("{} were observed; {differing} differ from what is declared.", counted(rows.len() as u64, "kind of processing"));
    let report = asked.report("processing-record", "Record of processing, as observed", lead).table(Table::new(
        "observed",
        "Observed",
        &[
            ("activity", "Activity"),
            ("version", "Version"),
            ("department", "Department"),
            ("app", "App"),
            ("purpose", "Purpose"),
            ("basis", "Lawful basis"),
            ("categories", "Categories"),
            ("apis", "Systems"),
            ("recipients", "Declared recipients"),
            ("retention", "Kept for"),
            ("decisions", "Decisions"),
            ("customers", "Customers, added up"),
            ("first", "First"),
            ("last", "Last"),
            ("differs", "Differs from the declaration"),
        ],
        rows,
    ));
    let columns =
        [("activity", "Activity"), ("version", "Version"), ("department", "Department"), ("purposes", "Purposes"), ("basis", "Lawful basis")];
    let report = report.table(Table::new("unseen", "Declared, and not observed", &columns, unseen));
    Ok(if declared.is_empty() { report.note("Read from the log alone: what is declared is known to the running gateway only.") } else { report })
}

fn differences(
    known: Option<&Activity>,
    has_activity: bool,
    is_unknown: bool,
    department: &str,
    purpose: Option<&str>,
    categories: &BTreeSet<String>,
) -> Vec<String> {
    let Some(known) = known else {
        return match (is_unknown, has_activity) {
            (true, _) => Vec::new(),
            (false, true) => vec!["this activity, or this version of it, is not declared now".to_owned()],
            (false, false) => vec!["no activity".to_owned()],
        };
    };
    let mut found = Vec::new();
    if known.department.as_str() != department {
        found.push(format!("declared by {}", known.department));
    }
    if let Some(purpose) = purpose.filter(|purpose| !known.purposes.iter().any(|declared| declared.as_str() == *purpose)) {
        found.push(format!("purpose {purpose} is not declared"));
    }
    let undeclared = categories.iter().filter(|category| !known.categories.iter().any(|declared| declared.as_str() == category.as_str()));
    found.extend(undeclared.map(|category| format!("category {category} is not declared")));
    found
}

/// How often each policy determined, and which never did.
pub(super) fn policy_effect(index: &Index, asked: &Asked, active: &[ActivePolicy]) -> Result<Report, IndexError> {
    let mut counts: HashMap<String, (Count, u64, u64)> = HashMap::new();
    let mut all = 0u64;
    index.scan(asked.window, |names, row| {
        if !asked.wants(names, row) {
            return;
        }
        all += 1;
        let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for verdict in row.judged.iter().flat_map(|reading| names.verdicts(reading.class)) {
            for policy in &verdict.policies {
                let (opened, closed) = seen.entry(policy).or_default();
                *opened |= is_released(verdict);
                *closed |= !is_released(verdict);
            }
        }
        for (policy, (opened, closed)) in seen {
            if !counts.contains_key(policy) {
                counts.insert(policy.to_owned(), <_>::default());
            }
            if let Some((count, opens, closes)) = counts.get_mut(policy) {
                count.add(row, 0);
                *opens += u64::from(opened);
                *closes += u64::from(closed);
            }
        }
    })?;
    let declared = |name: &str| active.iter().find(|policy| policy.name == name);
    let mut rows: Vec<Vec<Value>> = counts
        .iter()
        .map(|(name, (count, opens, closes))| {
            let known = declared(name);
            vec![
                json!(name),
                json!(known.map(|known| known.effect)),
                json!(known.map(|known| known.at.clone())),
                json!(count.decisions),
                json!(opens),
                json!(closes),
                json!(time(count.last)),
            ]
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.get(3).and_then(Value::as_u64)));
    let dead: Vec<Vec<Value>> = active
        .iter()
        .filter(|policy| !counts.contains_key(&policy.name))
        .map(|policy| vec![json!(policy.name), json!(policy.effect), json!(policy.at)])
        .collect();
    let lead = match active.len() {
        0 => format!("{} determined {}.", counted(rows.len() as u64, "policy"), counted(all, "decision")),
        of => format!("{} of {} in force determined nothing in {}.", dead.len(), counted(of as u64, "policy"), counted(all, "decision")),
    };
    Ok(asked
        .report("policy-effect", "What policies did", lead)
        .table(Table::new(
            "policies",
            "Policies that determined",
            &[
                ("policy", "Policy"),
                ("effect", "Effect"),
                ("at", "Where"),
                ("decisions", "Decisions"),
                ("released", "Let something go"),
                ("withheld", "Held something back"),
                ("last", "Last"),
            ],
            rows,
        ))
        .table(Table::new("unused", "In force, and never determined", &[("policy", "Policy"), ("effect", "Effect"), ("at", "Where")], dead)))
}

pub(super) fn is_released(verdict: &Verdict) -> bool {
    verdict.release != "withheld"
}

/// Rows in the order of their cells.
fn sort(rows: &mut [Vec<Value>]) {
    rows.sort_by_cached_key(|row| row.iter().map(super::report::plain).collect::<Vec<_>>());
}

/// Microseconds since 1970, to the second, UTC.
pub(super) fn time(at: i64) -> String {
    Timestamp::from_microsecond(at).map_or_else(|_far| String::new(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

pub(in crate::console) fn counted(count: u64, what: &str) -> String {
    let plural = match what {
        "policy" => "policies".to_owned(),
        "kind of processing" => "kinds of processing".to_owned(),
        other => format!("{other}s"),
    };
    if count == 1 { format!("1 {what}") } else { format!("{count} {plural}") }
}

/// Months of times, which mostly follow each other.
#[derive(Default)]
struct Months {
    /// The last one: from, until before, text.
    last: Option<(i64, i64, String)>,
}

impl Months {
    fn of(&mut self, at: i64) -> String {
        if let Some((_, _, text)) = self.last.as_ref().filter(|(from, until, _)| (*from..*until).contains(&at)) {
            return text.clone();
        }
        let Ok(day) = Timestamp::from_microsecond(at).map(|at| at.to_zoned(TimeZone::UTC)) else { return String::new() };
        let text = day.strftime("%Y-%m").to_string();
        let bounds = day.first_of_month().and_then(|first| first.start_of_day()).and_then(|from| {
            let until = from.checked_add(jiff::Span::new().months(1))?;
            Ok((from.timestamp().as_microsecond(), until.timestamp().as_microsecond()))
        });
        self.last = bounds.ok().map(|(from, until)| (from, until, text.clone()));
        text
    }
}

impl Asked {
    /// Whether a decision is one that is asked about.
    pub(super) fn wants(&self, names: &Names, row: &Row<'_>) -> bool {
        let same = |asked: &Option<String>, name: u32| asked.as_deref().is_none_or(|asked| names.text(name) == asked);
        same(&self.app, row.app) && same(&self.department, row.department) && same(&self.api, row.api)
    }
}
