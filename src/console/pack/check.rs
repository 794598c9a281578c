//! Whether a pack holds, by keys that its reader has from elsewhere. Nothing that a pack says of itself is believed: what the keys do not
//! bear out is a fault.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::zip::{self, Members, ZipError};
use super::{MANIFEST, MANIFEST_TYPE, README, SIGNATURE, manifest, sha256, value_of};
use crate::audit::{Checked, check_checkpoint, check_proof, found_json, is_key_of, rejoin};
use crate::console::receipt::{self, BadJws};

/// What its reader brings along.
#[derive(Clone, Debug)]
pub struct Trust<'a> {
    /// The log's verifier key.
    pub vkey: &'a str,
    /// The verifier key of a witness that must have seen every proof's checkpoint.
    pub witness: Option<&'a str>,
    /// The JSON Web Key Set of receipts; without it the pack's own are used, which shows only that the pack is of one piece.
    pub receipt_keys: Option<&'a Value>,
}

/// One thing in a pack, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub what: String,
    /// What holds, or why it does not.
    pub said: Result<String, String>,
}

/// Why a file is not looked at any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("{0}")]
    Zip(#[from] ZipError),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is no member of a pack")]
    Unknown(String),
    #[error("`{0}` is not what the manifest lists: it was changed, added, moved or left out")]
    NotListed(String),
    #[error("the manifest is not signed: {0}")]
    NotSigned(BadJws),
    #[error("`{0}` cannot be read")]
    Unreadable(String),
    #[error("these are no receipt keys (a JSON Web Key Set)")]
    NoKeys,
}

/// Whether a file begins like a pack.
#[must_use]
pub fn is_pack(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
}

/// Looks at everything in a pack.
///
/// # Errors
/// When it is not whole, or not as it was signed.
pub fn check(bytes: &[u8], trust: &Trust<'_>) -> Result<Vec<Held>, PackError> {
    let members = zip::read(bytes)?;
    listed(&members)?;
    let pack = Pack(members.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect());
    let own_keys = pack.json("receipts/jwks.json")?;
    let keys = trust.receipt_keys.unwrap_or(&own_keys);
    if !keys.get("keys").is_some_and(Value::is_array) {
        return Err(PackError::NoKeys);
    }
    let (payload, kid) = receipt::verified(keys, MANIFEST_TYPE, pack.text(SIGNATURE)?.trim_end()).map_err(PackError::NotSigned)?;
    if payload != pack.bytes(MANIFEST)? {
        return Err(PackError::NotSigned(BadJws::OtherPayload));
    }
    let whose = if trust.receipt_keys.is_some() { "of yours" } else { "that the pack itself names; only `--receipt-keys` shows whose it is" };
    let mut held = vec![
        Held { what: "pack".to_owned(), said: Ok(format!("{} files, each as the signed manifest lists it", members.len())) },
        Held { what: "signature".to_owned(), said: Ok(format!("by the key {kid} {whose}")) },
        Held {
            what: "README.txt".to_owned(),
            said: judged(pack.bytes("README.txt")? == README.as_bytes(), "as this version writes it", "of another version"),
        },
    ];
    held.extend(pack.log(trust)?);
    let (proofs, faults) = pack.proofs(trust)?;
    held.extend(faults);
    let decisions = pack.list("decisions.json")?;
    held.extend(decisions.iter().map(|decision| of_decision(decision, &proofs)));
    held.push(pack.report(&decisions)?);
    held.extend(pack.receipts(keys)?);
    held.extend(pack.notices()?);
    Ok(held)
}

/// The manifest lists every other member, in their order, and nothing else; all have names that a pack gives.
fn listed(members: &Members) -> Result<(), PackError> {
    for (name, _) in members {
        if !is_known(name) {
            return Err(PackError::Unknown(name.clone()));
        }
    }
    for name in [MANIFEST, SIGNATURE] {
        if !members.iter().any(|(there, _)| there == name) {
            return Err(PackError::Missing(name));
        }
    }
    let others: Vec<(&str, &[u8])> =
        members.iter().filter(|(name, _)| name != MANIFEST && name != SIGNATURE).map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let said = members.iter().find(|(name, _)| name == MANIFEST).map(|(_, content)| String::from_utf8_lossy(content)).unwrap_or_default();
    let (found, mut lines) = (manifest(&others), said.split_inclusive('\n'));
    if let Some((at, _)) = found.split_inclusive('\n').enumerate().find(|(_, line)| lines.next() != Some(*line)) {
        return Err(PackError::NotListed(others.get(at).map_or(MANIFEST, |(name, _)| name).to_owned()));
    }
    // The manifest and its signature stand at the end, so that the order of all is signed.
    let ends = members.iter().rev().map(|(name, _)| name.as_str()).take(2).eq([SIGNATURE, MANIFEST]);
    if found == said && ends { Ok(()) } else { Err(PackError::NotListed(MANIFEST.to_owned())) }
}

