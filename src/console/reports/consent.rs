//! Reports about consents: those that were withdrawn, with what happened before and after, and the evidence for one event (GDPR Art. 7).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Asked;
use super::report::{REPORT_ROWS_MAX, Report, Table};
use super::tally::{counted, time};
use crate::audit::{Found, Index, IndexError, Query};
use crate::consent::{Change, ChangeKind, ConsentError, Event, PartyRef, State, What};
use crate::console::consents;
use crate::console::decisions::unreadable;
use crate::console::dispatch::Call;
use crate::console::problem::{Code, Problem};
use crate::console::record::consent_problem;
use crate::model::{EventId, PartyNo, Purpose, Revision};

/// Changes of the ledger read at a time.
const CHANGES_AT_ONCE: usize = 10_000;

/// All changes of the ledger, in order.
pub(super) fn changes(call: &Call, mut each: impl FnMut(&Change)) -> Result<(), Problem> {
    let mut after = Revision::default();
    loop {
        let page = call.state.ledger.changes(after, CHANGES_AT_ONCE).map_err(|error| consent_problem(&ConsentError::Unavailable(error)))?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.revision;
        page.iter().for_each(&mut each);
    }
}

/// A consent that was taken back, and until when that stood.
struct Withdrawal {
    event: EventId,
    party: PartyNo,
    purposes: Vec<Purpose>,
    at: Timestamp,
    /// When consent was given anew.
    until: Option<Timestamp>,
}

/// Withdrawals of the window: who had received data on the consent, whether anything went out afterwards, and how long each took.
pub(super) fn withdrawn(call: &Call, index: &Index, asked: &Asked) -> Result<Report, Problem> {
    let withdrawals = withdrawals(call, asked)?;
    let (mut rows, mut delays, mut violations) = (Vec::new(), BTreeMap::<String, Vec<i64>>::new(), 0u64);
    for withdrawal in &withdrawals {
        let (event, _) = call.state.ledger.event(withdrawal.event).map_err(|error| consent_problem(&error))?;
        let (before, after) = relied_on(call, index, withdrawal)?;
        let to_notify: BTreeSet<&str> = before.iter().map(|found| found.department.as_str()).collect();
        let wrong: Vec<&str> = after.iter().map(|found| found.decision.as_str()).collect();
        violations += wrong.len() as u64;
        let delay = event.event_time.map(|acted| (event.record_time.as_microsecond() - acted.as_microsecond()).max(0));
        if let Some(delay) = delay {
            delays.entry(event.captured_by.clone()).or_default().push(delay);
        }
        rows.push(vec![
            json!(format!("party:{}", call.state.ledger.party_id(withdrawal.party))),
            json!(withdrawal.event.to_string()),
            json!(withdrawal.purposes.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>()),
            json!(event.event_time.map(|at| time(at.as_microsecond()))),
            json!(time(event.record_time.as_microsecond())),
            json!(event.captured_by),
            json!(before.len()),
            json!(to_notify),
            json!(wrong),
        ]);
        if rows.len() >= REPORT_ROWS_MAX {
            return Err(Problem::value(format!("more than {REPORT_ROWS_MAX} withdrawals in this time"), "ask for a shorter time"));
        }
    }
    let lead = format!(
        "{} taken back. {}",
        counted(rows.len() as u64, "consent"),
        if violations == 0 {
            "Nothing was released on them afterwards.".to_owned()
        } else {
            format!("{} released data afterwards: see the column.", counted(violations, "decision"))
        }
    );
    let delays: Vec<Vec<Value>> = delays
        .into_iter()
        .map(|(source, mut all)| {
            all.sort_unstable();
            let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
            vec![
                json!(source),
                json!(all.len()),
                json!(at(50) / 1_000_000),
                json!(at(95) / 1_000_000),
                json!(all.last().map(|most| most / 1_000_000)),
            ]
        })
        .collect();
    Ok(asked
        .report("withdrawn", "Consents that were taken back", lead)
        .table(Table::new(
            "withdrawals",
            "Withdrawals",
            &[
                ("party", "Customer"),
                ("event", "Event"),
                ("purposes", "Purposes"),
                ("acted", "Customer acted"),
                ("recorded", "In force from"),
                ("captured_by", "Taken by"),
                ("before", "Decisions before that relied on it"),
                ("to_notify", "Departments that received data"),
                ("after", "Released afterwards: must be none"),
            ],
            rows,
        ))
        .table(Table::new(
            "delays",
            "From the customer's act until it was in force, seconds",
            &[
                ("captured_by", "Taken by"),
                ("withdrawals", "Withdrawals"),
                ("median_s", "Median"),
                ("p95_s", "95 of 100 within"),
                ("longest_s", "Longest"),
            ],
            delays,
        ))
        .note("What was released before a withdrawal stays lawful (GDPR Art. 7(3)); the recipients may have to be told.")
        .note("A withdrawal binds every release from the moment it is recorded. How long a department took to bring it here is the second table."))
}

