//! How the tour is shown: a table of at most 120 columns for people, one object a line for machines.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::gateway::Addresses;

/// One step of the tour, as it went. Empty cells are shown as `–`.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) step: usize,
    pub(super) caller: &'static str,
    pub(super) request: String,
    pub(super) purpose: &'static str,
    /// What the table of the tour says: `200`, `403`, `deny`, `ok`.
    pub(super) expected: &'static str,
    /// What came.
    pub(super) status: String,
    /// `9 of 12`, `4 rows ↓`.
    pub(super) released: String,
    pub(super) why: String,
    /// The decision's id, `<origin>#<index>`.
    pub(super) decision: Option<String>,
    /// `Consentry-Withheld` of the answer.
    pub(super) withheld: Option<u64>,
    /// What was expected and did not come; `None` when all went as it should.
    pub(super) complaint: Option<Complaint>,
}

/// How a step went otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// `EXPECTED` and this stand in the table.
    pub(super) expected: String,
    /// Customer data went out that should have stayed.
    pub(super) is_leak: bool,
}

/// Where the columns start; the number and the status are set to the right, the log ends at the last.
const CALLER: usize = 4;
const REQUEST: usize = 22;
const PURPOSE: usize = 50;
const STATUS: usize = 68;
const RELEASED: usize = 76;
const WHY: usize = 86;
const END: usize = 120;

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[1;31m";
const PLAIN: &str = "\u{1b}[0m";

/// The line above the columns.
pub(super) fn opening(ready: Duration, state: &str) -> String {
    format!("consentry {} demo · 3 sample APIs, token issuer and gateway ready in {} · state in {state}", env!("CARGO_PKG_VERSION"), seconds(ready))
}

/// The names of the columns.
pub(super) fn heading() -> String {
    line([" #", "caller", "request", "purpose", "status", "released", "why", "log"])
}

/// One line of the table.
pub(super) fn row(row: &Row, is_coloured: bool) -> String {
    let number = row.step.to_string();
    let log = row.decision.as_deref().and_then(|id| id.rsplit_once('#')).map(|(_origin, index)| format!("#{index}"));
    let why = row.complaint.as_ref().map_or_else(|| row.why.clone(), |complaint| format!("EXPECTED {}", complaint.expected));
    let text = line([
        &number,
        row.caller,
        &row.request,
        &short_purpose(row.purpose),
        &row.status,
        or_dash(&row.released),
        or_dash(&why),
        log.as_deref().unwrap_or("–"),
    ]);
    if !is_coloured {
        return text;
    }
    let colour = match (&row.complaint, row.status.as_str()) {
        (Some(_), _) => return format!("{RED}{text}{PLAIN}"),
        (None, "200" | "201" | "ok") => GREEN,
        (None, _) => YELLOW,
    };
    let status: String = text.chars().skip(STATUS).take(6).collect();
    let before: String = text.chars().take(STATUS).collect();
    let after: String = text.chars().skip(STATUS + 6).collect();
    format!("{before}{colour}{status}{PLAIN}{after}")
}

/// The line below the table.
pub(super) fn closing(rows: &[Row], took: Duration, state: &str) -> String {
    let wrong: Vec<&Row> = rows.iter().filter(|row| row.complaint.is_some()).collect();
    let mut text = format!("{} of {} as expected", rows.len() - wrong.len(), rows.len());
    if wrong.is_empty() {
        // Writing to a String cannot fail.
        let _written = write!(text, " · {}", seconds(took));
        if rows.iter().any(|row| row.released.contains('↓')) {
            text.push_str(" · ↓ the total in the body was corrected");
        }
        return text;
    }
    let steps: Vec<String> = wrong.iter().map(|row| row.step.to_string()).collect();
    let word = if steps.len() == 1 { "step" } else { "steps" };
    let deed =
        if wrong.iter().all(|row| row.complaint.as_ref().is_some_and(|c| c.is_leak)) { "released what it should not have" } else { "went otherwise" };
    let _written = write!(text, " · {word} {} {deed} · state kept in {state}", steps.join(", "));
    text
}

/// What to do while the demo keeps serving: lines for a shell, working as they are printed. `program` is how this program
/// is typed.
pub(super) fn serving(addresses: Addresses, dir: &Path, program: &str) -> String {
    let Addresses { apps, admin, capture: _, health } = addresses;
    let dir = dir.strip_prefix(".").unwrap_or(dir).display();
    let tries = [
        ("the help desk sees what the contract needs", "helpdesk", "service-provision.support", "crm/customers/0031"),
        ("one of five said no", "campaign-manager", "marketing.email", "crm/customers?limit=5"),
        ("a lead who withdrew", "crm", "sales.outreach", "crm/customers/0044"),
    ];
    let mut text = String::from("still serving until ctrl-c; these lines work as they stand\n");
    for (what, app, purpose, target) in tries {
        // A shell may take `?` for a pattern.
        let url = if target.contains('?') { format!("'https://{apps}/{target}'") } else { format!("https://{apps}/{target}") };
        // Writing to a String cannot fail.
        let _written = write!(text, "\n# {what}\ncurl -K {dir}/curl/{app} -H 'Data-Purpose: {purpose}' {url}");
    }
    let _written = write!(
        text,
        "\n# is it well, and what did it decide\n\
         curl http://{health}/readyz\n\
         curl -K {dir}/curl/auditor https://{admin}/v1/decisions\n\
         # does the log still say what it said\n\
         {program} audit verify {dir}/log"
    );
    text
}

/// One step for machines.
pub(super) fn json(row: &Row) -> Value {
    json!({
        "step": row.step,
        "request": row.request,
        "expected": outcome(row.expected),
        "status": outcome(&row.status),
        "decision": row.decision,
        "withheld": row.withheld,
        "ok": row.complaint.is_none(),
        "caller": row.caller,
        "purpose": row.purpose,
        "released": row.released,
        "why": row.why,
        "missing": row.complaint.as_ref().map(|complaint| &complaint.expected),
        "log": row.decision.as_deref().and_then(|id| id.rsplit_once('#')).and_then(|(_origin, index)| index.parse::<u64>().ok()),
    })
}

/// An HTTP status is a number; `deny` and `ok` are words.
fn outcome(text: &str) -> Value {
    text.parse::<u16>().map_or_else(|_word| json!(text), |status| json!(status))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

/// A purpose that is too wide loses what stands above it: `….support`.
fn short_purpose(purpose: &str) -> String {
    if purpose.chars().count() < STATUS - PURPOSE {
        return purpose.to_owned();
    }
    purpose.rsplit_once('.').map_or_else(|| purpose.to_owned(), |(_above, last)| format!("….{last}"))
}

fn line([number, caller, request, purpose, status, released, why, log]: [&str; 8]) -> String {
    let mut text = format!("{number:>2}");
    for (start, end, cell) in [(CALLER, REQUEST, caller), (REQUEST, PURPOSE, request), (PURPOSE, STATUS, purpose)] {
        put(&mut text, start, &cut(cell, end - start - 1));
    }
    put(&mut text, STATUS, &format!("{status:>6}"));
    put(&mut text, RELEASED, &cut(released, WHY - RELEASED - 1));
    let log_at = END.saturating_sub(log.chars().count());
    put(&mut text, WHY, &cut(why, log_at.saturating_sub(WHY + 1)));
    put(&mut text, log_at, log);
    text
}

fn put(text: &mut String, start: usize, cell: &str) {
    let width = text.chars().count();
    text.extend(std::iter::repeat_n(' ', start.saturating_sub(width)));
    text.push_str(cell);
}

/// At most `width` characters, the last one `…` when something was cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Row {
        Row {
            step: 2,
            caller: "helpdesk",
            request: "GET /crm/customers/0031".to_owned(),
            purpose: "service-provision.support",
            expected: "200",
            status: "200".to_owned(),
            released: "9 of 12".to_owned(),
            why: "share-for-contract".to_owned(),
            decision: Some("gw.demo#11".to_owned()),
            withheld: Some(3),
            complaint: None,
        }
    }

    fn wrong(is_leak: bool) -> Row {
        Row { complaint: Some(Complaint { expected: "403".to_owned(), is_leak }), ..example() }
    }

    #[test]
    fn cells_stand_under_their_heads() {
        insta::assert_snapshot!(
            format!("|{}\n|{}", heading(), row(&example(), false)),
            @r"
        | #  caller            request                     purpose           status  released  why                            log
        | 2  helpdesk          GET /crm/customers/0031     ….support            200  9 of 12   share-for-contract             #11
        "
        );
    }

    #[test]
    fn no_line_is_wider_than_120_columns_whatever_it_holds() {
        let long = Row {
            caller: "an-application-with-a-very-long-name",
            request: "GET /crm/customers/0031/a/very/long/path/indeed".to_owned(),
            purpose: "a-purpose-without-any-point-in-it",
            released: "10000 rows ↓ and more".to_owned(),
            why: "policies with names that nobody can read in one line of a table".to_owned(),
            decision: Some("gw.demo#99999".to_owned()),
            ..example()
        };
        let line = row(&long, false);
        assert_eq!(line.chars().count(), END);
        assert_eq!(line.matches('…').count(), 5, "{line}");
        assert!(line.ends_with("… #99999"), "{line}");
    }

    #[test]
    fn a_step_that_went_otherwise_says_what_was_expected() {
        assert!(row(&wrong(true), false).contains("200  9 of 12   EXPECTED 403"));
        assert_eq!(json(&wrong(true))["ok"], false);
    }

    #[test]
    fn colour_comes_only_when_asked_for_and_changes_no_text() {
        assert!(!row(&example(), false).contains('\u{1b}'));
        let coloured = row(&example(), true);
        let bare = coloured.replace(GREEN, "").replace(PLAIN, "");
        assert_ne!(bare, coloured);
        assert_eq!(bare, row(&example(), false));
    }

    #[test]
    fn the_closing_line_counts_and_names_the_steps() {
        let took = Duration::from_millis(2340);
        assert_eq!(closing(&[example(), example()], took, "./demo-state"), "2 of 2 as expected · 2.3 s");
        let corrected = Row { released: "4 rows ↓".to_owned(), ..example() };
        assert_eq!(closing(&[corrected], took, "./demo-state"), "1 of 1 as expected · 2.3 s · ↓ the total in the body was corrected");
        assert_eq!(
            closing(&[example(), wrong(true)], took, "./demo-state"),
            "1 of 2 as expected · step 2 released what it should not have · state kept in ./demo-state"
        );
        assert_eq!(
            closing(&[wrong(true), wrong(false)], took, "./demo-state"),
            "0 of 2 as expected · steps 2, 2 went otherwise · state kept in ./demo-state"
        );
    }

    #[test]
    fn every_printed_command_names_its_caller_purpose_and_port() {
        let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses { apps: at(1), admin: at(2), capture: at(3), health: at(4) };
        let text = serving(addresses, Path::new("./demo-state"), "./target/release/consentry");
        insta::assert_snapshot!(text, @r"
        still serving until ctrl-c; these lines work as they stand

        # the help desk sees what the contract needs
        curl -K demo-state/curl/helpdesk -H 'Data-Purpose: service-provision.support' https://127.0.0.1:1/crm/customers/0031
        # one of five said no
        curl -K demo-state/curl/campaign-manager -H 'Data-Purpose: marketing.email' 'https://127.0.0.1:1/crm/customers?limit=5'
        # a lead who withdrew
        curl -K demo-state/curl/crm -H 'Data-Purpose: sales.outreach' https://127.0.0.1:1/crm/customers/0044
        # is it well, and what did it decide
        curl http://127.0.0.1:4/readyz
        curl -K demo-state/curl/auditor https://127.0.0.1:2/v1/decisions
        # does the log still say what it said
        ./target/release/consentry audit verify demo-state/log
        ");
    }

    #[test]
    fn the_object_of_a_step_has_the_promised_members() {
        let object = json(&example());
        for member in ["step", "request", "expected", "status", "decision", "withheld", "ok", "caller", "purpose", "why", "log"] {
            assert!(object.get(member).is_some(), "{member}");
        }
        assert_eq!(object["log"], 11);
    }
}
