//! Reports for those who watch: break-glass, erasures, anomalies, integrity.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Asked;
use super::consent::changes;
use super::report::{Report, Table};
use super::tally::{counted, is_released, time};
use crate::audit::{self, Index, IndexError, Query, Window};
use crate::consent::{ChangeKind, StopKind, Target};
use crate::console::decisions::unreadable;
use crate::console::dispatch::Call;
use crate::console::problem::Problem;
use crate::console::record::consent_problem;

/// A day is told of when an app got data of so many times its median's customers, and of at least so many.
const VOLUME_TIMES: u64 = 5;
const VOLUME_CUSTOMERS_MIN: u64 = 100;
/// Of an employee: so many decisions out of hours, and no more than one of so many of theirs are.
const OFF_HOURS_MIN: u64 = 5;
const OFF_HOURS_SHARE: u64 = 5;
/// What was usual is taken from so long before the window.
const USUAL: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// Grants of the window, with what they were used for.
pub(super) fn break_glass(call: &Call, index: &Index, asked: &Asked) -> Result<Report, Problem> {
    let ledger = &call.state.ledger;
    let now = ledger.emergency_time();
    let mut grants = ledger.grants().map_err(|error| consent_problem(&error))?;
    let in_window = |at: Timestamp| asked.window.since.is_none_or(|since| at >= since) && asked.window.until.is_none_or(|until| at < until);
    grants.retain(|grant| in_window(grant.requested.at));
    grants.sort_by(|a, b| b.requested.at.cmp(&a.requested.at).then_with(|| a.id.cmp(&b.id)));
    let texts = call.state.log.texts();
    let (mut rows, mut uses, mut overdue) = (Vec::new(), Vec::new(), 0u64);
    for grant in grants {
        let found = index.search(&Query { grant: Some(grant.id.clone()), ..Query::default() }).map_err(|error| unreadable(&error))?.decisions;
        let state = grant.state(now).as_str();
        overdue += u64::from(state == "review-overdue");
        let target = match &grant.target {
            Target::Party(number) => format!("party:{}", ledger.party_id(*number)),
            Target::Route { api, route } => format!("{api} {route}"),
        };
        rows.push(vec![
            json!(grant.id),
            json!(state),
            json!(grant.employee.pseudonym),
            json!(grant.app),
            json!(grant.purpose),
            json!(target),
            json!(grant.emergency.ticket),
            json!(grant.emergency.justification),
            json!(time(grant.requested.at.as_microsecond())),
            json!(grant.approvals.iter().map(|signed| signed.by.pseudonym.clone()).collect::<Vec<_>>()),
            json!(time(grant.until.as_microsecond())),
            json!(found.len()),
            json!(grant.review.as_ref().map(|review| review.finding.as_str())),
        ]);
        uses.extend(found.iter().map(|found| {
            vec![
                json!(grant.id),
                json!(time(found.at.as_microsecond())),
                json!(found.actor),
                json!(found.outcome),
                json!(found.disclosed),
                json!(found.parties),
                json!(found.justification.as_ref().map(|text| texts.open(text).sentence())),
                json!(found.decision),
            ]
        }));
    }
    let lead =
        format!("{}, used {}; {overdue} wait for a review that is overdue.", counted(rows.len() as u64, "grant"), counted(uses.len() as u64, "time"));
    Ok(asked
        .report("break-glass", "Emergency access", lead)
        .table(Table::new(
            "grants",
            "Grants",
            &[
                ("grant", "Grant"),
                ("state", "State"),
                ("employee", "Employee"),
                ("app", "App"),
                ("purpose", "Purpose"),
                ("target", "For"),
                ("ticket", "Ticket"),
                ("justification", "Why"),
                ("requested", "Asked"),
                ("approvals", "Approved by"),
                ("until", "Until"),
                ("uses", "Uses"),
                ("finding", "Review"),
            ],
            rows,
        ))
        .table(Table::new(
            "uses",
            "Uses",
            &[
                ("grant", "Grant"),
                ("time", "Time (UTC)"),
                ("actor", "Employee"),
                ("outcome", "Outcome"),
                ("disclosed", "Released"),
                ("customers", "Customers"),
                ("justification", "Why"),
                ("decision", "Decision"),
            ],
            uses,
        )))
}

