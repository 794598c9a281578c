//! The evidence of one consent as one file (GDPR Art. 7(1)): report, events, notices, receipts, decisions, and proofs of the decisions'
//! entries. `README.txt` in it says what each member is; [`check`] believes none of it.
//!
//! ```text
//! README.txt  report.html  report.json  decisions.json  events.json  notices.json  notices/N.LANGUAGE.txt
//! receipts/jwks.json  receipts/ev_N.jws  log/log.vkey  log/checkpoint  log/witnessed-N  proofs/INDEX.tlog-proof
//! manifest.sha256     as `sha256sum` writes it, of all members before it, in their order
//! manifest.jws        the same, signed with the key of receipts
//! ```

mod check;
pub(in crate::console) mod zip;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::consents::history_json;
use super::decisions::unreadable;
use super::dispatch::Call;
use super::evidence::signed;
use super::problem::{Code, Problem};
use super::receipt;
use super::record::consent_problem;
use super::reports::Report;
use crate::audit::{Found, Proved, found_json, named_customers, rejoin, verifier_key};
use crate::consent::{ConsentError, Event, HistoryRow, NoticeVersion, PartyRef, What};
use crate::model::{EventId, PartyNo};

pub use check::{Held, PackError, Trust, check, is_pack};
use zip::Members;
pub use zip::ZipError;

/// Decisions of one pack.
pub(super) const DECISIONS_MAX: usize = 1_000;
/// Events that say something about the same uses.
const EVENTS_MAX: usize = 500;

pub(super) const ZIP_TYPE: &str = "application/zip";
const README: &str = include_str!("README.txt");
pub(in crate::console) const MANIFEST: &str = "manifest.sha256";
pub(in crate::console) const SIGNATURE: &str = "manifest.jws";
/// What the header of a manifest's signature says.
pub(in crate::console) const MANIFEST_TYPE: &str = "consentry-evidence-pack+jws";

/// Packs the evidence of an event: the report on it, and the decisions that weighed it.
pub(super) fn evidence(call: &Call, id: EventId, report: &Report, weighed: &[Found]) -> Result<Vec<u8>, Problem> {
    if weighed.len() > DECISIONS_MAX {
        let detail = format!("{} decisions weighed it, and a pack holds {DECISIONS_MAX}", weighed.len());
        return Err(too_large(&detail));
    }
    let (event, party) = call.state.ledger.event(id).map_err(|error| consent_problem(&error))?;
    let history = history(call, &event)?;
    let numbers: BTreeSet<u64> = match party {
        Some(party) => {
            let view = call.state.ledger.show_party(&PartyRef::Party(call.state.ledger.party_id(party)));
            // Of somebody who was erased there is but the number.
            view.map_or_else(|_erased| vec![party], |view| view.numbers).into_iter().map(|number| number.0).collect()
        }
        None => BTreeSet::new(),
    };
    let proofs = Proofs::of(call, weighed, &numbers)?;
    let decisions = weighed.iter().map(|found| proofs.decision(found, &numbers)).collect::<Result<Vec<_>, _>>()?;
    let mut members: Members = vec![("README.txt".to_owned(), README.into()), ("report.html".to_owned(), report.html().into())];
    let mut put = |name: String, content: Vec<u8>| members.push((name, content));
    put("report.json".to_owned(), pretty(&report.json()));
    put("decisions.json".to_owned(), pretty(&decisions.into()));
    let full = call.sees_identifiers();
    put("events.json".to_owned(), pretty(&history.iter().map(|row| history_json(row, full)).collect()));
    let notices = notices(call, &event);
    put("notices.json".to_owned(), pretty(&notices.iter().map(|(name, notice)| notice_json(name.as_deref(), notice)).collect()));
    for (name, notice) in notices {
        if let (Some(name), Some(text)) = (name, notice.text) {
            put(name, text.as_bytes().to_vec());
        }
    }
    put("receipts/jwks.json".to_owned(), pretty(&call.state.receipts.jwks()));
    for row in &history {
        put(format!("receipts/{}.jws", row.event.id), receipt::signed(call, &row.event).into());
    }
    let away = |error: crate::audit::AuditError| unreadable(&error.into());
    put("log/log.vkey".to_owned(), format!("{}\n", verifier_key(call.state.index.log_dir()).map_err(away)?.trim()).into());
    put("log/checkpoint".to_owned(), call.state.tiles.checkpoint().map_err(away)?.into());
    for (at, note) in call.state.tiles.witnessed().map_err(away)?.into_iter().enumerate() {
        put(format!("log/witnessed-{}", at + 1), note.into());
    }
    for (index, proof) in proofs.texts() {
        put(format!("proofs/{index}.tlog-proof"), proof.into());
    }
    let manifest = manifest(&members);
    let signature = call.state.receipts.sign_as(MANIFEST_TYPE, manifest.as_bytes());
    members.extend([(MANIFEST.to_owned(), manifest.into()), (SIGNATURE.to_owned(), signature.into())]);
    zip::write(&members).map_err(|error| too_large(&error.to_string()))
}

