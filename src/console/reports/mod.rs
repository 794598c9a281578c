//! `/v1/reports/{kind}` and `/v1/subjects/{id}/access-report`: what officers hand over, as JSON, CSV, NDJSON or a page. A report is
//! itself an entry of the log. Those that rest on the log alone are also made from its files.

mod consent;
mod html;
mod oversight;
mod person;
mod report;
mod tally;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) fn facts_for_tests() -> std::sync::Arc<crate::audit::DecisionFacts> {
    tests::facts("crm", "sales")
}

use jiff::Timestamp;
use serde_json::json;

pub use report::Report;
pub(super) use report::csv_cell;
pub(super) use tally::counted;

use super::decisions::{searched, subject, unreadable};
use super::dispatch::{Access, Call, Param, Reply, Route};
use super::pack;
use super::page::Language;
use super::parties::{self, word};
use super::problem::{Code, Problem};
use super::role::AdminRole;
use crate::audit::{Index, IndexError, Window};
use crate::consent::PartyView;
use crate::model::EventId;

const READERS: Access = Access::Roles(&[AdminRole::Auditor, AdminRole::ConsentDesk, AdminRole::PolicyAuthor, AdminRole::PolicyApprover]);

const QUERY: &[Param] = &[
    Param { name: "since", about: "RFC 3339 time" },
    Param { name: "until", about: "RFC 3339 time" },
    Param { name: "app", about: "only this calling app; where decisions are counted" },
    Param { name: "department", about: "only this department; where decisions are counted" },
    Param { name: "api", about: "only this API; where decisions are counted" },
    Param { name: "customer", about: "whom subject-access and recipients are about" },
    Param { name: "event", about: "which event consent-evidence is of" },
    Param { name: "language", about: "`en` or `da`, for subject-access" },
    Param {
        name: "format",
        about: "`json` (default), `html`, `csv` or `ndjson`; of consent-evidence also `zip`, with all that proves it, for auditors",
    },
    Param { name: "table", about: "which table CSV holds; the first without it" },
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/reports/{kind}", "reports.show", READERS, "A report on the decision log; making it is logged", show).query(QUERY),
    Route::get(
        "/v1/subjects/{id}/access-report",
        "subjects.access-report",
        parties::DESK_AND_AUDITOR,
        "What a customer is told who asks what is known and who used it (GDPR Art. 15)",
        access_report,
    )
    .query(QUERY),
];

/// What a report is about.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub window: Window,
    pub app: Option<String>,
    pub department: Option<String>,
    pub api: Option<String>,
    /// When it was made, and of how much: beside what it says.
    pub made: Option<(Timestamp, u64)>,
}

impl Asked {
    fn report(&self, kind: &'static str, title: &str, lead: String) -> Report {
        self.report_in(Language::English, kind, title, lead)
    }

    fn report_in(&self, language: Language, kind: &'static str, title: &str, lead: String) -> Report {
        let time = |at: Option<Timestamp>, open| at.map_or_else(|| language.say(open).to_owned(), |at| tally::time(at.as_microsecond()));
        let mut report = Report::new(kind, language, title, lead)
            .fact(language.say(["From", "Fra"]), time(self.window.since, ["the beginning of the log", "loggens begyndelse"]))
            .fact(language.say(["Until", "Til"]), time(self.window.until, ["now", "nu"]));
        for (label, text) in [("App", &self.app), ("Department", &self.department), ("API", &self.api)] {
            if let Some(text) = text {
                report = report.fact(label, text.clone());
            }
        }
        if let Some((at, entries)) = self.made {
            let of = language.say(["entries of the log", "poster i loggen"]);
            report = report.fact(language.say(["Made", "Dannet"]), format!("{} UTC, {entries} {of}", tally::time(at.as_microsecond())));
        }
        report
    }
}

/// Every kind, and who may have it.
const KINDS: &[(&str, &[AdminRole])] = &[
    ("subject-access", DESK),
    ("recipients", DESK),
    ("consent-evidence", DESK),
    ("processing-record", AUDITOR),
    ("denies", AUDITOR),
    ("withdrawn", AUDITOR),
    ("breach", AUDITOR),
    ("break-glass", AUDITOR),
    ("anomalies", AUDITOR),
    ("policy-effect", &[AdminRole::Auditor, AdminRole::PolicyAuthor, AdminRole::PolicyApprover]),
    ("integrity", AUDITOR),
    ("erasures", AUDITOR),
];
const DESK: &[AdminRole] = &[AdminRole::ConsentDesk, AdminRole::Auditor];
const AUDITOR: &[AdminRole] = &[AdminRole::Auditor];

/// A report from the log's files alone, which know neither what is declared nor who customers are; `None` for a kind that needs more.
///
/// # Errors
/// When the log cannot be searched.
pub fn offline(index: &Index, kind: &str, asked: &Asked, now: Timestamp) -> Result<Option<Report>, IndexError> {
    Ok(Some(match kind {
        "denies" => tally::denies(index, asked)?,
        "breach" => tally::breach(index, asked, |number| json!(format!("number {number}")))?,
        "processing-record" => tally::processing_record(index, asked, &[])?,
        "policy-effect" => tally::policy_effect(index, asked, &[])?,
        "anomalies" => oversight::anomalies(index, asked, now)?,
        "integrity" => oversight::integrity(index, asked)?,
        _ => return Ok(None),
    }))
}

/// The names of all kinds.
#[must_use]
pub fn report_kinds() -> Vec<&'static str> {
    KINDS.iter().map(|(kind, _)| *kind).collect()
}

