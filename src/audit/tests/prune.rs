//! What is past its time goes, and nothing else; the log still proves what it proved before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::segment::{Frame, HEADER_BYTES, Held};
use super::super::tree::leaf;
use super::double::Op;
use super::*;

const DAY: u64 = 24 * 3_600;

/// After so many days.
pub(super) fn day(days: u64) -> Timestamp {
    Timestamp::from_second(START + i64::try_from(days * DAY).unwrap()).unwrap()
}

pub(super) fn all_before(at: Timestamp) -> Retention {
    Retention { permit: Some(at), deny: Some(at), admin: Some(at), break_glass: Some(at) }
}

pub(super) fn nobody(_: PartyNo) -> bool {
    false
}

pub(super) fn never() -> bool {
    false
}

/// How many entries went.
pub(super) fn prune(log: &Log, retention: &Retention, is_held: &dyn Fn(PartyNo) -> bool) -> u64 {
    let pruning = log.plan_pruning(retention, is_held, &never).unwrap();
    if pruning.is_empty() {
        return 0;
    }
    let all = pruning.classes().iter().map(|class| class.entries).sum::<u64>() + pruning.dictionary() + pruning.remains();
    let mut announced = pruning.announce().unwrap();
    while announced.step(is_held).unwrap() {}
    all
}

/// A part whose dictionary entry takes a fourth of a segment.
fn wide(of: u64, groups: Vec<Group>, n: u64) -> Entry {
    Entry::Part { of, rows: 1, dropped: 0, groups, withheld: vec![format!("{n:060000}")] }
}

fn permitted(log: &Log, party: u64) -> u64 {
    let head = record(log, permit(party));
    record(log, wide(head, vec![group(&[party], Outcome::Permit, vec![verdict("contact", Release::Full, None)])], head));
    record(log, end(head));
    head
}

fn denied(log: &Log, party: u64) -> u64 {
    let groups = vec![group(&[party], Outcome::Deny, vec![verdict("contact", Release::Withheld, None)])];
    record(log, Entry::Deny { facts: facts(), of: None, status: 403, code: "denied", groups, paths: vec![format!("{party:060000}")] })
}

/// A decision or denial a day, of customers 0, 1, 2, …; permits are even.
pub(super) fn years(setup: &Setup, days: u64) -> (Log, Vec<u64>) {
    let log = setup.open();
    let heads = (0..days).map(|party| {
        let head = if party.is_multiple_of(2) { permitted(&log, party) } else { denied(&log, party) };
        setup.clock.advance(Duration::from_secs(DAY));
        head
    });
    let heads = heads.collect();
    (log, heads)
}

pub(super) fn tombstones(dir: &Path) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for file in segment::list(&segment::directories(dir)).unwrap() {
        let data = content::read(&file).unwrap();
        let (mut at, mut index) = (HEADER_BYTES, file.name.first);
        while let Frame::Held { held, end } = segment::frame_at(&data, at, index) {
            if matches!(held, Held::Pruned(_)) {
                found.insert(index);
            }
            (at, index) = (end, index + 1);
        }
    }
    found
}

pub(super) fn small(setup: &Setup, at: &str) -> Index {
    Index::open_with(&setup.dir(), &setup.root.path().join(at), 16).unwrap()
}

fn indexes(found: &[Found]) -> Vec<u64> {
    found.iter().map(|found| found.index).collect()
}