fn withdrawals(call: &Call, asked: &Asked) -> Result<Vec<Withdrawal>, Problem> {
    let (mut found, mut open): (Vec<Withdrawal>, BTreeMap<PartyNo, Vec<usize>>) = (Vec::new(), BTreeMap::new());
    let in_window = |at: Timestamp| asked.window.since.is_none_or(|since| at >= since) && asked.window.until.is_none_or(|until| at < until);
    changes(call, |change| {
        let (ChangeKind::Consent, Some(party), Some(event)) = (change.kind, change.party, change.event) else { return };
        match State::parse(&change.state) {
            Some(State::Withdrawn | State::Revoked) if in_window(change.at) => {
                open.entry(party).or_default().push(found.len());
                found.push(Withdrawal { event, party, purposes: change.purposes.clone(), at: change.at, until: None });
            }
            Some(State::Given | State::Renewed) => {
                let same =
                    |withdrawal: &Withdrawal| withdrawal.purposes.is_empty() || withdrawal.purposes.iter().any(|p| change.purposes.contains(p));
                for &at in open.get(&party).into_iter().flatten() {
                    if let Some(withdrawal) = found.get_mut(at).filter(|withdrawal| withdrawal.until.is_none() && same(withdrawal)) {
                        withdrawal.until = Some(change.at);
                    }
                }
            }
            _ => {}
        }
    })?;
    Ok(found)
}

/// Decisions that released data on the consent, before it was taken back and from then until it was given anew.
fn relied_on(call: &Call, index: &Index, withdrawal: &Withdrawal) -> Result<(Vec<Found>, Vec<Found>), Problem> {
    let view = call.state.ledger.show_party(&PartyRef::Party(call.state.ledger.party_id(withdrawal.party)));
    // Of somebody who was erased there is but the number.
    let customers = view.map_or_else(|_erased| vec![withdrawal.party], |view| view.numbers);
    let query = Query { customers, until: withdrawal.until, ..Query::default() };
    let found = index.search(&query).map_err(|error| unreadable(&error))?.decisions;
    let of_purpose = |found: &Found| {
        let purpose = found.purpose.as_deref();
        withdrawal.purposes.is_empty() || withdrawal.purposes.iter().any(|withdrawn| purpose == Some(withdrawn.as_str()))
    };
    let by_consent = |found: &Found| found.relied.iter().any(|relied| relied.basis == "consent" && found.disclosed.contains(&relied.category));
    let relying = found.into_iter().filter(|found| of_purpose(found) && by_consent(found));
    Ok(relying.partition(|found| found.at <= withdrawal.at))
}

/// Decisions in which an event decided or lost, the newest first.
pub(super) fn weighed(index: &Index, asked: &Asked, id: EventId) -> Result<Vec<Found>, IndexError> {
    let query = Query { event: Some(id), since: asked.window.since, until: asked.window.until, ..Query::default() };
    Ok(index.search(&query)?.decisions)
}

