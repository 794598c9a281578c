//! The evidence of a consent as one file: what is in it, and whatever is changed in it.

use aws_lc_rs::digest::{SHA256, digest};

use super::*;
use crate::audit::verifier_key;
use crate::console::pack::zip::{self, Members};
use crate::console::pack::{MANIFEST, MANIFEST_TYPE, SIGNATURE, manifest};
use crate::console::{Held, PackError, ReceiptKey, Trust, check_pack};

struct Made {
    file: Vec<u8>,
    vkey: String,
    keys: Value,
}

impl Made {
    fn of(desk: &Desk, id: &str) -> Self {
        let (status, headers, file) = desk.get_raw(&role(AdminRole::Auditor), &format!("/v1/reports/consent-evidence?format=zip&event={id}"));
        assert_eq!((StatusCode::OK, "application/zip"), (status, headers["content-type"].to_str().unwrap()), "{file:?}");
        let vkey = verifier_key(&desk.dir.path().join("log")).unwrap().trim().to_owned();
        Self { file: file.to_vec(), vkey, keys: desk.state.receipts.jwks() }
    }

    fn check(&self, file: &[u8]) -> Result<Vec<Held>, PackError> {
        check_pack(file, &Trust { vkey: &self.vkey, witness: None, receipt_keys: Some(&self.keys) })
    }

    fn members(&self) -> Members {
        zip::read(&self.file).unwrap()
    }
}

fn names(members: &Members) -> Vec<&str> {
    members.iter().map(|(name, _)| name.as_str()).collect()
}

fn content<'a>(members: &'a Members, name: &str) -> &'a [u8] {
    &members.iter().find(|(there, _)| there == name).unwrap_or_else(|| panic!("{name}")).1
}

fn faults(held: &[Held]) -> Vec<&str> {
    held.iter().filter(|item| item.said.is_err()).map(|item| item.what.as_str()).collect()
}

/// Signed anew by whoever has that key.
fn sealed(mut members: Members, key: &ReceiptKey) -> Vec<u8> {
    members.retain(|(name, _)| name != MANIFEST && name != SIGNATURE);
    let text = manifest(&members);
    let signature = key.sign_as(MANIFEST_TYPE, text.as_bytes());
    members.extend([(MANIFEST.to_owned(), text.into_bytes()), (SIGNATURE.to_owned(), signature.into_bytes())]);
    zip::write(&members).unwrap()
}

fn change(members: &Members, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Members {
    let mut other = members.clone();
    change(&mut other.iter_mut().find(|(there, _)| there == name).unwrap_or_else(|| panic!("{name}")).1);
    other
}

/// A consent on one of two versions of a notice, read upon twice, then taken back and refused; and what another said.
fn told() -> (Desk, String, Made) {
    let (desk, number) = desk();
    for (version, language, text) in [("1", "da", "Vi ringer til dig."), ("2", "en", "We call you, and others.")] {
        let body = json!({"id": "outreach", "version": version, "language": language, "text": text, "purposes": ["sales.outreach"], "categories": ["contact"], "recipients": ["sales"]});
        let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/notices", &body);
        assert_eq!(StatusCode::CREATED, status, "{answer}");
    }
    let at = (desk.state.clock.now() - SignedDuration::from_hours(3)).to_string();
    let given = json!({"party": "crm:0044", "state": "given", "purposes": ["sales.outreach"], "event_time": at,
        "evidence": [{"kind": "letter", "reference": "scan-1"}], "notice": {"id": "outreach", "version": "1"}});
    let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &given);
    assert_eq!(StatusCode::CREATED, status, "{answer}");
    let id = answer["event"].as_str().unwrap().to_owned();
    let event_no: u64 = id.trim_start_matches("ev_").parse().unwrap();
    for app in ["crm", "dialler"] {
        read(&desk, app, "sales", group(number, "contact", Release::Full, Some(event_no)));
    }
    event(&desk, "withdrawn", 1);
    refuse(&desk, number);
    let made = Made::of(&desk, &id);
    (desk, id, made)
}