fn text(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn permits_go_before_denials_and_what_is_kept_is_still_proved() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 60);
    wait_until_signed(&log);
    let remembered = text(&setup.dir(), "checkpoint");
    let tiles = Tiles::new(&setup.dir());
    let before: Vec<_> = [heads[0], heads[1], heads[41]].iter().map(|head| tiles.prove(*head).unwrap().unwrap()).collect();
    let size = |setup: &Setup| setup.verify().segments as u64 * segment::SEGMENT_BYTES_MIN - bytes(&setup.dir());
    assert_eq!(0, size(&setup));

    let retention = Retention { permit: Some(day(20)), deny: Some(day(5)), ..Retention::default() };
    let gone = prune(&log, &retention, &nobody);
    let report = setup.verify();
    assert_eq!((gone, report.pruned), (tombstones(&setup.dir()).len() as u64, gone));
    assert!(size(&setup) > 8 * 60_000, "the files are smaller: {}", size(&setup));
    for (party, head) in heads.iter().enumerate() {
        let goes = if party % 2 == 0 { party < 20 } else { party < 5 };
        assert_eq!(goes, tombstones(&setup.dir()).contains(head), "{party}");
    }
    // Old checkpoints, proofs and receipts.
    verify_against(&setup.dir(), None, Some(&remembered)).unwrap();
    let key = text(&setup.dir(), "log.vkey");
    for old in &before {
        assert_eq!(Some(&old.entry), check_proof(&key, &old.evidence(), None).unwrap().entry.as_ref());
        check_proof(&key, &old.receipt(), None).unwrap();
    }
    for tiles in [&tiles, &Tiles::new(&setup.dir())] {
        assert!(matches!(tiles.prove(heads[0]), Err(AuditError::Pruned { index }) if index == heads[0]));
        let kept = tiles.prove(heads[41]).unwrap().unwrap();
        assert_eq!(before[2].entry, kept.entry);
        check_proof(&key, &kept.evidence(), None).unwrap();
        // Hashes stay, entries of that tile are not to be had.
        let width = report.entries.min(200);
        assert_eq!(Some(usize::try_from(width * 32).unwrap()), tiles.tile(0, 0, width).unwrap().map(|tile| tile.len()));
        assert_eq!(None, tiles.bundle(0, width).unwrap());
        assert!(tiles.offer(1).unwrap().is_some());
    }
    // The run stands in the log.
    let told = newest(&setup.dir(), "prune").unwrap().unwrap();
    let classes = told.value["classes"].as_array().unwrap();
    assert_eq!(("permit", 20 / 2 * 3), (classes[0]["class"].as_str().unwrap(), classes[0]["entries"].as_u64().unwrap()));
    assert_eq!(("deny", 2), (classes[1]["class"].as_str().unwrap(), classes[1]["entries"].as_u64().unwrap()));
    assert_eq!(2, classes.len(), "what is kept for ever is not told");
    // Nothing more to do, and nothing is written about it.
    let entries = log.metrics().entries;
    assert_eq!((0, entries), (prune(&log, &retention, &nobody), log.metrics().entries));
    log.close();
    let log = setup.open();
    assert!(prune(&log, &all_before(day(59)), &nobody) > 0);
    log.close();
    setup.verify();
}

fn bytes(dir: &Path) -> u64 {
    segment::list(&[dir.to_owned()]).unwrap().iter().map(|file| std::fs::metadata(&file.path).unwrap().len()).sum()
}

#[test]
fn readers_cope_with_what_is_gone() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 40);
    let index = small(&setup, "index");
    index.catch_up(u64::MAX, |_| ()).unwrap();
    // Half way through a run, before the index knows of it.
    let mut announced = log.plan_pruning(&all_before(day(20)), &nobody, &never).unwrap().announce().unwrap();
    assert!(announced.left() > 2);
    loop {
        setup.verify();
        let gone = tombstones(&setup.dir());
        let all: Vec<u64> = heads.iter().rev().copied().filter(|head| !gone.contains(head)).collect();
        assert_eq!(all, indexes(&index.search(&Query::default()).unwrap().decisions));
        assert_eq!(all, indexes(&search(&setup.dir(), &Query::default()).unwrap()));
        for (party, head) in heads.iter().enumerate() {
            let shown = show(&setup.dir(), *head).unwrap();
            assert_eq!(gone.contains(head), shown.is_none(), "{party}");
            assert_eq!(shown.and_then(|shown| shown.decision), index.show(*head).unwrap().and_then(|shown| shown.decision));
        }
        if !announced.step(&nobody).unwrap() {
            break;
        }
    }
    assert!(!index.check(|_| ()).unwrap().is_empty());
    assert!(index.renew(never).unwrap());
    index.catch_up(u64::MAX, |_| ()).unwrap();
    assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
    assert_eq!(heads[20..].iter().rev().copied().collect::<Vec<_>>(), indexes(&index.search(&Query::default()).unwrap().decisions));
    let mut gaps = Vec::new();
    let past = Past::read(&setup.dir(), None, |_, _| (), |_, item| gaps.push(matches!(item, Item::Gap { why: Gap::HeadAway, .. }))).unwrap();
    assert_eq!((20, false), (past.decisions, gaps.contains(&true)), "whole decisions are gone");
    // A partition that ends with a tombstone goes on.
    drop(index);
    record(&log, permit(7));
    log.close();
    let index = small(&setup, "index");
    assert!(index.entries() > heads[20]);
    index.catch_up(u64::MAX, |_| ()).unwrap();
    assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
}