fn is_known(name: &str) -> bool {
    let within =
        |folder: &str, ending: &str| name.strip_prefix(folder).and_then(|rest| rest.strip_suffix(ending)).is_some_and(|rest| !rest.is_empty());
    let fixed = [
        "README.txt",
        "report.html",
        "report.json",
        "decisions.json",
        "events.json",
        "notices.json",
        "receipts/jwks.json",
        "log/log.vkey",
        "log/checkpoint",
        MANIFEST,
        SIGNATURE,
    ];
    fixed.contains(&name)
        || within("notices/", ".txt")
        || within("receipts/ev_", ".jws")
        || within("log/witnessed-", "")
        || within("proofs/", ".tlog-proof")
}

fn judged(holds: bool, well: &str, fault: &str) -> Result<String, String> {
    if holds { Ok(well.to_owned()) } else { Err(fault.to_owned()) }
}

/// Members by their names.
struct Pack<'a>(BTreeMap<&'a str, &'a [u8]>);

impl Pack<'_> {
    fn bytes(&self, name: &'static str) -> Result<&[u8], PackError> {
        self.0.get(name).copied().ok_or(PackError::Missing(name))
    }

    fn text(&self, name: &'static str) -> Result<&str, PackError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_binary| PackError::Unreadable(name.to_owned()))
    }

    fn json(&self, name: &'static str) -> Result<Value, PackError> {
        serde_json::from_slice(self.bytes(name)?).map_err(|_other| PackError::Unreadable(name.to_owned()))
    }

    fn list(&self, name: &'static str) -> Result<Vec<Value>, PackError> {
        let Value::Array(items) = self.json(name)? else { return Err(PackError::Unreadable(name.to_owned())) };
        Ok(items)
    }

    /// What stands between two parts of a name, with the texts of the members.
    fn each<'s>(&'s self, before: &'s str, after: &'s str) -> impl Iterator<Item = Result<(&'s str, &'s str), PackError>> + 's {
        self.0.iter().filter_map(move |(name, content)| {
            let middle = name.strip_prefix(before)?.strip_suffix(after)?;
            Some(std::str::from_utf8(content).map(|text| (middle, text)).map_err(|_binary| PackError::Unreadable((*name).to_owned())))
        })
    }

    fn log(&self, trust: &Trust<'_>) -> Result<Vec<Held>, PackError> {
        let is_own = is_key_of(trust.vkey, self.text("log/log.vkey")?);
        let mut held =
            vec![Held { what: "log.vkey".to_owned(), said: judged(is_own, "the key that you hold", "another key than the one that you hold") }];
        let newest = std::iter::once(self.text("log/checkpoint").map(|note| ("checkpoint".to_owned(), note)));
        let witnessed = self.each("log/witnessed-", "").map(|found| found.map(|(at, note)| (format!("witnessed-{at}"), note)));
        for note in newest.chain(witnessed) {
            let (what, note) = note?;
            let said =
                check_checkpoint(trust.vkey, note).map(|(origin, size)| format!("{origin} signs {size} entries")).map_err(|why| why.to_string());
            held.push(Held { what, said });
        }
        Ok(held)
    }

    /// The entries that are proved, and what is said of proofs that show nothing.
    fn proofs(&self, trust: &Trust<'_>) -> Result<(BTreeMap<u64, Checked>, Vec<Held>), PackError> {
        let (mut proved, mut faults) = (BTreeMap::new(), Vec::new());
        for found in self.each("proofs/", ".tlog-proof") {
            let (name, proof) = found?;
            match check_proof(trust.vkey, proof, trust.witness) {
                Ok(checked) if checked.index.to_string() == name => drop(proved.insert(checked.index, checked)),
                Ok(checked) => faults.push(Held { what: format!("proof {name}"), said: Err(format!("it is of entry {}", checked.index)) }),
                Err(why) => faults.push(Held { what: format!("proof {name}"), said: Err(why.to_string()) }),
            }
        }
        Ok((proved, faults))
    }

    /// Whether the report is of these decisions.
    fn report(&self, decisions: &[Value]) -> Result<Held, PackError> {
        let report = self.json("report.json")?;
        let rows = report.pointer("/tables/0/rows").and_then(Value::as_array).into_iter().flatten();
        let named: BTreeSet<&str> = rows.filter_map(|row| row.get("decision")?.as_str()).collect();
        let there: BTreeSet<&str> = decisions.iter().filter_map(|decision| decision.get("decision")?.as_str()).collect();
        let well = format!("names {}, all of them in this pack", crate::console::reports::counted(named.len() as u64, "decision"));
        Ok(Held { what: "report".to_owned(), said: judged(named == there, &well, "it names other decisions than the pack holds") })
    }

    fn receipts(&self, keys: &Value) -> Result<Vec<Held>, PackError> {
        let events = self.list("events.json")?;
        let told: BTreeMap<&str, &Value> = events.iter().filter_map(|event| Some((event.get("event")?.as_str()?, event))).collect();
        let mut held = Vec::new();
        let mut signed = BTreeSet::new();
        for found in self.each("receipts/", ".jws") {
            let (name, token) = found?;
            let said = receipt::verified(keys, receipt::RECEIPT_TYPE, token.trim_end()).map_err(|why| why.to_string()).and_then(|(payload, _)| {
                let receipt: Value = serde_json::from_slice(&payload).unwrap_or_default();
                let of = receipt.get("receipt_id").and_then(Value::as_str).and_then(|id| id.rsplit_once(':')).map(|(_, event)| event);
                judged(of == Some(name) && told.contains_key(name), "signed, and of an event of `events.json`", "it is of another event")
            });
            signed.insert(name.to_owned());
            held.push(Held { what: format!("receipt {name}"), said });
        }
        for event in told.keys().filter(|event| !signed.contains(**event)) {
            held.push(Held { what: format!("receipt {event}"), said: Err("it is missing".to_owned()) });
        }
        Ok(held)
    }

    fn notices(&self) -> Result<Vec<Held>, PackError> {
        let list = self.list("notices.json")?;
        let texts: BTreeMap<&str, &[u8]> =
            self.0.iter().filter(|(name, _)| name.starts_with("notices/")).map(|(name, text)| (*name, *text)).collect();
        let mut held = Vec::new();
        for notice in &list {
            let text = |key: &str| notice.get(key).and_then(Value::as_str).unwrap_or_default();
            let said = match notice.get("file").and_then(Value::as_str) {
                Some(file) => {
                    let is_it = texts.get(file).is_some_and(|content| sha256(content) == text("sha256"));
                    judged(is_it, &format!("`{file}` has the hash under which it was registered"), &format!("`{file}` is another text"))
                }
                None => Ok(format!("only the hash of its text is kept: SHA-256 {}", text("sha256"))),
            };
            held.push(Held { what: format!("notice {} {} {}", text("id"), text("version"), text("language")), said });
        }
        let named: BTreeSet<&str> = list.iter().filter_map(|notice| notice.get("file")?.as_str()).collect();
        let stray = texts.keys().filter(|name| !named.contains(**name));
        held.extend(stray.map(|name| Held { what: (*name).to_owned(), said: Err("no notice of `notices.json` has this text".to_owned()) }));
        Ok(held)
    }
}

