//! `--prove`: a decision is put together from entries that are each proved to be in the signed log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::audit::{Place, unreadable};
use super::client::Admin;
use super::text::{list, text};
use super::{Exit, Failure, proof};
use crate::audit::{self, Tiles, rejoin};
use crate::console::found_json;
use crate::model::PartyNo;

#[derive(Debug, clap::Args)]
pub(super) struct ProveArgs {
    /// Check each line: every entry that it rests on must be in the log that the key signs.
    #[arg(long)]
    prove: bool,
    /// The log's verifier key, from a source that you trust, as for `audit check`; with `--offline` the key beside the log will do.
    #[arg(long, value_name = "FILE", requires = "prove")]
    log_key: Option<PathBuf>,
}

/// Fetches and checks proofs; each entry once.
pub(super) struct Prover<'a> {
    source: Source<'a>,
    vkey: String,
    own_key: bool,
    proved: RefCell<HashMap<u64, Vec<u8>>>,
    size: RefCell<u64>,
}

enum Source<'a> {
    Files { dir: &'a Path, tiles: Box<Tiles> },
    Server(Box<Admin>),
}

impl ProveArgs {
    pub(super) fn prover<'a>(&self, place: &'a Place) -> Result<Option<Prover<'a>>, Failure> {
        if !self.prove {
            return Ok(None);
        }
        let (source, beside) = match &place.offline {
            Some(dir) => (Source::Files { dir, tiles: Box::new(Tiles::new(dir)) }, Some(dir.join("log.vkey"))),
            None => (Source::Server(Box::new(place.server.connect()?)), None),
        };
        let file = self.log_key.as_ref().or(beside.as_ref());
        let file = file.ok_or_else(|| Failure::usage("`--prove` needs `--log-key` with the log's verifier key, from a source that you trust"))?;
        let vkey = proof::read(file)?.trim().to_owned();
        Ok(Some(Prover { source, vkey, own_key: self.log_key.is_none(), proved: RefCell::default(), size: RefCell::default() }))
    }
}