#[test]
fn an_index_that_missed_a_run_is_renewed() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 30);
    let index = small(&setup, "index");
    index.catch_up(u64::MAX, |_| ()).unwrap();
    let entries = index.entries();
    drop(index);
    prune(&log, &all_before(day(15)), &nobody);
    log.close();
    let index = small(&setup, "index");
    assert!(index.entries() <= entries);
    assert!(!index.renew(|| true).unwrap(), "it can be stopped");
    index.renew(never).unwrap();
    index.catch_up(u64::MAX, |_| ()).unwrap();
    assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
    assert_eq!(heads[15..].iter().rev().copied().collect::<Vec<_>>(), indexes(&index.search(&Query::default()).unwrap().decisions));
    let named = Query { customers: vec![PartyNo(3)], ..Query::default() };
    assert!(index.search(&named).unwrap().decisions.is_empty());
}

#[test]
fn the_segment_that_grows_and_what_reaches_into_it_stay() {
    let setup = Setup::quick();
    let log = setup.open();
    let unfinished = record(&log, permit(1));
    let late = record(&log, permit(2));
    let abandoned = record(&log, permit(3));
    for party in 4..30 {
        permitted(&log, party);
    }
    record(&log, end(late));
    setup.clock.advance(Duration::from_secs(DAY));
    let last = segment::list(&[setup.dir()]).unwrap().pop().unwrap();
    let untouched = std::fs::read(&last.path).unwrap();
    record(&log, wide(unfinished, Vec::new(), 1));
    assert!(prune(&log, &all_before(day(1)), &nobody) > 0);
    let gone = tombstones(&setup.dir());
    assert!(gone.iter().all(|index| *index < last.name.first));
    let used = HEADER_BYTES + usize::try_from(segment::leftover(&untouched, HEADER_BYTES)).unwrap();
    assert_eq!(untouched[..used], std::fs::read(&last.path).unwrap()[..used]);
    assert!(!gone.contains(&late) && !gone.contains(&unfinished), "what follows them stands in the segment that grows");
    assert!(gone.contains(&abandoned), "without an end it goes by its time");
    let kinds = kinds(&setup.dir());
    assert!(kinds.contains(&"start".to_owned()));
    log.close();
    setup.verify();
}

#[test]
fn a_legal_hold_keeps_whole_decisions_and_what_else_names_the_customer() {
    let setup = Setup::quick();
    let log = setup.open();
    // Named only in a part.
    let in_part = record(&log, Entry::Intent { facts: facts(), groups: Vec::new() });
    record(&log, wide(in_part, vec![group(&[7, 8], Outcome::Permit, vec![verdict("contact", Release::Full, None)])], 0));
    record(&log, end(in_part));
    let query = |party| Entry::Query { actor: "e_1".into(), role: "auditor", operation: "decisions.search", party, found: 1 };
    let about = record(&log, query(Some(PartyNo(7))));
    let other = record(&log, query(Some(PartyNo(9))));
    let (mine, theirs) = (permitted(&log, 7), permitted(&log, 9));
    for party in 100..130 {
        permitted(&log, party);
    }
    setup.clock.advance(Duration::from_secs(DAY));
    let is_held = |party: PartyNo| party == PartyNo(7);
    let pruning = log.plan_pruning(&all_before(day(1)), &is_held, &never).unwrap();
    assert_eq!(3, pruning.held(), "two decisions and a search");
    let mut announced = pruning.announce().unwrap();
    while announced.step(&is_held).unwrap() {}
    let gone = tombstones(&setup.dir());
    for kept in [in_part, in_part + 1, about, mine] {
        assert!(!gone.contains(&kept), "{kept}");
    }
    assert!(gone.contains(&other) && gone.contains(&theirs));
    let named = Query { customers: vec![PartyNo(7)], ..Query::default() };
    let found = search(&setup.dir(), &named).unwrap();
    assert_eq!(vec![mine, in_part], indexes(&found));
    assert!(found.iter().all(|found| found.released == ["contact"] && !found.unresolved), "with what its dictionary says");
    // Released, it goes.
    assert!(prune(&log, &all_before(day(1)), &nobody) >= 7);
    assert!(search(&setup.dir(), &named).unwrap().is_empty());
    log.close();
    setup.verify();
}