/// Who was erased when, and that nothing was released about them afterwards.
pub(super) fn erasures(call: &Call, index: &Index, asked: &Asked) -> Result<Report, Problem> {
    let mut erased = Vec::new();
    changes(call, |change| {
        let in_window = asked.window.since.is_none_or(|since| change.at >= since) && asked.window.until.is_none_or(|until| change.at < until);
        let erases = change.kind == ChangeKind::Stop && StopKind::parse(&change.state) == Some(StopKind::Erasure);
        if erases && in_window {
            erased.extend(change.party.map(|party| (party, change.at, change.revision)));
        }
    })?;
    let (mut rows, mut wrong) = (Vec::new(), 0);
    for (party, at, revision) in erased {
        let query = Query { customers: vec![party], since: Some(at), ..Query::default() };
        let after = index.search(&query).map_err(|error| unreadable(&error))?.decisions;
        // What the law obliges to is still done (GDPR Art. 17(3)(b)).
        let released: Vec<String> = after.iter().filter(|found| !found.disclosed.is_empty()).map(|found| found.decision.clone()).collect();
        wrong += released.len();
        rows.push(vec![
            json!(format!("party:{}", call.state.ledger.party_id(party))),
            json!(time(at.as_microsecond())),
            json!(revision.0),
            json!(released),
        ]);
    }
    let lead = format!("{} erased; {} about them afterwards.", counted(rows.len() as u64, "customer"), counted(wrong as u64, "release"));
    Ok(asked
        .report("erasures", "Erased customers", lead)
        .table(Table::new(
            "erasures",
            "Erasures",
            &[("party", "Customer"), ("time", "Time (UTC)"), ("revision", "Revision"), ("released", "Released afterwards")],
            rows,
        ))
        .note("The log knows customers by numbers only; an erased customer's number leads to nobody and is never given again.")
        .note("A release afterwards is lawful only where the law obliges to it."))
}

/// What is unlike what was usual: volumes, hours, pairs that were never seen before, emergencies.
pub(super) fn anomalies(index: &Index, asked: &Asked, now: Timestamp) -> Result<Report, IndexError> {
    let until = asked.window.until.unwrap_or(now);
    let since = asked.window.since.unwrap_or(until - std::time::Duration::from_secs(7 * 86_400));
    let (mut volumes, mut hours) = (HashMap::<u32, BTreeMap<i64, u64>>::new(), HashMap::<(u32, u32), (u64, u64, u64)>::new());
    let (mut firsts, mut emergencies) = (HashMap::<(u32, Option<u32>, String), (i64, u64)>::new(), BTreeMap::<u32, u64>::new());
    let window = Window { since: Some(since - USUAL), until: Some(until) };
    let names = index.scan(window, |names, row| {
        if !asked.wants(names, row) {
            return;
        }
        let is_new = row.at >= since.as_microsecond();
        let customers: u64 = row.disclosed.iter().map(|reading| reading.parties).sum();
        *volumes.entry(row.app).or_default().entry(row.at.div_euclid(DAY_US)).or_default() += customers;
        if let Some(actor) = row.actor {
            let (all, off, off_new) = hours.entry((row.app, actor)).or_default();
            let is_off = is_off_hours(row.at);
            (*all, *off, *off_new) = (*all + 1, *off + u64::from(is_off), *off_new + u64::from(is_off && is_new));
        }
        if row.grant.is_some() && is_new {
            *emergencies.entry(row.app).or_default() += 1;
        }
        for reading in row.disclosed {
            for verdict in names.verdicts(reading.class).iter().filter(|verdict| is_released(verdict)) {
                let key = (row.app, row.purpose, verdict.category.clone());
                let (first, decisions) = firsts.entry(key).or_insert((row.at, 0));
                (*first, *decisions) = ((*first).min(row.at), *decisions + 1);
            }
        }
    })?;
    let text = |name: u32| names.text(name).to_owned();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let mut found = |what: &str, app: u32, who: Value, detail: String, at: i64| {
        rows.push(vec![json!(what), json!(text(app)), who, json!(detail), json!(time(at))])
    };
    for (app, days) in &volumes {
        let mut usual: Vec<u64> = days.values().copied().collect();
        usual.sort_unstable();
        let median = usual.get(usual.len() / 2).copied().unwrap_or_default();
        for (day, customers) in days.iter().filter(|(day, _)| *day * DAY_US + DAY_US > since.as_microsecond()) {
            if *customers >= VOLUME_CUSTOMERS_MIN && *customers > median.saturating_mul(VOLUME_TIMES) && days.len() > 2 {
                found(
                    "volume",
                    *app,
                    Value::Null,
                    format!("data of {customers} customers in a day; {median} in the middle of its days"),
                    day * DAY_US,
                );
            }
        }
    }
    for ((app, actor), (all, off, off_new)) in &hours {
        if *off_new >= OFF_HOURS_MIN && off.saturating_mul(OFF_HOURS_SHARE) <= *all {
            found(
                "off hours",
                *app,
                json!(text(*actor)),
                format!("{off_new} decisions at night or at a weekend; {off} of {all} in all"),
                since.as_microsecond(),
            );
        }
    }
    // Nothing is new where nothing is known of before.
    let begins = index.scan_begin()?.unwrap_or(i64::MAX);
    for ((app, purpose, category), (first, decisions)) in &firsts {
        if *first >= since.as_microsecond() && begins < since.as_microsecond() {
            let purpose = purpose.map_or_else(|| "no purpose".to_owned(), text);
            found("first time", *app, Value::Null, format!("{category} for {purpose}; {decisions} decisions since"), *first);
        }
    }
    for (app, uses) in &emergencies {
        found("break-glass", *app, Value::Null, format!("{uses} decisions under a grant"), since.as_microsecond());
    }
    rows.sort_by_key(|row| row.iter().map(super::report::plain).collect::<Vec<_>>());
    let kinds: BTreeSet<&str> = rows.iter().filter_map(|row| row.first()?.as_str()).collect();
    let lead = format!("{} of {}.", counted(rows.len() as u64, "thing"), counted(kinds.len() as u64, "kind"));
    Ok(asked
        .report("anomalies", "What was unusual", lead)
        .fact("Compared with", format!("the {} days before", USUAL.as_secs() / 86_400))
        .table(Table::new("anomalies", "Unusual", &[("what", "What"), ("app", "App"), ("actor", "Employee"), ("detail", "Detail"), ("time", "Time (UTC)")], rows))
        .note(format!("Volume: more than {VOLUME_TIMES} times an app's own median day, and at least {VOLUME_CUSTOMERS_MIN} customers. Off hours: 20:00 to 06:00 UTC or a weekend, by somebody who seldom works then. First time: a category for a purpose that the app was never given before.")))
}

