//! Disks that fail, hang and fill up.

use std::io::ErrorKind;
use std::time::Duration;

use super::double::Op;
use super::*;

#[test]
fn failed_fsync_poisons_the_file_and_is_not_retried() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    let name = if setup.disk.count(Op::Sync, "ahead.new") > 0 { "ahead.new" } else { "ahead-0" };
    setup.disk.fail(Op::Sync, name, 0, ErrorKind::Other);
    let writes = setup.disk.count(Op::Write, name);
    assert!(matches!(log.append(permit(2)).unwrap().wait(), Err(AuditError::Poisoned { .. })));
    setup.disk.mend();
    // The disk would do again, but nobody knows what it holds.
    for _ in 0..3 {
        assert!(matches!(log.append(permit(3)), Err(AuditError::Poisoned { .. })));
        assert!(matches!(log.append_unwaited(end(1)), Err(AuditError::Poisoned { .. })));
        assert!(matches!(log.healthy(), Err(AuditError::Poisoned { .. })));
    }
    assert_eq!(writes + 1, setup.disk.count(Op::Write, name), "one write before the failed sync, none after");
    log.close();
    let all = read(&setup.dir());
    let last = all.last().unwrap();
    assert_eq!(("stop", "sync-failed"), (last.kind(), last.value["reason"].as_str().unwrap()));
    assert!(search(&setup.dir(), &Query { customers: vec![PartyNo(2)], ..Query::default() }).unwrap().is_empty());
    setup.verify();

    let (log, recovery) = setup.try_open().unwrap();
    assert!(!recovery.clean);
    record(&log, permit(4));
    log.close();
    setup.verify();
}

#[test]
fn failed_write_poisons() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    setup.disk.fail(Op::Write, "ahead", 0, ErrorKind::Other);
    assert!(matches!(log.append(permit(2)).unwrap().wait(), Err(AuditError::Poisoned { .. })));
    setup.disk.mend();
    assert!(log.append(permit(3)).is_err());
    log.close();
    assert_eq!("stop", kinds(&setup.dir()).last().unwrap());
    setup.verify();
    let log = setup.open();
    record(&log, permit(4));
    log.close();
    setup.verify();
}

/// Segments are allocated ahead, so a full disk shows when the next one is needed.
#[test]
fn disk_full_denies() {
    let setup = Setup::new();
    let log = setup.open();
    setup.disk.fail(Op::Create, "", 0, ErrorKind::StorageFull);
    let mut recorded = Vec::new();
    let refused = (0..).find_map(|party| match log.append(permit(party)).and_then(Pending::wait) {
        Ok(r) => {
            recorded.push((party, r.index()));
            None
        }
        // On a busy machine.
        Err(AuditError::Slow) => None,
        Err(e) => Some((party, e)),
    });
    let (refused, why) = refused.unwrap();
    assert!(matches!(why, AuditError::Poisoned { .. }), "{why}");
    assert!(why.to_string().contains("disk-full"), "{why}");
    assert!(log.healthy().is_err());
    log.close();
    let all = read(&setup.dir());
    let last = all.last().unwrap();
    assert_eq!(("stop", "disk-full"), (last.kind(), last.value["reason"].as_str().unwrap()), "the end itself is logged");
    for (party, index) in recorded {
        let named = &all[usize::try_from(index).unwrap()].resolved["groups"][0]["parties"][0];
        assert_eq!(Some(party), named.as_u64());
    }
    assert!(search(&setup.dir(), &Query { customers: vec![PartyNo(refused)], ..Query::default() }).unwrap().is_empty());
    setup.verify();

    // Room was made.
    setup.disk.mend();
    let log = setup.open();
    record(&log, permit(refused));
    log.close();
    setup.verify();
}

#[test]
fn spare_directory_takes_over_and_nobody_is_refused() {
    for op in [Op::Sync, Op::Write] {
        let setup = Setup::with_spare();
        let log = setup.open();
        record(&log, permit(1));
        setup.disk.fail(op, "/log/", 0, ErrorKind::Other);
        let pending: Vec<_> = (2..6).map(|party| log.append(permit(party)).unwrap()).collect();
        let indexes: Vec<u64> = pending.into_iter().map(|p| p.wait().unwrap().index()).collect();
        log.healthy().unwrap();
        log.close();
        let all = read(&setup.dir());
        for (party, index) in (2..6u64).zip(indexes) {
            assert_eq!(Some(party), all[usize::try_from(index).unwrap()].resolved["groups"][0]["parties"][0].as_u64());
        }
        let kinds = kinds(&setup.dir()).into_iter().filter(|k| k != "dict").collect::<Vec<_>>().join(" ");
        assert_eq!("start permit stop start permit permit permit permit stop", kinds);
        assert_eq!(2, setup.verify().segments);

        // After a repair the log goes on in its own directory.
        setup.disk.mend();
        let log = setup.open();
        record(&log, permit(9));
        log.close();
        assert!(last_segment(&setup.dir()) > setup.dir().join("segment-00000000000000000004"));
        setup.verify();
    }
}