#[test]
fn a_hold_that_comes_during_a_run_binds_from_then_on() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 40);
    let planned = log.plan_pruning(&all_before(day(30)), &nobody, &never).unwrap();
    let mut announced = planned.announce().unwrap();
    assert!(announced.step(&nobody).unwrap());
    let is_held = |party: PartyNo| party.0 >= 20;
    while announced.step(&is_held).unwrap() {}
    let gone = tombstones(&setup.dir());
    for (party, head) in heads.iter().enumerate() {
        assert_eq!(party < 20, gone.contains(head), "{party}");
    }
    log.close();
    setup.verify();
    assert_eq!(20, search(&setup.dir(), &Query::default()).unwrap().len());
}

#[test]
fn the_newest_activation_of_a_bundle_stays() {
    let setup = Setup::quick();
    let log = setup.open();
    let activated = |version| Entry::PolicyActivated {
        version,
        bundle: "a".into(),
        set: "b".into(),
        needed: Vec::new(),
        only_narrows: true,
        approved: Vec::new(),
    };
    let (first, second) = (record(&log, activated(1)), record(&log, activated(2)));
    for party in 0..30 {
        permitted(&log, party);
    }
    setup.clock.advance(Duration::from_secs(DAY));
    prune(&log, &all_before(day(1)), &nobody);
    let gone = tombstones(&setup.dir());
    assert!(gone.contains(&first) && !gone.contains(&second));
    assert_eq!(Some(second), newest(&setup.dir(), "policy_activated").unwrap().map(|entry| entry.index));
}

#[test]
fn nothing_is_planned_for_ever_and_a_plan_can_be_stopped() {
    let setup = Setup::quick();
    let (log, _) = years(&setup, 20);
    assert!(log.plan_pruning(&Retention::default(), &nobody, &never).unwrap().is_empty());
    assert!(log.plan_pruning(&all_before(day(0)), &nobody, &never).unwrap().is_empty());
    assert!(matches!(log.plan_pruning(&all_before(day(20)), &nobody, &|| true), Err(AuditError::Closed)));
    drop(log.plan_pruning(&all_before(day(20)), &nobody, &never).unwrap());
    assert!(tombstones(&setup.dir()).is_empty() && !kinds(&setup.dir()).contains(&"prune".to_owned()));
}