impl Prover<'_> {
    /// A decision as it was answered, which must be what its proved entries say.
    pub(super) fn decision(&self, answered: &Value, customers: &[PartyNo]) -> Result<(), Failure> {
        let id = text(answered, "decision");
        let (origin, _) = id.rsplit_once('#').ok_or_else(|| Failure::new(Exit::CheckFailed, "a decision without an id was answered"))?;
        let indexes = list(answered, "entries").iter().filter_map(Value::as_u64);
        let entries = indexes.map(|index| Ok((index, self.entry(origin, index)?))).collect::<Result<Vec<_>, Failure>>()?;
        let mut failed = None;
        let joined = rejoin(origin, customers, entries, |index| {
            let entry = self.entry(origin, index).map_err(|failure| failed = Some(failure)).ok()?;
            let mut entry: Value = serde_json::from_slice(&entry).ok()?;
            entry.get_mut("value").map(Value::take)
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        // What somebody wrote is proved as it stands in the log, encrypted.
        let mut answered = answered.clone();
        if let Some(members) = answered.as_object_mut() {
            members.remove("justification");
        }
        if joined.map(|found| found_json(&found)) == Some(answered) {
            return Ok(());
        }
        Err(Failure::new(Exit::CheckFailed, format!("decision {id} is not what its entries in the signed log say; keep this answer as evidence")))
    }

    fn entry(&self, origin: &str, index: u64) -> Result<Vec<u8>, Failure> {
        if let Some(known) = self.proved.borrow().get(&index) {
            return Ok(known.clone());
        }
        let refused = |why: String| Failure::new(Exit::CheckFailed, format!("entry {index} is not proved: {why}"));
        let evidence = match &self.source {
            Source::Files { dir, tiles } => {
                let proved = tiles.prove(index).map_err(|error| unreadable(dir, &error))?;
                proved.ok_or_else(|| refused("the checkpoint does not cover it yet".to_owned()))?.evidence()
            }
            Source::Server(client) => {
                let bytes = client.fetch(&format!("/v1/decisions/-/{index}/proof"))?;
                String::from_utf8(bytes.to_vec()).map_err(|_binary| refused("the answer is no proof".to_owned()))?
            }
        };
        let checked = audit::check_proof(&self.vkey, &evidence, None).map_err(|why| refused(why.to_string()))?;
        if checked.index != index || checked.origin != origin {
            return Err(refused("the proof is of another entry".to_owned()));
        }
        let entry = checked.entry.ok_or_else(|| refused("the proof does not hold the entry".to_owned()))?;
        let size = (*self.size.borrow()).max(checked.size);
        *self.size.borrow_mut() = size;
        self.proved.borrow_mut().insert(index, entry.clone());
        Ok(entry)
    }

    pub(super) fn sentence(&self, decisions: usize) -> String {
        let entries = self.proved.borrow().len();
        let mut sentence = format!(
            "proved: {} from {entries} entries, each in the log that the checkpoint over {} entries signs",
            super::check::count(decisions, "decision"),
            self.size.borrow()
        );
        if self.own_key {
            sentence.push_str("\nchecked with the key beside the log; `--log-key` with a copy kept elsewhere also proves which log it is");
        }
        sentence
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{Entry, Log, LogSettings, Mode, SigningKeySource};
    use crate::clock::SystemClock;

    /// A gateway that answers something else than what its log says.
    #[test]
    fn an_answer_that_the_log_does_not_bear_out_is_not_proved() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("log");
        let settings = LogSettings {
            dir: dir.clone(),
            spare_dir: None,
            origin: "gw-test.example.com".to_owned(),
            signing_key: SigningKeySource::Bytes(vec![7; 32]),
            previous_key: None,
            queue_max: 16,
            segment_bytes: 1 << 20,
            mode: Mode::Strict,
            seal: true,
        };
        let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
        let facts = crate::console::facts_for_tests();
        let deny = Entry::Deny { facts: facts.clone(), of: None, status: 403, code: "denied", groups: Vec::new(), paths: Vec::new() };
        let index = log.append(deny.clone()).unwrap().wait().unwrap().index();
        let of = log.append(Entry::Intent { facts, groups: Vec::new() }).unwrap().wait().unwrap().index();
        let end = Entry::End { of, status: 200, bytes: 9, rows: 0, complete: true, latency_us: 9 };
        let end = log.append(end).unwrap().wait().unwrap().index();
        let other = log.append(deny).unwrap().wait().unwrap().index();
        log.close();
        let answered = found_json(&audit::show(&dir, index).unwrap().unwrap().decision.unwrap());
        let prover = || {
            let vkey = std::fs::read_to_string(dir.join("log.vkey")).unwrap().trim().to_owned();
            let source = Source::Files { dir: &dir, tiles: Box::new(Tiles::new(&dir)) };
            Prover { source, vkey, own_key: true, proved: RefCell::default(), size: RefCell::default() }
        };
        prover().decision(&answered, &[]).unwrap();
        for (member, value) in [
            ("outcome", json!("permit")),
            ("department", json!("marketing")),
            ("purpose", json!("sales.outreach.other")),
            ("released", json!(["health"])),
            ("entries", json!([index + 1])),
            ("entries", json!([])),
            ("decision", json!(format!("other.example.com#{index}"))),
        ] {
            let mut other = answered.clone();
            other[member] = value;
            assert_eq!(prover().decision(&other, &[]).unwrap_err().exit, Exit::CheckFailed, "{member}");
        }
        // What is proved, and belongs to another decision or stands there twice, does not count: as a gateway would answer from it.
        let released = audit::show(&dir, of).unwrap().unwrap();
        let raw = |index: u64| audit::show(&dir, index).unwrap().unwrap().entries.into_iter().find(|entry| entry.index == index).unwrap().raw;
        prover().decision(&found_json(released.decision.as_ref().unwrap()), &[]).unwrap();
        // What somebody wrote is shown beside it.
        let mut with_text = found_json(released.decision.as_ref().unwrap());
        with_text["justification"] = json!({ "state": "here", "text": "an accident" });
        prover().decision(&with_text, &[]).unwrap();
        with_text["app"] = json!("helpdesk-2");
        assert_eq!(Exit::CheckFailed, prover().decision(&with_text, &[]).unwrap_err().exit);
        for entries in [vec![of, end, other], vec![of, other], vec![of, end, end], vec![end], vec![of, of]] {
            let mut mixed = found_json(released.decision.as_ref().unwrap());
            mixed["entries"] = json!(entries);
            mixed["outcome"] = json!("deny");
            assert_eq!(prover().decision(&mixed, &[]).unwrap_err().exit, Exit::CheckFailed, "{entries:?}");
            let proved = entries.iter().map(|index| (*index, raw(*index))).collect();
            assert!(rejoin("gw-test.example.com", &[], proved, |_| None).is_none(), "{entries:?}");
        }
        assert!(prover().decision(&answered, &[PartyNo(4)]).is_err(), "about somebody whom it does not name");
    }
}