fn show(call: &Call) -> Result<Reply, Problem> {
    let kind = call.param(0)?;
    let no_such = || Problem::new(Code::NotFound, format!("reports are {}", report_kinds().join(", "))).detail("no such report");
    let (kind, roles) = KINDS.iter().find(|(known, _)| *known == kind).ok_or_else(no_such)?;
    if !call.holds_one_of(roles) {
        let who: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        return Err(Problem::new(Code::RoleMissing, format!("ask somebody who is {}", who.join(" or "))).detail("this report is not for your role"));
    }
    let view = match (*kind, call.query.get("customer")) {
        ("subject-access", Some(text)) => Some(subject(call, text)?),
        // Of an erasure, too, recipients must be told.
        ("recipients", Some(text)) => Some(parties::find(call, text)?),
        ("subject-access" | "recipients", None) => return Err(Problem::value("`customer` is missing", "name `party:<id>` or `<space>:<value>`")),
        (_, Some(_)) => return Err(Problem::value("`customer` does not narrow this report", "it is for subject-access and recipients")),
        (_, None) => None,
    };
    answer(call, kind, view.as_ref())
}

fn access_report(call: &Call) -> Result<Reply, Problem> {
    let view = subject(call, call.param(0)?)?;
    answer(call, "subject-access", Some(&view))
}

fn answer(call: &Call, kind: &str, view: Option<&PartyView>) -> Result<Reply, Problem> {
    let format = word("format", call.query.get("format"), Format::parse, &["json", "html", "csv", "ndjson", "zip"])?.unwrap_or(Format::Json);
    let packed = if format == Format::Zip { Some(packed(call, kind)?) } else { None };
    let time = |name: &str| call.query.parsed::<Timestamp>(name, "a time like 2026-07-24T10:00:00Z");
    let text = |name: &str| call.query.get(name).map(str::to_owned);
    let now = call.state.clock.now();
    let window = Window { since: time("since")?, until: time("until")? };
    let (report, weighed) = searched(call, |index| {
        let made = Some((now, index.entries()));
        let asked = Asked { window, app: text("app"), department: text("department"), api: text("api"), made };
        let weighed = packed.map(|event| consent::weighed(index, &asked, event)).transpose()?;
        Ok((make(call, index, kind, &asked, view, now), weighed.unwrap_or_default()))
    })?;
    let report = report?;
    let csv = match format {
        Format::Csv => Some(
            report
                .csv(call.query.get("table"))
                .ok_or_else(|| Problem::value("`table` is not one of this report's", format!("use {}", report.table_names().join(", "))))?,
        ),
        Format::Json | Format::Html | Format::Ndjson | Format::Zip => None,
    };
    let entry = call.record_query(view.map(|view| view.no), report.rows())?;
    if let Some(event) = packed {
        return pack::evidence(call, event, &report.with_entry(entry), &weighed).map(|file| Reply::bytes(pack::ZIP_TYPE, file.into()));
    }
    Ok(match (format, csv) {
        (Format::Html, _) => Reply::text("text/html; charset=utf-8", report.with_entry(entry).html()).policy(html::policy()),
        (Format::Ndjson, _) => Reply::text("application/x-ndjson", report.ndjson()),
        (_, Some(csv)) => Reply::text("text/csv; charset=utf-8", csv),
        (Format::Json | Format::Csv | Format::Zip, None) => Reply::ok(&report.with_entry(entry).json()),
    })
}

/// Whose evidence is to be packed. The pack holds entries of the log, which auditors alone may read.
fn packed(call: &Call, kind: &str) -> Result<EventId, Problem> {
    if kind != "consent-evidence" {
        return Err(Problem::value(
            "this report is not packed",
            "`zip` is for consent-evidence; `json` and the proofs of its decisions say the same",
        ));
    }
    if !call.holds_one_of(AUDITOR) {
        return Err(Problem::new(Code::RoleMissing, "ask somebody who is auditor").detail("a pack holds entries of the decision log"));
    }
    event(call)
}

fn event(call: &Call) -> Result<EventId, Problem> {
    let id = call.query.get("event").and_then(EventId::parse);
    id.ok_or_else(|| Problem::value("`event` is missing or no event's id", "ids are like `ev_42`"))
}

fn make(call: &Call, index: &Index, kind: &str, asked: &Asked, view: Option<&PartyView>, now: Timestamp) -> Result<Report, Problem> {
    let instance = &call.state.instance;
    let counted = match (kind, view) {
        ("subject-access", Some(view)) => {
            let language = word("language", call.query.get("language"), Language::parse, &["en", "da"])?.unwrap_or(Language::English);
            return person::subject_access(call, index, asked, view, language);
        }
        ("recipients", Some(view)) => return person::recipients(index, asked, view),
        ("consent-evidence", _) => {
            return consent::evidence(call, index, asked, event(call)?);
        }
        ("withdrawn", _) => return consent::withdrawn(call, index, asked),
        ("break-glass", _) => return oversight::break_glass(call, index, asked),
        ("erasures", _) => return oversight::erasures(call, index, asked),
        ("processing-record", _) => tally::processing_record(index, asked, &instance.activities()),
        ("policy-effect", _) => tally::policy_effect(index, asked, &instance.policies().policies),
        ("breach", _) => tally::breach(index, asked, |number| json!(format!("party:{}", call.state.ledger.party_id(crate::model::PartyNo(number))))),
        (other, _) => offline(index, other, asked, now).and_then(|report| report.ok_or_else(|| IndexError::Database(format!("no report `{other}`")))),
    };
    counted.map_err(|error| unreadable(&error))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Html,
    Csv,
    Ndjson,
    /// With all that proves it.
    Zip,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "html" => Some(Self::Html),
            "csv" => Some(Self::Csv),
            "ndjson" => Some(Self::Ndjson),
            "zip" => Some(Self::Zip),
            _ => None,
        }
    }
}