/// A verifier that began with the checkpoint of before must not take for removed what was announced meanwhile.
#[test]
fn it_verifies_at_every_moment_of_a_run() {
    let setup = Setup::quick();
    let (log, _) = years(&setup, 60);
    let (dir, is_over) = (setup.dir(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let verified = scope.spawn(|| {
            let mut times = 0;
            while !is_over.load(Ordering::Relaxed) {
                verify(&dir, None).unwrap_or_else(|e| panic!("{e}"));
                times += 1;
            }
            times
        });
        for days in (5..60).step_by(5) {
            prune(&log, &all_before(day(days)), &nobody);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(verified.join().unwrap() > 0);
    });
    log.close();
}

/// Puts tombstones in the place of entries, as whoever lacks the key would.
fn forge(dir: &Path, mut hash: impl FnMut(u64, &[u8]) -> Option<[u8; 32]>) {
    for file in segment::list(&[dir.to_owned()]).unwrap() {
        let data = content::read(&file).unwrap();
        let (mut at, mut index, mut out) = (HEADER_BYTES, file.name.first, data[..HEADER_BYTES].to_vec());
        while let Frame::Held { held, end } = segment::frame_at(&data, at, index) {
            match (held.entry(), held.entry().and_then(|entry| hash(index, entry))) {
                (Some(entry), None) => segment::push_frame(&mut out, index, entry).unwrap(),
                (_, Some(hash)) => segment::push_tombstone(&mut out, index, &hash),
                (None, None) => segment::push_tombstone(&mut out, index, &held.leaf()),
            }
            (at, index) = (end, index + 1);
        }
        std::fs::write(&file.path, out).unwrap();
    }
}

fn fault(dir: &Path) -> (Fault, Option<u64>) {
    let failure = verify(dir, None).map(|_| ()).expect_err("it must be seen");
    (failure.fault, failure.index)
}

#[test]
fn a_tombstone_that_nobody_announced_is_seen() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 30);
    let forged = setup.image();
    forge(&forged.dir(), |index, entry| (index == heads[3]).then(|| leaf(entry)));
    assert_eq!((Fault::Removed, Some(heads[3])), fault(&forged.dir()));

    prune(&log, &all_before(day(10)), &nobody);
    log.close();
    let report = setup.verify();
    // Behind what was announced, and before it.
    let forged = setup.image();
    forge(&forged.dir(), |index, entry| (index == heads[29]).then(|| leaf(entry)));
    assert_eq!((Fault::Removed, Some(heads[29])), fault(&forged.dir()));
    let forged = setup.image();
    forge(&forged.dir(), |index, entry| (index == heads[10]).then(|| leaf(entry)));
    assert_eq!(Fault::RemovedMore { announced: report.pruned, found: report.pruned + 1 }, fault(&forged.dir()).0);
    // With another hash it is another tree.
    let (at, forged) = (heads[2], setup.image());
    let file = segment::list(&[forged.dir()]).unwrap().into_iter().rfind(|file| file.name.first <= at).unwrap();
    let mut data = content::read(&file).unwrap();
    let (mut place, mut index) = (HEADER_BYTES, file.name.first);
    while let Frame::Held { end, .. } = segment::frame_at(&data, place, index) {
        if index == at {
            let mut frame = Vec::new();
            segment::push_tombstone(&mut frame, index, &[9; 32]);
            data[place..end].copy_from_slice(&frame);
        }
        (place, index) = (end, index + 1);
    }
    std::fs::write(&file.path, data).unwrap();
    assert!(matches!(fault(&forged.dir()).0, Fault::Header | Fault::Root { .. }));
}

#[test]
fn a_prune_entry_that_is_not_signed_announces_nothing() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 30);
    log.close();
    let forged = setup.image();
    let path = last_segment(&forged.dir());
    let mut data = std::fs::read(&path).unwrap();
    let entries = setup.verify().entries;
    let end = HEADER_BYTES + usize::try_from(segment::leftover(&data, HEADER_BYTES)).unwrap();
    let mut frame = Vec::new();
    let text =
        format!(r#"{{"before_index":{entries},"classes":[{{"class":"deny","before":1,"entries":99}}],"dictionary":9,"kind":"prune","t":1,"v":1}}"#);
    segment::push_frame(&mut frame, entries, text.as_bytes()).unwrap();
    data[end..end + frame.len()].copy_from_slice(&frame);
    std::fs::write(&path, data).unwrap();
    assert_eq!(1, forged.verify().unsigned_tail);
    forge(&forged.dir(), |index, entry| (index == heads[3]).then(|| leaf(entry)));
    assert_eq!((Fault::Removed, Some(heads[3])), fault(&forged.dir()));
    assert!(forged.try_open().is_ok(), "it starts, and goes on with what it finds");
}

