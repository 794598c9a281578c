//! What people wrote about emergencies: read while its key is there, gone for good with it, and proved all along.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::super::export::Position;
use super::double::Op;
use super::prune::{all_before, day, never, nobody};
use super::*;
use crate::model::EventFormat;

const WROTE: &str = "the ambulance asks for Mrs Møller's allergies";
/// Months are of UTC; the tests' clock starts at the end of one.
const FIRST: &str = "break-glass/2026-05";
const SECOND: &str = "break-glass/2026-06";

fn emergency(party: u64, wrote: &str) -> Entry {
    let facts = DecisionFacts { grant: Some("bg_5".into()), justification: Some(FreeText::new(wrote)), ..(*facts()).clone() };
    let groups = vec![group(&[party], Outcome::Permit, vec![verdict("contact", Release::Full, None)])];
    Entry::Permit { facts: Arc::new(facts), groups }
}

fn step(step: &'static str, text: StepText) -> Entry {
    Entry::BreakGlass { grant: "bg_5".into(), step, actor: Some("e_1".into()), party: Some(PartyNo(5)), revision: Revision(1), text }
}

fn used(log: &Log, party: u64, wrote: &str) -> u64 {
    let head = record(log, emergency(party, wrote));
    record(log, end(head));
    head
}

fn said(dir: &Path, index: u64) -> Said {
    let entry = read(dir).into_iter().find(|entry| entry.index == index).unwrap();
    Texts::of(dir).open(&LockedText::of(&entry.resolved).unwrap())
}

fn key_file(dir: &Path, id: &str) -> PathBuf {
    dir.join("text-keys").join(id.replace('/', "-"))
}

fn list(dir: &Path) -> String {
    fs::read_to_string(dir.join("text-keys.list")).unwrap()
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    let contains = |path: &Path| fs::read(path).unwrap().windows(needle.len()).any(|part| part == needle);
    fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).any(|path| if path.is_dir() { holds(&path, needle) } else { contains(&path) })
}

/// A log of two months: of customer 5 at the end of the first, of 6 in the second. Then so many days pass.
fn two_months(setup: &Setup, days: u64) -> (Log, u64, u64) {
    let log = setup.open();
    let first = used(&log, 5, WROTE);
    setup.clock.advance(Duration::from_secs(10 * 24 * 3_600));
    let other = DecisionFacts { grant: Some("bg_6".into()), justification: Some(FreeText::new("x")), ..(*facts()).clone() };
    let groups = vec![group(&[6], Outcome::Permit, vec![verdict("contact", Release::Full, None)])];
    let second = record(&log, Entry::Permit { facts: Arc::new(other), groups });
    record(&log, end(second));
    setup.clock.advance(Duration::from_secs(days * 24 * 3_600));
    (log, first, second)
}

fn prune_keys(log: &Log, before: Timestamp, is_held: &dyn Fn(PartyNo) -> bool) -> (Vec<String>, Vec<String>) {
    let pruning = log.plan_pruning(&all_before(before), is_held, &never).unwrap();
    let names = |ids: &[TextKeyId]| ids.iter().map(ToString::to_string).collect();
    let told = (names(&pruning.keys()), names(pruning.keys_held()));
    if !pruning.is_empty() {
        let mut announced = pruning.announce().unwrap();
        while announced.step(is_held).unwrap() {}
    }
    told
}