/// As `sha256sum` writes it.
pub(in crate::console) fn manifest<N: AsRef<str>, C: AsRef<[u8]>>(members: &[(N, C)]) -> String {
    members.iter().map(|(name, content)| format!("{}  {}\n", sha256(content.as_ref()), name.as_ref())).collect()
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into()
}

/// The event and what else was said of the same uses: what withdrew, renewed or won against it.
fn history(call: &Call, event: &Event) -> Result<Vec<HistoryRow>, Problem> {
    let rows = match call.state.ledger.history(&PartyRef::Identifier(event.identifier.clone())) {
        Ok(rows) => rows,
        // Erased: nothing is left but the event.
        Err(ConsentError::NotFound) => Vec::new(),
        Err(error) => return Err(consent_problem(&error)),
    };
    let own = rows.iter().find(|row| row.event.id == event.id).cloned();
    let own = own.unwrap_or_else(|| HistoryRow { event: event.clone(), overridden_by: Vec::new(), lifted_by: Vec::new() });
    let is_about_it = |row: &&HistoryRow| {
        let named = own.overridden_by.contains(&row.event.id) || own.lifted_by.contains(&row.event.id);
        row.event.id != event.id && (named || is_of_same_use(event, &row.event))
    };
    let mut about: Vec<HistoryRow> = rows.iter().filter(is_about_it).cloned().collect();
    about.push(own);
    about.sort_unstable_by_key(|row| row.event.id);
    if about.len() > EVENTS_MAX {
        return Err(too_large(&format!("{} events are about the same uses, and a pack holds {EVENTS_MAX}", about.len())));
    }
    Ok(about)
}

/// Whether they have a purpose in common; naming none means all. Stops reach every use.
fn is_of_same_use(event: &Event, other: &Event) -> bool {
    match (&event.what, &other.what) {
        (What::Consent(one), What::Consent(other)) => {
            one.purposes.is_empty() || other.purposes.is_empty() || one.purposes.iter().any(|purpose| other.purposes.contains(purpose))
        }
        (What::Consent(_), What::Stop(_) | What::Lift { .. }) => true,
        (What::Consent(_), What::Delegation(_) | What::Occurrence(_)) => false,
        (What::Stop(_) | What::Lift { .. } | What::Delegation(_) | What::Occurrence(_), _) => false,
    }
}

/// The versions of the notice that the event names, with the member that has the text.
fn notices(call: &Call, event: &Event) -> Vec<(Option<String>, NoticeVersion)> {
    let What::Consent(consent) = &event.what else { return Vec::new() };
    let Some(notice) = &consent.notice else { return Vec::new() };
    let register = call.state.ledger.notices();
    let shown = register.iter().filter(|kept| kept.notice.id == notice.id && kept.notice.version == notice.version).cloned();
    let named = shown.enumerate().map(|(at, kept)| {
        let language: String = kept.language.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        (kept.text.is_some().then(|| format!("notices/{}.{language}.txt", at + 1)), kept)
    });
    named.collect()
}