#[test]
fn what_was_changed_is_not_tidied_away() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 30);
    let file = segment::list(&[setup.dir()]).unwrap().remove(0);
    let mut data = std::fs::read(&file.path).unwrap();
    // With its checksum.
    let (mut at, mut index) = (HEADER_BYTES, 0);
    while let Frame::Held { held, end } = segment::frame_at(&data, at, index) {
        if index == heads[0] {
            let entry = held.entry().unwrap().iter().map(|byte| if *byte == b'7' { b'8' } else { *byte }).collect::<Vec<_>>();
            let mut frame = Vec::new();
            segment::push_frame(&mut frame, index, &entry).unwrap();
            data[at..end].copy_from_slice(&frame);
            break;
        }
        (at, index) = (end, index + 1);
    }
    std::fs::write(&file.path, &data).unwrap();
    let mut announced = log.plan_pruning(&all_before(day(10)), &nobody, &never).unwrap().announce().unwrap();
    assert!(matches!(announced.step(&nobody), Err(AuditError::Damaged { .. })));
    assert_eq!(data, std::fs::read(&file.path).unwrap());
}

/// At every operation of the disk, the process dies before it.
#[test]
fn a_crash_at_any_step_leaves_a_log_that_verifies_and_the_next_run_goes_on() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 40);
    let before = read(&setup.dir());
    let pruning = log.plan_pruning(&all_before(day(20)), &nobody, &never).unwrap();
    let mut announced = pruning.announce().unwrap();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, dir) = (Arc::clone(&images), setup.dir());
    setup.disk.before_each(move |op, path| {
        if path.contains("segment-") {
            let image = tempfile::tempdir().unwrap();
            copy(&dir, image.path());
            kept.lock().unwrap().push((op, image));
        }
    });
    while announced.step(&nobody).unwrap() {}
    setup.disk.before_each(|_, _| ());
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() >= 4 * 4, "{}", images.len());
    for (op, image) in images {
        // What is beside may be anything.
        for file in std::fs::read_dir(image.path()).unwrap().map(|file| file.unwrap().path()) {
            if op == Op::Rename && file.extension().is_some_and(|extension| extension == "new") {
                std::fs::write(file, "half").unwrap();
            }
        }
        verify(image.path(), None).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        let after =
            Setup { settings: LogSettings { dir: image.path().to_owned(), ..setup.settings.clone() }, clock: setup.clock.clone(), ..Setup::quick() };
        let log = after.open();
        prune(&log, &all_before(day(20)), &nobody);
        log.close();
        let (report, gone) = (after.verify(), tombstones(&after.dir()));
        assert_eq!(gone, tombstones(&setup.dir()), "{op:?}");
        assert_eq!(report.pruned, gone.len() as u64);
        let left = read(&after.dir());
        let same =
            before.iter().filter(|entry| !gone.contains(&entry.index)).zip(&left).all(|(old, new)| (old.index, &old.raw) == (new.index, &new.raw));
        assert!(same && heads[20..].iter().all(|head| !gone.contains(head)));
    }
    log.close();
}

/// Whichever operation fails, the run fails; the log goes on and a later run finishes.
#[test]
fn whatever_step_fails_nothing_is_lost_and_it_can_be_tried_again() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
        for after in 0..4 {
            let setup = Setup::quick();
            let (log, heads) = years(&setup, 30);
            let mut announced = log.plan_pruning(&all_before(day(20)), &nobody, &never).unwrap().announce().unwrap();
            setup.disk.fail(op, "segment-", after, ErrorKind::StorageFull);
            let failed = loop {
                match announced.step(&nobody) {
                    Ok(true) => {}
                    Ok(false) => break false,
                    Err(AuditError::Io { .. }) => break true,
                    Err(other) => panic!("{other}"),
                }
            };
            assert!(failed, "{op:?} after {after}");
            setup.verify();
            assert!(!has_left_over(&setup.dir()));
            // What it wrote of its own name fails as well, where the log has turned to a new segment.
            setup.disk.mend();
            log.healthy().unwrap();
            record(&log, permit(1_000));
            while announced.step(&nobody).unwrap() {}
            log.close();
            let gone = tombstones(&setup.dir());
            assert_eq!(setup.verify().pruned, gone.len() as u64);
            assert!(heads.iter().enumerate().all(|(party, head)| gone.contains(head) == (party < 20)));
        }
    }
}