#[test]
fn a_pack_holds_all_that_proves_a_consent() {
    let (desk, id, made) = told();
    let held = made.check(&made.file).unwrap();
    assert_eq!(faults(&held), [""; 0], "{held:#?}");
    let members = made.members();
    let names = names(&members);
    assert_eq!(names[..6], ["README.txt", "report.html", "report.json", "decisions.json", "events.json", "notices.json"]);
    assert_eq!(names[names.len() - 2..], [MANIFEST, SIGNATURE]);
    for wanted in ["notices/1.da.txt", "receipts/jwks.json", "log/log.vkey", "log/checkpoint", &format!("receipts/{id}.jws")] {
        assert!(names.contains(&wanted), "{wanted}: {names:?}");
    }
    assert_eq!(content(&members, "notices/1.da.txt"), "Vi ringer til dig.".as_bytes());
    let events: Value = serde_json::from_slice(content(&members, "events.json")).unwrap();
    assert_eq!(events.as_array().unwrap().iter().map(|event| event["what"]["state"].as_str().unwrap()).collect::<Vec<_>>(), ["given", "withdrawn"]);
    let decisions: Value = serde_json::from_slice(content(&members, "decisions.json")).unwrap();
    assert_eq!(decisions.as_array().unwrap().len(), 2);
    let said: Vec<&String> = held.iter().filter(|item| item.what.starts_with("decision ")).map(|item| item.said.as_ref().unwrap()).collect();
    assert_eq!(said, [&"2 entries of it are in the log, which says what `decisions.json` says".to_owned(); 2]);
    assert_eq!(held.iter().filter(|item| item.what.starts_with("receipt ")).count(), 2);
    assert_eq!(held.iter().filter(|item| item.what.starts_with("notice ")).count(), 1, "of the version that was shown");
    // An auditor is not told who it is, nor does the pack tell.
    for (name, content) in &members {
        assert!(!String::from_utf8_lossy(content).contains("0044"), "{name}");
    }
    // It is made in the same order each time, and is an entry of the log.
    let again = zip::read(&Made::of(&desk, &id).file).unwrap();
    assert_eq!(self::names(&again), names);
    let entry = desk.entries().pop().unwrap();
    assert_eq!((entry["kind"].as_str(), entry["operation"].as_str()), (Some("query"), Some("reports.show")));
    // Without keys of one's own a pack shows that it is of one piece, and says that this is all.
    let held = check_pack(&made.file, &Trust { vkey: &made.vkey, witness: None, receipt_keys: None }).unwrap();
    assert!(
        faults(&held).is_empty() && held.iter().any(|item| item.said.as_ref().is_ok_and(|said| said.contains("the pack itself names"))),
        "{held:?}"
    );
}

#[test]
fn a_changed_byte_in_any_member_is_refused() {
    let (_desk, _, made) = told();
    let members = made.members();
    assert!(members.len() > 15);
    for (name, content) in &members {
        for at in [0, content.len() / 2, content.len() - 1] {
            let other = change(&members, name, |content| content[at] ^= 1);
            let refused = made.check(&zip::write(&other).unwrap());
            assert!(refused.is_err(), "byte {at} of {name}");
            // With a manifest that fits; but nobody else can sign it.
            let mut listed = other.clone();
            listed.retain(|(name, _)| name != MANIFEST && name != SIGNATURE);
            let text = manifest(&listed).into_bytes();
            listed.extend([(MANIFEST.to_owned(), text), (SIGNATURE.to_owned(), self::content(&members, SIGNATURE).to_vec())]);
            if name != MANIFEST && name != SIGNATURE {
                assert!(matches!(made.check(&zip::write(&listed).unwrap()), Err(PackError::NotSigned(_) | PackError::Unreadable(_))), "{name}");
            }
        }
    }
    for (what, other) in [
        ("left out", members.iter().filter(|(name, _)| name != "report.json").cloned().collect::<Members>()),
        ("moved", members.iter().rev().cloned().collect()),
        ("added", members.iter().cloned().chain([("proofs/9999.tlog-proof".to_owned(), Vec::new())]).collect()),
        ("of no pack", members.iter().cloned().chain([("run.sh".to_owned(), Vec::new())]).collect()),
    ] {
        assert!(made.check(&zip::write(&other).unwrap()).is_err(), "{what}");
    }
    assert!(made.check(&made.file[..made.file.len() - 1]).is_err() && made.check(b"PK").is_err() && made.check(&[]).is_err());
}