fn notice_json(file: Option<&str>, kept: &NoticeVersion) -> Value {
    json!({
        "id": kept.notice.id, "version": kept.notice.version, "language": kept.language, "sha256": kept.hash, "file": file, "url": kept.url,
        "valid_from": kept.valid_from.to_string(), "valid_to": kept.valid_to.map(|at| at.to_string()),
    })
}

/// The entries of the decisions, proved.
struct Proofs {
    /// With whether the entry names nobody else. One that cannot be read may.
    entries: BTreeMap<u64, (Proved, bool)>,
    /// The dictionary entries to which they refer.
    dictionary: BTreeMap<u64, Proved>,
}

impl Proofs {
    fn of(call: &Call, weighed: &[Found], numbers: &BTreeSet<u64>) -> Result<Self, Problem> {
        let mut proofs = Self { entries: BTreeMap::new(), dictionary: BTreeMap::new() };
        for index in weighed.iter().flat_map(|found| &found.entries) {
            if proofs.entries.contains_key(index) {
                continue;
            }
            let (proved, mut failed) = (signed(call, *index)?, None);
            let named = named_customers(*index, &proved.entry, |at| proofs.stands_for(call, at).map_err(|problem| failed = Some(problem)).ok()?);
            if let Some(problem) = failed {
                return Err(problem);
            }
            proofs.entries.insert(*index, (proved, named.is_some_and(|named| named.is_subset(numbers))));
        }
        Ok(proofs)
    }

    fn stands_for(&mut self, call: &Call, index: u64) -> Result<Option<Value>, Problem> {
        if let Entry::Vacant(place) = self.dictionary.entry(index) {
            place.insert(signed(call, index)?);
        }
        Ok(self.meaning(index))
    }

    fn meaning(&self, index: u64) -> Option<Value> {
        value_of(&self.dictionary.get(&index)?.entry)
    }

    /// A decision as it is told: of one that names others, too, what it says of this customer.
    fn decision(&self, found: &Found, numbers: &BTreeSet<u64>) -> Result<Value, Problem> {
        let entries: Vec<&(Proved, bool)> = found.entries.iter().filter_map(|index| self.entries.get(index)).collect();
        if entries.iter().all(|(_, is_own)| *is_own) {
            return Ok(found_json(found));
        }
        let (origin, customers) = (found.decision.rsplit_once('#').map_or("", |(origin, _)| origin), numbers.iter().map(|number| PartyNo(*number)));
        let raw = found.entries.iter().zip(&entries).map(|(index, (proved, _))| (*index, proved.entry.clone())).collect();
        let own = rejoin(origin, &customers.collect::<Vec<_>>(), raw, |index| self.meaning(index));
        own.map(|own| found_json(&own)).ok_or_else(|| {
            Problem::new(Code::AuditUnavailable, "run `consentry audit index --rebuild`")
                .detail("the index names a decision that its entries do not bear out")
        })
    }

    fn texts(&self) -> BTreeMap<u64, String> {
        let entries = self.entries.iter().map(|(index, (proved, is_own))| (*index, if *is_own { proved.evidence() } else { proved.receipt() }));
        entries.chain(self.dictionary.iter().map(|(index, proved)| (*index, proved.evidence()))).collect()
    }
}

/// What a dictionary entry stands for.
fn value_of(entry: &[u8]) -> Option<Value> {
    let mut entry: Value = serde_json::from_slice(entry).ok()?;
    entry.get_mut("value").map(Value::take)
}

fn too_large(detail: &str) -> Problem {
    Problem::new(Code::InvalidValue, "ask for a shorter time with `since` and `until`, and hand over several packs").detail(detail)
}