/// What must go, from all that stands in the log.
fn expected(dir: &Path, retention: &Retention, is_held: &dyn Fn(PartyNo) -> bool) -> BTreeSet<u64> {
    let entries: BTreeMap<u64, Logged> = read(dir).into_iter().map(|logged| (logged.index, logged)).collect();
    let segments: Vec<u64> = segment::list(&[dir.to_owned()]).unwrap().iter().map(|file| file.name.first).collect();
    let (_, finished) = segments.split_last().unwrap();
    let t = |logged: &Logged| logged.value["t"].as_i64().unwrap();
    let latest = RetentionClass::ALL.into_iter().filter_map(|class| retention.before(class)).max();
    let latest = latest.map_or(i64::MIN, Timestamp::as_microsecond);
    let oldest = |at: usize| entries.range(segments[at]..segments[at + 1]).next().is_some_and(|(_, first)| t(first) < latest);
    let Some(end) = (0..finished.len()).rev().find(|at| oldest(*at)).map(|at| segments[at + 1]) else { return BTreeSet::new() };
    let names = |logged: &Logged| {
        let groups = logged.resolved["groups"].as_array().cloned().unwrap_or_default();
        let parties = groups.iter().flat_map(|group| group["parties"].as_array().cloned().unwrap_or_default());
        parties.chain([logged.resolved["party"].clone()]).filter_map(|party| party.as_u64()).any(|party| is_held(PartyNo(party)))
    };
    let past = |class: RetentionClass, logged: &Logged| retention.before(class).is_some_and(|before| t(logged) < before.as_microsecond());
    let mut decisions: BTreeMap<u64, Vec<&Logged>> = BTreeMap::new();
    let mut goes = BTreeSet::new();
    for logged in entries.values() {
        if let Some(head) = logged.decision() {
            decisions.entry(head).or_default().push(logged);
        } else if !matches!(logged.kind(), "start" | "stop" | "prune" | "dict") {
            let class = if logged.kind() == "break_glass" { RetentionClass::BreakGlass } else { RetentionClass::Admin };
            if past(class, logged) && !names(logged) && logged.index < end {
                goes.insert(logged.index);
            }
        }
    }
    for (head, pieces) in decisions {
        let first = pieces[0];
        assert_eq!(head, first.index, "decisions are whole");
        let class = match (first.value.get("grant"), first.kind()) {
            (Some(_), _) => RetentionClass::BreakGlass,
            (None, "deny") => RetentionClass::Deny,
            (None, _) => RetentionClass::Permit,
        };
        if past(class, first) && pieces.iter().all(|piece| piece.index < end && !names(piece)) {
            goes.extend(pieces.iter().map(|piece| piece.index));
        }
    }
    let refers = |logged: &Logged, dict: u64| logged.value.to_string().contains(&format!("{{\"dict\":{dict}}}"));
    let dictionary: Vec<u64> = entries.values().filter(|logged| logged.kind() == "dict").map(|logged| logged.index).collect();
    for dict in dictionary {
        let mut users = entries.values().filter(|logged| refers(logged, dict)).peekable();
        if users.peek().is_some() && users.all(|user| goes.contains(&user.index)) {
            goes.insert(dict);
        }
    }
    goes
}