#[test]
fn text_is_read_with_its_key_and_stands_nowhere_else() {
    let setup = Setup::quick();
    let log = setup.open();
    let head = used(&log, 5, WROTE);
    let asked = record(&log, step("requested", StepText::Said(FreeText::new(WROTE))));
    let ended = record(&log, step("revoked", StepText::Said(FreeText::new("over"))));
    let lost = record(&log, step("revoked", StepText::NotKept));
    let plain = record(&log, step("approved", StepText::None));
    for (index, text) in [(head, WROTE), (asked, WROTE), (ended, "over")] {
        assert!(said(&setup.dir(), index) == Said::Text(text.to_owned()), "{index}");
    }
    let all = read(&setup.dir());
    let entry = |index: u64| &all.iter().find(|entry| entry.index == index).unwrap().value;
    assert_eq!((FIRST, FIRST), (entry(head)["justification"]["key"].as_str().unwrap(), entry(ended)["reason"]["key"].as_str().unwrap()));
    assert_eq!((Some(true), None), (entry(lost)["text_not_kept"].as_bool(), LockedText::of(entry(plain))));
    assert_eq!(format!("{:?}", emergency(5, WROTE)).find("ambulance"), None, "never printed");
    // The index, and what others are told.
    let index = Index::open(&setup.dir(), &setup.root.path().join("index")).unwrap();
    index.catch_up(u64::MAX, |_| ()).unwrap();
    let found = index.search(&Query { grant: Some("bg_5".into()), ..Query::default() }).unwrap().decisions;
    assert_eq!(Said::Text(WROTE.to_owned()), Texts::of(&setup.dir()).open(found[0].justification.as_ref().unwrap()));
    assert_eq!(None, found_json(&found[0]).get("justification"));
    assert_eq!("here", found_json_with(&found[0], &Texts::of(&setup.dir()))["justification"]["state"]);
    log.close();
    assert!(!holds(setup.root.path(), b"ambulance") && !holds(setup.root.path(), b"llergies"));
    let data = entry(head)["justification"]["data"].as_str().unwrap().as_bytes();
    assert!(holds(&setup.dir(), data) && !holds(&setup.root.path().join("index"), data));
    setup.verify();
    // For their owner only.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let key = key_file(&setup.dir(), FIRST);
    assert_eq!(
        (0o700, 0o600, 0o600, 32),
        (mode(key.parent().unwrap()), mode(&key), mode(&setup.dir().join("text-keys.list")), fs::read(&key).unwrap().len())
    );
}

#[test]
fn what_is_encrypted_has_few_lengths_and_never_the_same_bytes() {
    let setup = Setup::quick();
    let log = setup.open();
    let data = |wrote: &str| {
        let head = record(&log, emergency(5, wrote));
        read(&setup.dir()).into_iter().find(|entry| entry.index == head).unwrap().value["justification"]["data"].as_str().unwrap().to_owned()
    };
    assert_ne!(data("x"), data("x"));
    let lengths: Vec<usize> = [1, 254, 255, 1_022, 1_023, TEXT_BYTES_MAX].map(|bytes| data(&"a".repeat(bytes)).len()).to_vec();
    assert_eq!(3, lengths.iter().collect::<BTreeSet<_>>().len(), "{lengths:?}");
    assert!(lengths[0] == lengths[1] && lengths[2] == lengths[3] && lengths[4] == lengths[5], "{lengths:?}");
    assert!(matches!(log.append(emergency(5, &"a".repeat(TEXT_BYTES_MAX + 1))), Err(AuditError::TextTooLong { .. })));
    log.close();
}