/// One event with its notice, what became of it, and the decisions that weighed it.
pub(super) fn evidence(call: &Call, index: &Index, asked: &Asked, id: EventId) -> Result<Report, Problem> {
    let no_such = || Problem::new(Code::NotFound, "check the event's id: it is written `ev_42`").detail("no such event");
    let (event, party) =
        call.state.ledger.event(id).map_err(|error| if matches!(error, ConsentError::NotFound) { no_such() } else { consent_problem(&error) })?;
    let found = weighed(index, asked, id).map_err(|error| unreadable(&error))?;
    let decided = |found: &&Found| found.relied.iter().any(|relied| relied.event.as_deref() == Some(id.to_string().as_str()));
    let relied = found.iter().filter(decided).count();
    let title = format!("Evidence of {id}");
    let mut report = asked
        .report("consent-evidence", &title, format!("{} weighed it, and in {relied} of them it decided.", counted(found.len() as u64, "decision")))
        .fact("Event", id.to_string())
        .fact(
            "Person",
            party.map_or_else(|| "not linked to a customer yet".to_owned(), |party| format!("party:{}", call.state.ledger.party_id(party))),
        )
        .fact("Identifier", consents::shown(&event.identifier, call.sees_identifiers()))
        .fact("Said", event.event_time.map_or_else(|| "not told".to_owned(), |at| time(at.as_microsecond())))
        .fact("Recorded", time(event.record_time.as_microsecond()))
        .fact("Captured by", event.captured_by.clone())
        .fact("Channel", event.channel.as_str())
        .fact("Author", event.author.as_str());
    for (kind, reference) in &event.evidence {
        report = report.fact(&format!("Evidence: {kind}"), reference.clone());
    }
    for (label, text) in said(call, &event) {
        report = report.fact(&label, text);
    }
    let rows: Vec<Vec<Value>> = found
        .iter()
        .map(|found| {
            let role = if decided(&found) { "decided" } else { "lost against another" };
            vec![
                json!(time(found.at.as_microsecond())),
                json!(found.department),
                json!(found.app),
                json!(found.purpose),
                json!(found.outcome),
                json!(found.disclosed),
                json!(role),
                json!(found.decision),
            ]
        })
        .collect();
    Ok(report
        .table(Table::new(
            "decisions",
            "Decisions that weighed it",
            &[
                ("time", "Time (UTC)"),
                ("department", "Department"),
                ("app", "App"),
                ("purpose", "Purpose"),
                ("outcome", "Outcome"),
                ("disclosed", "Released"),
                ("role", "The event"),
                ("decision", "Decision"),
            ],
            rows,
        ))
        .table(history(call, party, id)?)
        .note(format!("`/v1/consents/{id}/receipt` is the signed receipt, and `consentry audit proof` gives the proof of each decision; `--pack` puts all of it into one file."))
        .note("Decisions about several customers at once do not name events; they are found by customer."))
}

/// What a statement of consent says, and the notice as it was frozen.
fn said(call: &Call, event: &Event) -> Vec<(String, String)> {
    let What::Consent(consent) = &event.what else { return Vec::new() };
    let mut facts = vec![
        ("State".to_owned(), consent.state.as_str().to_owned()),
        ("Purposes".to_owned(), consent.purposes.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>().join(", ")),
    ];
    facts.extend(consent.expires.map(|at| ("Runs out".to_owned(), time(at.as_microsecond()))));
    if let Some(notice) = &consent.notice {
        facts.push(("Notice".to_owned(), format!("{}, version {}", notice.id, notice.version)));
        let notices = call.state.ledger.notices();
        for kept in notices.iter().filter(|kept| kept.notice.id == notice.id && kept.notice.version == notice.version) {
            facts.push((format!("Notice in {}", kept.language), format!("SHA-256 {}", kept.hash)));
            facts.extend(kept.text.as_ref().map(|text| (format!("Text in {}", kept.language), text.to_string())));
        }
    }
    facts
}

fn history(call: &Call, party: Option<PartyNo>, id: EventId) -> Result<Table, Problem> {
    let history = match party {
        Some(party) => match call.state.ledger.history(&PartyRef::Party(call.state.ledger.party_id(party))) {
            Ok(history) => history,
            // Erased: nothing is left but the event.
            Err(ConsentError::NotFound) => Vec::new(),
            Err(error) => return Err(consent_problem(&error)),
        },
        None => Vec::new(),
    };
    let ids = |events: &[EventId]| json!(events.iter().map(ToString::to_string).collect::<Vec<_>>());
    let rows = history
        .iter()
        .filter(|row| row.event.id == id)
        .map(|row| vec![json!(row.event.id.to_string()), ids(&row.overridden_by), ids(&row.lifted_by)])
        .collect();
    let columns = [("event", "Event"), ("overridden_by", "Lost against"), ("lifted_by", "Lifted by")];
    Ok(Table::new("history", "What became of it", &columns, rows))
}