/// Whoever signs receipts signs the manifest, too: what then is another than the log's is found all the same.
#[test]
fn a_forger_with_the_receipt_key_cannot_change_what_the_log_says() {
    let (desk, id, made) = told();
    let key = &*desk.state.receipts;
    let members = made.members();
    let proof = names(&members).into_iter().find(|name| name.starts_with("proofs/")).unwrap().to_owned();
    let replaced = |name: &str, from: &str, to: &str| {
        change(&members, name, |content| {
            let text = String::from_utf8(content.clone()).unwrap();
            assert!(text.contains(from), "{name}: {text}");
            *content = text.replacen(from, to, 1).into_bytes();
        })
    };
    let without = |name: &str| members.iter().filter(|(there, _)| there != name).cloned().collect::<Members>();
    let receipt = format!("receipts/{id}.jws");
    for (what, forged, wanted) in [
        ("a decision", replaced("decisions.json", "\"app\": \"dialler\"", "\"app\": \"billing\""), "decision "),
        ("a decision less", replaced("report.json", "\"decision\": \"gw-test", "\"decision\": \"gw-fake"), "report"),
        ("a proof", replaced(&proof, "extra ", "extra AAAA"), "proof "),
        ("a proof less", without(&proof), "decision "),
        ("a receipt", replaced(&receipt, ".", ".e30"), "receipt "),
        ("a receipt less", without(&receipt), "receipt "),
        ("a text", replaced("notices/1.da.txt", "ringer", "skriver"), "notice "),
        ("a text less", without("notices/1.da.txt"), "notice "),
        ("a checkpoint", replaced("log/checkpoint", "gw-test", "gw-fake"), "checkpoint"),
        ("a key", replaced("log/log.vkey", "gw-test", "gw-fake"), "log.vkey"),
        ("the read-me", replaced("README.txt", "log.vkey", "evil.key"), "README.txt"),
    ] {
        let held = made.check(&sealed(forged, key)).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(faults(&held).iter().any(|fault| fault.starts_with(wanted)), "{what}: {held:#?}");
    }
    let held = made.check(&sealed(members.clone(), key)).unwrap();
    assert!(faults(&held).is_empty(), "what is signed anew without a change holds");
    // Another's key, also where the pack names it as its own.
    let other = ReceiptKey::new(&[77; 32]).unwrap();
    let posing = change(&members, "receipts/jwks.json", |keys| *keys = other.jwks().to_string().into_bytes());
    let posing = sealed(posing, &other);
    assert!(matches!(made.check(&posing), Err(PackError::NotSigned(_))));
    let held = check_pack(&posing, &Trust { vkey: &made.vkey, witness: None, receipt_keys: None }).unwrap();
    assert!(faults(&held).iter().all(|fault| fault.starts_with("receipt ")) && !faults(&held).is_empty(), "{held:#?}");
    // Another log's key bears nothing out.
    let (elsewhere, _) = super::desk();
    let vkey = verifier_key(&elsewhere.dir.path().join("log")).unwrap().trim().to_owned();
    let held = check_pack(&made.file, &Trust { vkey: &vkey, witness: None, receipt_keys: Some(&made.keys) }).unwrap();
    for wanted in ["log.vkey", "checkpoint", "proof ", "decision "] {
        assert!(vkey == made.vkey || faults(&held).iter().any(|fault| fault.starts_with(wanted)), "{wanted}: {held:#?}");
    }
    let held = check_pack(&made.file, &Trust { vkey: "gw-fake.example.com+00000000+AA==", witness: None, receipt_keys: Some(&made.keys) }).unwrap();
    assert!(faults(&held).contains(&"log.vkey"), "{held:#?}");
    // No witness has seen it.
    let held = check_pack(&made.file, &Trust { vkey: &made.vkey, witness: Some(&made.vkey), receipt_keys: Some(&made.keys) }).unwrap();
    assert!(faults(&held).iter().any(|fault| fault.starts_with("proof ")), "{held:#?}");
    assert_eq!(check_pack(&made.file, &Trust { vkey: &made.vkey, witness: None, receipt_keys: Some(&json!({})) }), Err(PackError::NoKeys));
}

