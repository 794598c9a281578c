//! `bounded` mode: what is acknowledged before the disk has it, and what becomes of that when disk, process or power fail.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::Duration;

use super::double::Op;
use super::*;

/// Never within the time of a test.
const LONG_MS: u32 = 600_000;

fn with_spare(mut setup: Setup) -> Setup {
    setup.settings.spare_dir = Some(setup.root.path().join("spare"));
    setup
}

/// Gives up after a while.
fn waited(pending: Pending) -> Option<Result<Recorded, AuditError>> {
    let (told, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(pending.wait()));
    hear.recv_timeout(Duration::from_millis(200)).ok()
}

/// Waits for some twenty seconds at most.
fn until(what: impl Fn() -> bool) {
    let is_so = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        what()
    });
    assert!(is_so, "it never came to be");
}

fn party_at(dir: &Path, index: u64) -> Option<u64> {
    read(dir).get(usize::try_from(index).unwrap())?.resolved["groups"][0]["parties"][0].as_u64()
}

fn gaps(dir: &Path) -> Vec<Logged> {
    read(dir).into_iter().filter(|logged| logged.kind() == "gap").collect()
}

#[test]
fn decisions_do_not_wait_for_the_disk_and_everything_else_does() {
    let setup = Setup::bounded(LONG_MS, 1_000);
    let log = setup.open();
    let hung = setup.disk.hung();
    let durable = log.metrics().entries;
    let head = record(&log, permit(1));
    record(&log, Entry::Part { of: head, rows: 1, dropped: 0, groups: Vec::new(), withheld: Vec::new() });
    let clock = log.append(Entry::Clock { step_ms: 1 }).unwrap();
    // It waits, and with it whatever comes behind it.
    assert!(waited(clock).is_none());
    assert_eq!(durable, log.metrics().entries, "nothing counts as durable that is not");
    drop(hung);
    until(|| log.metrics().entries > head + 2);
    log.close();
    setup.verify();
    let start = read(&setup.dir()).remove(0);
    assert_eq!((Some(600_000), Some(1_000)), (start.value["bounded"]["max_ms"].as_u64(), start.value["bounded"]["max_records"].as_u64()));
}

#[test]
fn a_sync_that_falls_behind_by_records_holds_decisions_up_and_after_two_seconds_refuses_them() {
    let setup = Setup::bounded(LONG_MS, 10);
    let log = setup.open();
    record(&log, permit(1));
    log.settle();
    let hung = setup.disk.hung();
    let mut pending = None;
    let acknowledged = (0..100).take_while(|_| match waited(log.append(permit(2)).unwrap()) {
        Some(recorded) => recorded.is_ok(),
        None => {
            pending = Some(log.append(permit(3)).unwrap());
            false
        }
    });
    let acknowledged = acknowledged.count();
    assert_eq!(10, acknowledged, "as many as may be lost");
    log.healthy().unwrap();
    setup.clock.advance(Duration::from_secs(2));
    assert!(matches!(pending.unwrap().wait(), Err(AuditError::Slow)));
    assert!(matches!(log.healthy(), Err(AuditError::Slow)));
    assert!(matches!(log.append(permit(4)), Err(AuditError::Slow)));
    drop(hung);
    until(|| log.healthy().is_ok());
    record(&log, permit(5));
    log.close();
    setup.verify();
}