#[test]
fn text_does_not_open_elsewhere_or_changed_or_with_another_key() {
    let setup = Setup::quick();
    let log = setup.open();
    let head = used(&log, 5, WROTE);
    let asked = record(&log, step("requested", StepText::Said(FreeText::new(WROTE))));
    log.close();
    let texts = Texts::of(&setup.dir());
    let entry = |index: u64| read(&setup.dir()).into_iter().find(|entry| entry.index == index).unwrap().value;
    let opened = |entry: &Value| LockedText::of(entry).map(|text| texts.open(&text));
    let text = Some(Said::Text(WROTE.to_owned()));
    assert_eq!((&text, &text), (&opened(&entry(head)), &opened(&entry(asked))));
    let changed = |index: u64, change: &dyn Fn(&mut Value)| {
        let mut entry = entry(index);
        change(&mut entry);
        opened(&entry)
    };
    let t = entry(head)["t"].as_i64().unwrap();
    let other = entry(asked)["justification"].clone();
    for (what, change) in [
        ("another request", &(|entry: &mut Value| entry["rid"] = 18.into()) as &dyn Fn(&mut Value)),
        ("another time", &|entry| entry["t"] = (t + 1).into()),
        ("another kind", &|entry| entry["kind"] = "intent".into()),
        ("another entry's", &|entry| entry["justification"] = other.clone()),
        ("another nonce", &|entry| entry["justification"]["nonce"] = "AAAAAAAAAAAAAAAA".into()),
        ("no nonce", &|entry| entry["justification"]["nonce"] = "AAAA".into()),
        ("cut", &|entry| entry["justification"]["data"] = "AAAA".into()),
        ("another member", &|entry| entry["reason"] = entry.as_object_mut().unwrap().remove("justification").unwrap()),
    ] {
        assert_eq!(Some(Said::Unopened), changed(head, change), "{what}");
    }
    for (what, change) in [
        ("another grant", &(|entry: &mut Value| entry["grant"] = "bg_6".into()) as &dyn Fn(&mut Value)),
        ("another step", &|entry| entry["step"] = "revoked".into()),
    ] {
        assert_eq!(Some(Said::Unopened), changed(asked, change), "{what}");
    }
    assert_eq!(Some(Said::NoKey), changed(head, &|entry| entry["justification"]["key"] = SECOND.into()));
    assert_eq!(Some(Said::NoKey), changed(head, &|entry| entry["justification"]["key"] = "../../log".into()));
    // The same bytes under another month's name.
    fs::copy(key_file(&setup.dir(), FIRST), key_file(&setup.dir(), SECOND)).unwrap();
    assert_eq!(Some(Said::Unopened), changed(head, &|entry| entry["justification"]["key"] = SECOND.into()));
    let data = entry(head)["justification"]["data"].as_str().unwrap().to_owned();
    for at in [0, 100, data.len() - 8] {
        let mut data = data.clone().into_bytes();
        data[at] = if data[at] == b'A' { b'B' } else { b'A' };
        let data = String::from_utf8(data).unwrap();
        assert_eq!(Some(Said::Unopened), changed(head, &|entry| entry["justification"]["data"] = data.clone().into()), "{at}");
    }
    fs::write(key_file(&setup.dir(), FIRST), [7; 32]).unwrap();
    assert_eq!(Said::Unopened, said(&setup.dir(), head));
    fs::remove_file(key_file(&setup.dir(), FIRST)).unwrap();
    assert_eq!(Said::NoKey, said(&setup.dir(), head));
}

#[test]
fn without_its_key_new_text_is_refused_and_all_else_is_recorded() {
    let setup = Setup::quick();
    let log = setup.open();
    let head = used(&log, 5, WROTE);
    let key = key_file(&setup.dir(), FIRST);
    let bytes = fs::read(&key).unwrap();
    let refused = |log: &Log, why: &str| {
        let Err(AuditError::TextKey { id, why: told }) = log.append(emergency(5, WROTE)).map(|_| ()) else { panic!("{why}: it was taken") };
        assert!(id == FIRST && told.contains(why), "{told}");
        assert!(log.takes_text().is_err());
        record(log, permit(1));
        record(log, step("revoked", StepText::NotKept));
        assert!(log.healthy().is_ok());
    };
    fs::remove_file(&key).unwrap();
    refused(&log, "is lost");
    assert!(!key.exists(), "none is made in its place");
    fs::write(&key, &bytes[..31]).unwrap();
    refused(&log, "is damaged");
    fs::write(&key, [7; 32]).unwrap();
    refused(&log, "was changed");
    fs::remove_dir_all(key.parent().unwrap()).unwrap();
    refused(&log, "is lost");
    log.close();
    // Nor after a restart.
    let log = setup.open();
    refused(&log, "is lost");
    fs::create_dir(key.parent().unwrap()).unwrap();
    fs::write(&key, &bytes).unwrap();
    used(&log, 5, "again");
    assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), head));
    log.close();
    // A list that nobody can read says nothing about what was lost.
    fs::write(setup.dir().join("text-keys.list"), "break-glass/2026-05 made\n").unwrap();
    let log = setup.open();
    refused(&log, "is not known");
    assert!(log.plan_pruning(&all_before(day(900)), &nobody, &never).is_err(), "nor what is to be destroyed");
    log.close();
    setup.verify();
}