const DAY_US: i64 = 86_400_000_000;

fn is_off_hours(at: i64) -> bool {
    let Ok(at) = Timestamp::from_microsecond(at).map(|at| at.to_zoned(TimeZone::UTC)) else { return false };
    !(6..20).contains(&at.hour()) || matches!(at.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// That the log says what it said: every entry, the tree, the checkpoint.
pub(super) fn integrity(index: &Index, asked: &Asked) -> Result<Report, IndexError> {
    let dir = index.log_dir();
    let checkpoint = audit::Tiles::new(dir).checkpoint()?;
    let vkey = audit::verifier_key(dir)?;
    let report = match audit::verify(dir, None) {
        Ok(verified) => {
            let mut report = asked
                .report(
                    "integrity",
                    "Certificate of integrity",
                    format!("The log is whole: {} entries lead to the root that is signed.", verified.checkpoint_size),
                )
                .fact("Log", verified.origin)
                .fact("Entries", verified.entries.to_string())
                .fact("Root", verified.root)
                .fact("Signed", verified.signed_until.map_or_else(|| "nothing".to_owned(), |at| time(at.as_microsecond())))
                .fact("After the checkpoint", format!("{} entries, signed within a second", verified.unsigned_tail));
            for rotated in verified.rotations {
                let by = if rotated.note.is_some() { "signed by the one before" } else { "as lost: NOT SIGNED by the one before" };
                report = report.fact("Key replaced", format!("at entry {}, {by}: {}", rotated.index, rotated.from));
            }
            report
        }
        Err(failure) => asked
            .report("integrity", "Certificate of integrity", format!("The log is damaged: {failure}."))
            .note("Keep the folder as it is: it is evidence."),
    };
    let lines: Vec<Vec<Value>> = checkpoint.lines().map(|line| vec![json!(line)]).collect();
    Ok(report
        .fact("Verifier key", vkey)
        .table(Table::new("checkpoint", "Signed checkpoint (C2SP tlog-checkpoint)", &[("line", "Line")], lines))
        .note("Compare the key with a copy that is kept elsewhere. A log that was set back as a whole is shown only by a witness or a checkpoint from before: `consentry audit verify --checkpoint`."))
}