#[test]
fn a_sync_that_falls_behind_by_time_holds_decisions_up() {
    let setup = Setup::bounded(400, 1_000);
    let log = setup.open();
    let hung = setup.disk.hung();
    let first = record(&log, permit(1));
    setup.clock.advance(Duration::from_millis(400));
    let second = record(&log, permit(2));
    setup.clock.advance(Duration::from_millis(1));
    let third = log.append(permit(3)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(log.metrics().entries <= first, "nothing of it is synced");
    let (told, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(third.wait()));
    assert!(hear.recv_timeout(Duration::from_millis(200)).is_err());
    drop(hung);
    assert_eq!(second + 1, hear.recv().unwrap().unwrap().index());
    log.close();
    setup.verify();
}

/// Also when nobody asks for anything.
#[test]
fn a_sync_that_hangs_is_no_readiness() {
    let setup = Setup::bounded(10, 1_000);
    let log = setup.open();
    let hung = setup.disk.hung();
    record(&log, permit(1));
    // The sync is under way for as long as the clock of the test says.
    std::thread::sleep(Duration::from_millis(100));
    setup.clock.advance(Duration::from_secs(2));
    until(|| matches!(log.healthy(), Err(AuditError::Slow)));
    drop(hung);
    until(|| log.healthy().is_ok());
    log.close();
    setup.verify();
}

#[test]
fn what_is_acknowledged_is_synced_within_the_time() {
    let setup = Setup::bounded(20, 1_000);
    let log = setup.open();
    let index = record(&log, permit(1));
    until(|| log.metrics().entries > index);
    // Nobody waited, and by records it was not due.
    until(|| log.metrics().checkpoint_size > index);
    log.close();
    setup.verify();
}

#[test]
fn a_checkpoint_signs_only_what_is_synced() {
    let setup = Setup::bounded(LONG_MS, 1_000);
    let log = setup.open();
    let signed = log.metrics().checkpoint_size;
    let hung = setup.disk.hung();
    let index = record(&log, permit(1));
    std::thread::sleep(Duration::from_millis(1_300));
    assert_eq!(signed, log.metrics().checkpoint_size);
    drop(hung);
    log.settle();
    assert!(log.metrics().entries > index);
    until(|| log.metrics().checkpoint_size > index);
    log.close();
}

#[test]
fn a_search_knows_what_was_acknowledged_before() {
    let setup = Setup::bounded(LONG_MS, 1_000);
    let log = setup.open();
    let live = LiveIndex::new(log.clone(), &setup.dir());
    for party in 0..5 {
        let head = record(&log, permit(party));
        let found = live.fresh().unwrap().search(&Query { customers: vec![PartyNo(party)], ..Query::default() }).unwrap();
        assert_eq!(vec![head], found.decisions.iter().map(|found| found.index).collect::<Vec<_>>());
    }
    log.close();
}

#[test]
fn a_failed_sync_loses_nothing_where_there_is_another_disk() {
    let setup = with_spare(Setup::bounded(LONG_MS, 1_000));
    let log = setup.open();
    let live = LiveIndex::new(log.clone(), &setup.dir());
    record(&log, permit(1));
    live.fresh().unwrap();
    let hung = setup.disk.hung();
    let indexes: Vec<u64> = (10..40).map(|party| record(&log, permit(party))).collect();
    setup.disk.fail(Op::Sync, "/log/", 0, ErrorKind::Other);
    drop(hung);
    // Found out without anybody waiting.
    log.settle();
    until(|| log.metrics().entries > *indexes.last().unwrap());
    log.healthy().unwrap();
    let after = record(&log, deny(50));
    // A reader that was in the middle of the segment goes on in the other one.
    let found = live.fresh().unwrap().search(&Query::default()).unwrap();
    assert_eq!(32, found.decisions.len());
    // It remembers from which file it was read.
    assert!(live.renew(|| false).unwrap() && live.fresh().unwrap().check(|_| ()).unwrap().is_empty());
    log.close();
    for (party, index) in (10..40u64).zip(&indexes).chain([(50, &after)]) {
        assert_eq!(Some(party), party_at(&setup.dir(), *index), "under the index that was told");
    }
    let kinds = kinds(&setup.dir()).into_iter().filter(|k| !matches!(k.as_str(), "dict" | "permit")).collect::<Vec<_>>().join(" ");
    assert_eq!("start stop start deny stop", kinds);
    let segments = segment::list(&segment::directories(&setup.dir())).unwrap();
    assert_eq!(vec![1], segments.iter().map(|file| file.dir).collect::<Vec<_>>(), "nothing is left on the disk that failed");
    setup.verify();
    setup.disk.mend();
    let (log, recovery) = setup.try_open().unwrap();
    assert!(recovery.clean && gaps(&setup.dir()).is_empty());
    record(&log, permit(60));
    log.close();
    setup.verify();
}

/// The file that was left could not be removed.
#[test]
fn a_segment_that_was_written_again_is_passed_over_where_it_was_left() {
    let setup = with_spare(Setup::bounded(LONG_MS, 1_000));
    let log = setup.open();
    let hung = setup.disk.hung();
    let index = record(&log, permit(1));
    let left = last_segment(&setup.dir());
    let bytes = std::fs::read(&left).unwrap();
    setup.disk.fail(Op::Sync, "/log/", 0, ErrorKind::Other);
    drop(hung);
    log.settle();
    until(|| log.metrics().entries > index);
    log.close();
    setup.verify();
    std::fs::write(&left, &bytes).unwrap();
    setup.verify();
    assert_eq!(Some(1), party_at(&setup.dir(), index));
    setup.disk.mend();
    setup.open().close();
    setup.verify();
    // But not before one that tells of no failure.
    let other = Setup::new();
    other.open().close();
    let own = last_segment(&other.dir());
    std::fs::rename(&own, own.with_file_name("segment-00000000000000000000-0001")).unwrap();
    other.verify();
    std::fs::write(own, bytes).unwrap();
    let failure = verify(&other.dir(), None).unwrap_err();
    assert!(matches!(failure.fault, Fault::Leftover), "{failure}");
}

#[test]
fn a_failed_sync_on_the_only_disk_is_the_end_and_loses_nothing_that_another_file_takes() {
    let setup = Setup::bounded(LONG_MS, 1_000);
    let log = setup.open();
    until(|| setup.dir().join("ahead-0").exists());
    let hung = setup.disk.hung();
    let indexes: Vec<u64> = (10..40).map(|party| record(&log, permit(party))).collect();
    setup.disk.fail(Op::Sync, "ahead.new", 0, ErrorKind::Other);
    drop(hung);
    log.settle();
    until(|| matches!(log.healthy(), Err(AuditError::Poisoned { .. })));
    assert!(matches!(log.append(permit(3)), Err(AuditError::Poisoned { .. })));
    log.close();
    for (party, index) in (10..40u64).zip(indexes) {
        assert_eq!(Some(party), party_at(&setup.dir(), index));
    }
    let all = read(&setup.dir());
    assert_eq!(("stop", Some("sync-failed")), (all.last().unwrap().kind(), all.last().unwrap().value["reason"].as_str()));
    setup.verify();
}

#[test]
fn when_no_file_takes_it_the_next_start_finds_what_is_there_and_tells_of_a_gap() {
    let setup = Setup::bounded(LONG_MS, 1_000);
    let log = setup.open();
    record(&log, permit(1));
    log.settle();
    let hung = setup.disk.hung();
    let index = record(&log, permit(2));
    setup.disk.fail(Op::Sync, "", 0, ErrorKind::Other);
    drop(hung);
    log.settle();
    until(|| log.healthy().is_err());
    log.close();
    setup.disk.mend();
    assert_eq!(Some(2), party_at(&setup.dir(), index));
    let (log, recovery) = setup.try_open().unwrap();
    assert!(!recovery.clean);
    log.close();
    let gaps = gaps(&setup.dir());
    assert_eq!(1, gaps.len());
    assert_eq!(Some(recovery.entries), gaps[0].value["from"].as_u64());
    setup.verify();
}

#[test]
fn a_gap_is_told_after_an_unclean_end_of_a_run_that_was_bounded_and_only_then() {
    let strict = Setup::new();
    let log = strict.open();
    record(&log, permit(1));
    let killed = strict.image();
    log.close();
    killed.open().close();
    assert!(gaps(&killed.dir()).is_empty(), "a strict run loses nothing");

    let mut setup = Setup::bounded(50, 7);
    setup.open().close();
    let log = setup.open();
    assert!(gaps(&setup.dir()).is_empty(), "it had its end");
    record(&log, permit(1));
    let mut killed = setup.image();
    log.close();
    // Whatever the mode is from now on.
    killed.settings.mode = Mode::Strict;
    killed.open().close();
    let told = gaps(&killed.dir());
    assert_eq!((Some(50), Some(7)), (told[0].value["bounds"]["max_ms"].as_u64(), told[0].value["bounds"]["max_records"].as_u64()));
    killed.open().close();
    assert_eq!(1, gaps(&killed.dir()).len());
    killed.verify();
    setup.settings.mode = Mode::Bounded(Bounds { max_ms: 1, max_records: 1 });
    std::fs::write(setup.dir().join("bounded"), "what").unwrap();
    assert!(matches!(setup.try_open(), Err(AuditError::Io { .. })));
}

#[test]
fn with_a_bound_of_one_record_no_more_than_the_last_one_is_not_durable() {
    let setup = Setup::bounded(LONG_MS, 1);
    let log = setup.open();
    for party in 0..20 {
        let index = record(&log, permit(party));
        assert!(log.metrics().entries >= index, "the one before is not durable");
    }
    log.close();
    setup.verify();
}

/// As for `strict`: at no failing step is an entry acknowledged that is not there afterwards.
#[test]
fn whatever_step_fails_what_was_acknowledged_is_there() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::Replace] {
        for place in ["/log/", ""] {
            for after in 0..6 {
                let setup = with_spare(Setup::bounded(5, 200));
                let log = setup.open();
                setup.disk.fail(op, place, after, ErrorKind::Other);
                let mut acknowledged = Vec::new();
                for party in 0..1_200u64 {
                    match log.append(permit(party)) {
                        Ok(pending) if party % 40 == 0 => {
                            if let Ok(recorded) = pending.wait() {
                                acknowledged.push((party, recorded.index()));
                            }
                        }
                        _ => {}
                    }
                }
                log.close();
                // A disk that takes nothing more still has what the kernel had taken.
                setup.verify();
                setup.disk.mend();
                setup.open().close();
                setup.verify();
                let all = read(&setup.dir());
                for (party, index) in acknowledged {
                    let named = &all[usize::try_from(index).unwrap()].resolved["groups"][0]["parties"][0];
                    assert_eq!(Some(party), named.as_u64(), "{op:?} in `{place}` after {after}");
                }
            }
        }
    }
}