#[test]
fn a_key_is_on_the_disk_before_what_needs_it_whatever_fails() {
    for (op, path) in
        [(Op::Create, "text-keys/"), (Op::Write, "text-keys/"), (Op::Sync, "text-keys/"), (Op::Rename, "text-keys/"), (Op::Replace, "text-keys.list")]
    {
        let setup = Setup::quick();
        let log = setup.open();
        setup.disk.fail(op, path, 0, ErrorKind::Other);
        assert!(log.append(emergency(5, WROTE)).is_err(), "{op:?}");
        record(&log, permit(1));
        assert!(!kinds(&setup.dir()).is_empty() && !read(&setup.dir()).iter().any(|entry| entry.value.get("justification").is_some()));
        // As after a crash there: the next one goes on.
        log.close();
        setup.disk.mend();
        let log = setup.open();
        let head = used(&log, 5, WROTE);
        assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), head), "{op:?}");
        let files: Vec<_> = fs::read_dir(setup.dir().join("text-keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(vec!["break-glass-2026-05"], files);
        log.close();
    }
}

#[test]
fn a_month_past_its_time_is_destroyed_as_announced_and_all_proofs_hold() {
    let setup = Setup::quick();
    let (log, first, second) = two_months(&setup, 400);
    // The start of June: no entry of May is younger, and all of them stand in the segment that grows.
    let before: Vec<_> = read(&setup.dir()).into_iter().map(|entry| (entry.index, entry.raw)).collect();
    wait_until_signed(&log);
    let proof = Tiles::new(&setup.dir()).prove(first).unwrap().unwrap();
    let note = fs::read_to_string(setup.dir().join("checkpoint")).unwrap();
    let june: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let second_earlier = june.checked_sub(Duration::from_secs(1)).unwrap();
    assert_eq!((vec![], vec![]), prune_keys(&log, second_earlier, &nobody), "a month is not over before its end");
    assert!(log.plan_pruning(&Retention::default(), &nobody, &never).unwrap().is_empty(), "kept for ever");
    assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), first));
    assert_eq!((vec![FIRST.to_owned()], vec![]), prune_keys(&log, june, &nobody));
    assert!(!key_file(&setup.dir(), FIRST).exists());
    let all = read(&setup.dir());
    let announced = all.iter().find(|entry| entry.kind() == "prune").unwrap();
    assert_eq!(serde_json::json!([FIRST]), announced.value["keys"]);
    assert_eq!(Said::Destroyed { announced: announced.index }, said(&setup.dir(), first));
    assert_eq!(Said::Text("x".to_owned()), said(&setup.dir(), second));
    let entries: Vec<_> = all.iter().map(|entry| (entry.index, entry.raw.clone())).collect();
    assert_eq!(before[..], entries[..before.len()], "no byte of an entry is changed");
    setup.verify();
    verify_against(&setup.dir(), None, Some(&note)).unwrap();
    let key = fs::read_to_string(setup.dir().join("log.vkey")).unwrap();
    assert_eq!(Some(&proof.entry), check_proof(&key, &proof.evidence(), None).unwrap().entry.as_ref());
    // Not again, nor after a restart, nor for a clock that is set back.
    assert_eq!((vec![], vec![]), prune_keys(&log, june, &nobody));
    log.close();
    setup.clock.step_to(Timestamp::from_second(START).unwrap());
    let log = setup.open();
    let Err(AuditError::TextKey { why, .. }) = log.append(emergency(5, WROTE)).map(|_| ()) else { panic!("it was taken") };
    assert!(why.contains("is destroyed"), "{why}");
    // A copy that comes back opens nothing, and goes again.
    fs::write(key_file(&setup.dir(), FIRST), [7; 32]).unwrap();
    assert!(matches!(said(&setup.dir(), first), Said::Destroyed { .. }));
    assert_eq!((vec![FIRST.to_owned()], vec![]), prune_keys(&log, june, &nobody));
    assert!(!key_file(&setup.dir(), FIRST).exists());
    log.close();
    setup.verify();
}