/// A decision is what its entries say, each of which the log has; where one of them is only there as a hash, what it says stays unknown.
fn of_decision(decision: &Value, proofs: &BTreeMap<u64, Checked>) -> Held {
    let id = decision.get("decision").and_then(Value::as_str).unwrap_or_default();
    let what = format!("decision {id}");
    let indexes: Vec<u64> = decision.get("entries").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect();
    let Some(entries) = indexes.iter().map(|index| proofs.get(index)).collect::<Option<Vec<_>>>().filter(|entries| !entries.is_empty()) else {
        return Held { what, said: Err("the proof of an entry is missing or does not hold".to_owned()) };
    };
    let Some((origin, index)) = id.rsplit_once('#') else { return Held { what, said: Err("it has no id".to_owned()) } };
    let is_of_it = entries.iter().all(|entry| entry.origin == origin) && indexes.first().is_some_and(|first| first.to_string() == index);
    if !is_of_it {
        return Held { what, said: Err("its proofs are of another decision".to_owned()) };
    }
    let raw: Option<Vec<(u64, Vec<u8>)>> = entries.iter().map(|checked| Some((checked.index, checked.entry.clone()?))).collect();
    let count = match entries.len() {
        1 => "1 entry of it is in the log".to_owned(),
        more => format!("{more} entries of it are in the log"),
    };
    let Some(raw) = raw else {
        return Held { what, said: Ok(format!("{count}; what they say is not shown, since it names other customers")) };
    };
    let joined = rejoin(origin, &[], raw, |index| proofs.get(&index).and_then(|checked| value_of(checked.entry.as_deref()?)));
    let is_as_told = joined.map(|found| found_json(&found)).as_ref() == Some(decision);
    Held {
        what,
        said: judged(is_as_told, &format!("{count}, which says what `decisions.json` says"), "`decisions.json` says something else than its entries"),
    }
}