/// At each step of the disk the power fails: the page cache is gone, whole or in part. What is missing is the newest, within the
/// bounds, and a gap tells of it; what was signed or had to be durable is there.
#[test]
fn a_power_cut_takes_no_more_than_the_bounds_and_a_gap_tells_of_it() {
    const MAX_RECORDS: u32 = 60;
    let mut lost_some = 0;
    for step in 0..40u64 {
        let setup = Setup::bounded(5, MAX_RECORDS);
        let log = setup.open();
        let acknowledged: Arc<Mutex<Vec<(u64, u64, bool)>>> = Arc::default();
        type Image = (Setup, Vec<(u64, u64, bool)>);
        let image: Arc<Mutex<Option<Image>>> = Arc::default();
        let seen = Arc::new(Mutex::new(0));
        let (disk, dir, settings) = (Arc::clone(&setup.disk), setup.dir(), setup.settings.clone());
        let (known, taken) = (Arc::clone(&acknowledged), Arc::clone(&image));
        setup.disk.before_each(move |_, _| {
            let mut seen = seen.lock().unwrap();
            *seen += 1;
            if *seen == step * 3 + 1 {
                let known = known.lock().unwrap().clone();
                let mut cut = Setup::new();
                cut.settings = LogSettings { dir: cut.dir(), ..settings.clone() };
                copy(&dir, &cut.dir());
                let mut random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                disk.cut_power(&dir, &cut.dir(), || {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    step % 4 == 0 || random & 3 != 0
                });
                *taken.lock().unwrap() = Some((cut, known));
            }
        });
        for party in 0..400u64 {
            let is_durable = party % 50 == 49;
            let entry = if is_durable {
                Entry::Query { actor: "e_1".into(), role: "auditor", operation: "search", party: Some(PartyNo(party)), found: 0 }
            } else {
                permit(party)
            };
            let index = record(&log, entry);
            acknowledged.lock().unwrap().push((party, index, is_durable));
        }
        log.close();
        setup.disk.before_each(|_, _| ());
        let Some((cut, known)) = image.lock().unwrap().take() else { continue };
        let (log, recovery) = cut.try_open().unwrap_or_else(|error| panic!("step {step}: {error}"));
        log.close();
        cut.verify();
        let all = read(&cut.dir());
        let missing: Vec<&(u64, u64, bool)> = known.iter().filter(|(_, index, _)| *index >= recovery.entries).collect();
        for (party, index, is_durable) in known.iter().filter(|(_, index, _)| *index < recovery.entries) {
            let entry = &all[usize::try_from(*index).unwrap()].resolved;
            let named = if *is_durable { &entry["party"] } else { &entry["groups"][0]["parties"][0] };
            assert_eq!(Some(*party), named.as_u64(), "step {step}");
        }
        assert!(missing.len() <= MAX_RECORDS as usize, "step {step}: {} are missing", missing.len());
        assert!(missing.iter().all(|(_, _, is_durable)| !is_durable), "step {step}: what had to be durable is missing");
        if !recovery.clean {
            assert_eq!(Some(recovery.entries), gaps(&cut.dir()).last().and_then(|gap| gap.value["from"].as_u64()), "step {step}");
        } else {
            assert!(missing.is_empty(), "step {step}");
        }
        lost_some += usize::from(!missing.is_empty());
    }
    assert!(lost_some > 3, "a disk that loses nothing shows nothing: {lost_some}");
}