#[test]
fn an_entry_that_names_others_is_proved_by_its_hash_alone() {
    let (desk, number) = desk();
    let given = event(&desk, "given", 2);
    let id: u64 = given.as_str().unwrap().trim_start_matches("ev_").parse().unwrap();
    // An answer in parts: the first is about this customer, the second about another.
    let groups = vec![group(number, "contact", Release::Full, Some(id))];
    let shared = record(&desk, Entry::Permit { facts: facts("crm", "sales"), groups });
    let groups = vec![group(987_654, "contact", Release::Full, Some(77))];
    let part = record(&desk, Entry::Part { of: shared, rows: 1, dropped: 0, groups, withheld: Vec::new() });
    record(&desk, Entry::End { of: shared, status: 200, bytes: 9, rows: 1, complete: true, latency_us: 9 });
    let own = read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(id)));
    let made = Made::of(&desk, given.as_str().unwrap());
    let members = made.members();
    let decisions: Value = serde_json::from_slice(content(&members, "decisions.json")).unwrap();
    let packed: Vec<u64> = decisions.as_array().unwrap().iter().map(|decision| decision["index"].as_u64().unwrap()).collect();
    assert_eq!(packed, [own, shared]);
    assert!(!content(&members, "decisions.json").windows(5).any(|text| text == b"ev_77"), "what the other decision rests on");
    let entry_of = |index: u64| {
        let proof = String::from_utf8(content(&members, &format!("proofs/{index}.tlog-proof")).to_vec()).unwrap();
        crate::audit::check_proof(&made.vkey, &proof, None).unwrap().entry
    };
    assert!(entry_of(own).is_some() && entry_of(shared).is_some() && entry_of(part).is_none());
    let held = made.check(&made.file).unwrap();
    let said = |index: u64| held.iter().find(|item| item.what.ends_with(&format!("#{index}"))).unwrap().said.clone().unwrap();
    assert!(faults(&held).is_empty() && said(shared).contains("names other customers") && said(own).contains("says what"), "{held:#?}");
}

#[test]
fn packs_are_for_auditors_and_bounded() {
    let (desk, number) = desk();
    let given = event(&desk, "given", 2);
    let given = given.as_str().unwrap();
    let path = format!("/v1/reports/consent-evidence?format=zip&event={given}");
    assert_eq!(StatusCode::FORBIDDEN, desk.get(&role(AdminRole::ConsentDesk), &path).0);
    for (path, status) in [
        ("/v1/reports/denies?format=zip", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/consent-evidence?format=zip&event=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/consent-evidence?format=zip&event=ev_999", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status, desk.get(&role(AdminRole::Auditor), path).0, "{path}");
    }
    let none = Made::of(&desk, given);
    assert!(faults(&none.check(&none.file).unwrap()).is_empty(), "nothing was released on it");
    // Whoever is at the desk, too, sees whose it is.
    let both = crate::console::tests::As::Staff(vec![AdminRole::Auditor, AdminRole::ConsentDesk]);
    let (_, _, file) = desk.get_raw(&both, &path);
    assert!(String::from_utf8_lossy(&file).contains("crm:0044"));
    let id = given.trim_start_matches("ev_").parse().unwrap();
    let group = group(number, "contact", Release::Full, Some(id));
    let waiting: Vec<_> = (0..=crate::console::pack::DECISIONS_MAX)
        .map(|_| desk.state.log.append(Entry::Permit { facts: facts("crm", "sales"), groups: vec![group.clone()] }).unwrap())
        .collect();
    waiting.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    let (status, refused) = desk.get(&role(AdminRole::Auditor), &path);
    assert_eq!(StatusCode::UNPROCESSABLE_ENTITY, status, "{refused}");
    assert!(refused.to_string().contains("a pack holds 1000"), "{refused}");
}

#[test]
fn the_manifest_is_what_sha256sum_reads() {
    let hash = |content: &[u8]| digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(manifest(&[("a", "x"), ("b/c", "")]), format!("{}  a\n{}  b/c\n", hash(b"x"), hash(b"")));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "x").unwrap();
    std::fs::write(dir.path().join("manifest"), manifest(&[("a", "x")])).unwrap();
    let ran = std::process::Command::new("sha256sum").args(["-c", "manifest"]).current_dir(dir.path()).output().unwrap();
    assert_eq!((ran.status.success(), String::from_utf8_lossy(&ran.stdout).as_ref()), (true, "a: OK\n"));
}