/// One random step of a gateway's life.
fn step(setup: &Setup, log: &Log, open: &mut Vec<u64>, kind: u8, party: u64) {
    setup.clock.advance(Duration::from_secs(party * DAY / 2));
    let facts = Arc::new(DecisionFacts { grant: (party == 5).then(|| "bg_5".into()), ..(*facts()).clone() });
    let groups = |outcome, release| vec![group(&[party, party + 100], outcome, vec![verdict("contact", release, None)])];
    let is_even = party.is_multiple_of(2);
    match kind % 10 {
        0 | 1 => open.push(record(log, Entry::Permit { facts, groups: groups(Outcome::Permit, Release::Full) })),
        2 => open.push(record(log, Entry::Intent { facts, groups: Vec::new() })),
        3 => {
            let (groups, paths) = (groups(Outcome::Deny, Release::Withheld), vec![format!("{party:050000}")]);
            record(log, Entry::Deny { facts, of: None, status: 403, code: "denied", groups, paths });
        }
        4 => {
            let party = is_even.then_some(PartyNo(party));
            record(log, Entry::Query { actor: "e_1".into(), role: "auditor", operation: "decisions.search", party, found: 1 });
        }
        5 | 6 => {
            let of = if is_even { open.first() } else { open.last() };
            if let Some(&of) = of {
                record(log, wide(of, groups(Outcome::Permit, Release::Full), u64::from(kind) * 10 + party));
            }
        }
        7 => {
            record(
                log,
                Entry::BreakGlass { grant: "bg_5".into(), step: "approved", actor: None, party: None, revision: Revision(1), text: StepText::None },
            );
        }
        _ => {
            if !open.is_empty() {
                let of = open.remove(usize::try_from(party).unwrap() % open.len());
                if is_even {
                    record(log, end(of));
                } else {
                    record(log, Entry::Deny { facts, of: Some(of), status: 403, code: "denied", groups: Vec::new(), paths: Vec::new() });
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn exactly_what_is_past_its_time_goes_and_all_else_is_still_proved(
        rounds in proptest::collection::vec(
            (proptest::collection::vec((any::<u8>(), 0u64..8), 10..80), proptest::array::uniform4(proptest::option::weighted(0.9, 0u64..240)), any::<bool>()),
            1..4,
        ),
    ) {
        let setup = Setup::quick();
        let mut log = setup.open();
        let (mut open, mut notes, mut gone) = (Vec::new(), Vec::<String>::new(), BTreeSet::new());
        let is_held = |party: PartyNo| party.0 == 3;
        let key = text(&setup.dir(), "log.vkey");
        for (steps, [permit, deny, admin, break_glass], again) in rounds {
            for (kind, party) in steps {
                step(&setup, &log, &mut open, kind, party);
            }
            let index = small(&setup, "index");
            index.catch_up(log.metrics().entries, |_| ()).unwrap();
            let before = |days: Option<u64>| days.map(day);
            let retention = Retention { permit: before(permit), deny: before(deny), admin: before(admin), break_glass: before(break_glass) };
            let old = read(&setup.dir());
            let should = expected(&setup.dir(), &retention, &is_held);
            // Decisions that go may still be open here, and what follows them is refused.
            let count = prune(&log, &retention, &is_held);
            prop_assert_eq!(should.len() as u64, count);
            gone.extend(should);
            open.retain(|head| !gone.contains(head));
            prop_assert_eq!(&gone, &tombstones(&setup.dir()));
            let report = setup.verify();
            prop_assert_eq!(gone.len() as u64, report.pruned);
            let left: BTreeMap<u64, Vec<u8>> = read(&setup.dir()).into_iter().map(|logged| (logged.index, logged.raw)).collect();
            for entry in &old {
                prop_assert_eq!((!gone.contains(&entry.index)).then_some(&entry.raw), left.get(&entry.index));
            }
            for note in &notes {
                verify_against(&setup.dir(), None, Some(note)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            }
            let tiles = Tiles::new(&setup.dir());
            for (index, raw) in left.iter().step_by(5) {
                if let Some(proved) = tiles.prove(*index).unwrap() {
                    let checked = check_proof(&key, &proved.evidence(), None).unwrap();
                    prop_assert_eq!(Some(raw), checked.entry.as_ref());
                }
            }
            notes.push(text(&setup.dir(), "checkpoint"));
            index.renew(never).unwrap();
            index.catch_up(log.metrics().entries, |_| ()).unwrap();
            for query in index::questions() {
                prop_assert_eq!(index::scan(&setup.dir(), &query), index.search(&query).unwrap().decisions, "{:?}", query);
            }
            prop_assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
            if again {
                log.close();
                log = setup.open();
            }
        }
        log.close();
        setup.verify();
    }
}