#[test]
fn failure_of_both_directories_denies() {
    let setup = Setup::with_spare();
    let log = setup.open();
    record(&log, permit(1));
    setup.disk.fail(Op::Sync, "", 0, ErrorKind::Other);
    assert!(matches!(log.append(permit(2)).unwrap().wait(), Err(AuditError::Poisoned { .. })));
    assert!(log.healthy().is_err());
    log.close();
    setup.disk.mend();
    setup.verify();
    let log = setup.open();
    record(&log, permit(3));
    log.close();
    setup.verify();
}

#[test]
fn file_unlinked_or_replaced_denies() {
    for replace in [false, true] {
        let setup = Setup::new();
        let log = setup.open();
        record(&log, permit(1));
        let path = last_segment(&setup.dir());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        if replace {
            std::fs::write(&path, &bytes).unwrap();
        }
        let refused = log.append(permit(2)).unwrap().wait();
        assert!(matches!(&refused, Err(AuditError::Poisoned { reason }) if reason.contains("moved")), "{refused:?}");
        log.close();
    }
}

#[test]
fn lock_removed_denies_before_a_second_process_writes() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    std::fs::remove_file(setup.dir().join("lock")).unwrap();
    while log.healthy().is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(log.append(permit(2)), Err(AuditError::Poisoned { .. })));
    log.close();
    assert_eq!("permit", kinds(&setup.dir()).last().unwrap(), "nothing is written without the lock");
    setup.verify();
}

#[test]
fn slow_disk_refuses_after_two_seconds_and_recovers() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    setup.disk.hang(true);
    let pending = log.append(permit(2)).unwrap();
    // Until the writer has taken it, time does not count.
    while log.metrics().queue_depth > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    setup.clock.advance(Duration::from_millis(2_001));
    assert!(matches!(pending.wait(), Err(AuditError::Slow)));
    assert!(matches!(log.healthy(), Err(AuditError::Slow)));
    assert!(matches!(log.append(permit(3)), Err(AuditError::Slow)));
    setup.disk.hang(false);
    while log.healthy().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    record(&log, permit(4));
    log.close();
    setup.verify();
    let found = search(&setup.dir(), &Query { customers: vec![PartyNo(2)], ..Query::default() }).unwrap();
    assert!(found[0].unresolved, "it is in the log, and nobody was answered by it");
}

#[test]
fn a_checkpoint_that_can_not_be_written_denies_until_it_can() {
    let setup = Setup::new();
    let log = setup.open();
    setup.disk.fail(Op::Replace, "checkpoint", 0, ErrorKind::StorageFull);
    record(&log, permit(1));
    while log.healthy().is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(log.append(permit(2)), Err(AuditError::Unsigned)));
    setup.disk.mend();
    while log.healthy().is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    record(&log, permit(3));
    log.close();
    setup.verify();
}

#[test]
fn a_checkpoint_is_signed_within_about_a_second() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    let entries = log.metrics().entries;
    while log.metrics().checkpoint_size < entries {
        std::thread::sleep(Duration::from_millis(5));
    }
    let report = setup.verify();
    assert_eq!((entries, 0), (report.checkpoint_size, report.unsigned_tail));
    assert_eq!(report.root, log.metrics().checkpoint_root);
    assert_eq!(Some(Timestamp::from_second(START).unwrap()), report.signed_until);
}

/// At no failing step is an entry acknowledged that is not there afterwards.
#[test]
fn whatever_step_fails_what_was_acknowledged_is_there() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::Replace] {
        for after in 0..6 {
            let setup = Setup::with_spare();
            let log = setup.open();
            setup.disk.fail(op, "", after, ErrorKind::Other);
            let mut acknowledged = Vec::new();
            for party in 0..1_500u64 {
                match log.append(permit(party)) {
                    Ok(pending) if party % 50 == 0 => {
                        if let Ok(recorded) = pending.wait() {
                            acknowledged.push((party, recorded.index()));
                        }
                    }
                    _ => {}
                }
            }
            log.close();
            setup.disk.mend();
            let log = setup.open();
            log.close();
            setup.verify();
            let all = read(&setup.dir());
            for (party, index) in acknowledged {
                let named = &all[usize::try_from(index).unwrap()].resolved["groups"][0]["parties"][0];
                assert_eq!(Some(party), named.as_u64(), "{op:?} after {after}");
            }
        }
    }
}