#[test]
fn a_hold_keeps_every_key_of_what_the_customer_is_named_in() {
    let june: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let setup = Setup::quick();
    let (log, first, _) = two_months(&setup, 400);
    assert_eq!((vec![], vec![FIRST.to_owned()]), prune_keys(&log, june, &|party| party == PartyNo(5)));
    assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), first));
    // Of another month and grant.
    assert_eq!((vec![FIRST.to_owned()], vec![]), prune_keys(&log, june, &|party| party == PartyNo(6)));
    log.close();

    // Named by a part alone, and by another decision under the same grant in a later month.
    for later in [false, true] {
        let setup = Setup::quick();
        let log = setup.open();
        let facts = DecisionFacts { grant: Some("bg_5".into()), justification: Some(FreeText::new(WROTE)), ..(*facts()).clone() };
        let head = record(&log, Entry::Intent { facts: Arc::new(facts), groups: Vec::new() });
        let groups = vec![group(&[9], Outcome::Permit, vec![verdict("contact", Release::Full, None)])];
        if later {
            setup.clock.advance(Duration::from_secs(10 * 24 * 3_600));
            used(&log, 9, "y");
        } else {
            record(&log, Entry::Part { of: head, rows: 1, dropped: 0, groups, withheld: Vec::new() });
        }
        record(&log, end(head));
        setup.clock.advance(Duration::from_secs(400 * 24 * 3_600));
        assert_eq!((vec![], vec![FIRST.to_owned()]), prune_keys(&log, june, &|party| party == PartyNo(9)), "{later}");
        assert_eq!((vec![FIRST.to_owned()], vec![]), prune_keys(&log, june, &nobody), "{later}");
        log.close();
    }

    // Who comes under hold once it is announced is spared, too.
    let setup = Setup::quick();
    let (log, first, _) = two_months(&setup, 400);
    let held = AtomicBool::new(false);
    let is_held = |party: PartyNo| held.load(Ordering::Relaxed) && party == PartyNo(5);
    let mut announced = log.plan_pruning(&all_before(june), &is_held, &never).unwrap().announce().unwrap();
    held.store(true, Ordering::Relaxed);
    while announced.step(&is_held).unwrap() {}
    assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), first));
    log.close();
}

#[test]
fn whatever_fails_on_the_way_the_next_run_destroys_what_is_left() {
    let june: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    for (op, path) in [(Op::Remove, "text-keys/"), (Op::Replace, "text-keys.list")] {
        for reopens in [false, true] {
            let setup = Setup::quick();
            let (mut log, first, second) = two_months(&setup, 400);
            let mut announced = log.plan_pruning(&all_before(june), &nobody, &never).unwrap().announce().unwrap();
            setup.disk.fail(op, path, 0, ErrorKind::Other);
            assert!(announced.step(&nobody).is_err(), "{op:?}");
            assert_eq!(op == Op::Remove, key_file(&setup.dir(), FIRST).exists());
            assert!(list(&setup.dir()).contains(&format!("{FIRST} made")), "nobody says that it is done");
            setup.disk.mend();
            if reopens {
                drop(announced);
                log.close();
                log = setup.open();
                assert_eq!((vec![FIRST.to_owned()], vec![]), prune_keys(&log, june, &nobody), "{op:?}");
            } else {
                while announced.step(&nobody).unwrap() {}
            }
            assert!(!key_file(&setup.dir(), FIRST).exists());
            assert!(matches!(said(&setup.dir(), first), Said::Destroyed { .. }) && said(&setup.dir(), second) == Said::Text("x".to_owned()));
            log.close();
            setup.verify();
        }
    }
    // Nothing goes that is not announced.
    let setup = Setup::quick();
    let (log, first, _) = two_months(&setup, 400);
    setup.disk.fail(Op::Replace, "checkpoint", 0, ErrorKind::Other);
    assert!(log.plan_pruning(&all_before(june), &nobody, &never).unwrap().announce().is_err());
    setup.disk.mend();
    assert_eq!(Said::Text(WROTE.to_owned()), said(&setup.dir(), first));
    log.close();
}

#[test]
fn what_others_are_told_holds_no_text_in_any_form() {
    let setup = Setup::quick();
    let log = setup.open();
    used(&log, 5, WROTE);
    record(&log, step("requested", StepText::Said(FreeText::new(WROTE))));
    log.close();
    let data: Vec<String> =
        read(&setup.dir()).iter().filter_map(|entry| Some(entry.value.get("justification")?["data"].as_str()?.to_owned())).collect();
    assert_eq!(2, data.len());
    for format in EventFormat::ALL {
        let told = export::follow(&setup.dir(), Position::default(), None)
            .iter()
            .map(|(event, _)| crate::audit::export::record(format, event))
            .collect::<String>();
        assert!(told.contains("bg_5"), "{told}");
        assert!(!told.contains("ambulance") && !data.iter().any(|data| told.contains(data.get(..40).unwrap())), "{told}");
    }
}
