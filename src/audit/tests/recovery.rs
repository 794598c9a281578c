//! Starts after ends of every kind.

use std::os::unix::fs::FileExt as _;

use super::*;

#[test]
fn a_clean_end_is_continued() {
    let setup = Setup::new();
    let (log, recovery) = setup.try_open().unwrap();
    assert_eq!((0, 0, true), (recovery.entries, recovery.torn_bytes, recovery.clean));
    record(&log, permit(1));
    log.close();
    let (log, recovery) = setup.try_open().unwrap();
    assert_eq!((0, true), (recovery.torn_bytes, recovery.clean));
    assert_eq!(recovery.entries, read(&setup.dir()).len() as u64 - 1);
    record(&log, permit(2));
    log.close();
    assert_eq!(vec!["start", "dict", "dict", "permit", "stop", "start", "dict", "dict", "permit", "stop"], kinds(&setup.dir()));
    assert_eq!(1, setup.verify().segments);
}

#[test]
fn a_kill_loses_nothing_and_is_recorded() {
    let setup = Setup::new();
    let log = setup.open();
    let index = record(&log, permit(1));
    let image = setup.image();
    log.close();
    let (log, recovery) = image.try_open().unwrap();
    assert_eq!((index + 1, 0, false), (recovery.entries, recovery.torn_bytes, recovery.clean));
    log.close();
    let all = read(&image.dir());
    let start = all.iter().rfind(|l| l.kind() == "start").unwrap();
    assert_eq!((Some(false), Some(0)), (start.value["clean"].as_bool(), start.value["torn_bytes"].as_u64()));
    image.verify();
}

/// A write that was cut at any byte, over entries that are not signed.
#[test]
fn a_torn_tail_is_removed_and_recorded_wherever_it_was_cut() {
    let setup = Setup::new();
    let log = setup.open();
    let before = setup.image();
    let index = record(&log, permit(1));
    let image = setup.image();
    log.close();
    let segment = std::fs::read(last_segment(&image.dir())).unwrap();
    let from = std::fs::read(last_segment(&before.dir())).unwrap().iter().rposition(|&b| b != 0).unwrap() + 1;
    let to = segment.iter().rposition(|&b| b != 0).unwrap() + 1;
    for cut in (from..to).step_by(7) {
        let torn = Setup::new();
        copy(&before.dir(), &torn.dir());
        let mut bytes = segment.clone();
        bytes[cut..].fill(0);
        std::fs::write(last_segment(&torn.dir()), &bytes).unwrap();
        verify(&torn.dir(), None).unwrap_or_else(|e| panic!("a torn tail is no damage: {e}"));
        let (log, recovery) = torn.try_open().unwrap();
        assert!(recovery.entries < index + 1 && !recovery.clean);
        log.close();
        let all = read(&torn.dir());
        let start = all.iter().rfind(|l| l.kind() == "start").unwrap();
        assert_eq!(Some(recovery.torn_bytes), start.value["torn_bytes"].as_u64());
        assert_eq!(0, torn.verify().torn_bytes);
    }
}

#[test]
fn garbage_after_the_end_is_removed() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    let image = setup.image();
    log.close();
    let path = last_segment(&image.dir());
    let end = std::fs::read(&path).unwrap().iter().rposition(|&b| b != 0).unwrap() as u64 + 1;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xee; 100], end + 50).unwrap();
    assert_eq!(150, verify(&image.dir(), None).unwrap().torn_bytes);
    let (log, recovery) = image.try_open().unwrap();
    assert_eq!(150, recovery.torn_bytes);
    log.close();
    image.verify();
}

#[test]
fn a_log_that_lacks_signed_entries_is_not_opened() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    record(&log, permit(2));
    log.close();
    let bytes = std::fs::read(last_segment(&setup.dir())).unwrap();
    let used = bytes.iter().rposition(|&b| b != 0).unwrap() + 1;
    for at in (0..used).step_by(5) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(last_segment(&setup.dir()), &changed).unwrap();
        let refused = setup.try_open().map(|_| ());
        assert!(matches!(refused, Err(AuditError::Damaged { .. })), "byte {at}: {refused:?}");
    }
    std::fs::write(last_segment(&setup.dir()), &bytes).unwrap();
    for lost in ["checkpoint", "segment-00000000000000000000-0000"] {
        let path = setup.dir().join(lost);
        let saved = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })), "{lost}");
        std::fs::write(&path, saved).unwrap();
    }
    setup.open().close();
}

/// Killed again and again before the first checkpoint.
#[test]
fn starts_alone_need_no_checkpoint_but_anything_else_does() {
    let setup = Setup::new();
    setup.disk.fail(double::Op::Replace, "checkpoint", 0, std::io::ErrorKind::Other);
    for entries in 0..3 {
        assert!(matches!(setup.try_open(), Err(AuditError::Io { .. })));
        assert_eq!(entries + 1, read(&setup.dir()).len());
    }
    setup.disk.mend();
    let log = setup.open();
    record(&log, permit(1));
    log.close();
    assert!(kinds(&setup.dir()).starts_with(&["start".into(), "start".into(), "start".into(), "start".into(), "dict".into()]));
    setup.verify();
}

/// As the gateway uses it: a key file, the machine's disk and clock.
#[test]
fn a_generated_key_signs_a_log_on_the_real_disk() {
    let setup = Setup::new();
    let path = setup.root.path().join("log-ed25519");
    generate_signing_key(&path).unwrap();
    let settings = LogSettings { signing_key: SigningKeySource::File(path), ..setup.settings.clone() };
    let (log, recovery) = Log::open(settings, crate::clock::SystemClock::shared()).unwrap();
    record(&log, permit(1));
    assert_eq!(ORIGIN, log.origin());
    drop(log);
    verify(&setup.dir(), Some(&recovery.vkey)).unwrap();
    assert_eq!("stop", kinds(&setup.dir()).last().unwrap(), "the last handle that goes closes the log");
}

#[test]
fn a_start_reads_only_the_last_segment() {
    let setup = Setup::new();
    let log = setup.open();
    record_all(&log, 0..1_500);
    log.close();
    let first = setup.dir().join("segment-00000000000000000000-0000");
    let saved = std::fs::read(&first).unwrap();
    std::fs::write(&first, b"unreadable").unwrap();
    setup.open().close();
    std::fs::write(&first, saved).unwrap();
    assert!(setup.verify().segments > 2);
}

#[test]
fn two_processes_can_not_write_one_log() {
    let setup = Setup::new();
    let log = setup.open();
    assert!(matches!(setup.try_open(), Err(AuditError::Locked { .. })));
    log.close();
    setup.open().close();
}

#[test]
fn another_key_or_origin_is_refused() {
    let setup = Setup::new();
    setup.open().close();
    let mut other = setup.image();
    other.settings.signing_key = SigningKeySource::Bytes(vec![8; 32]);
    assert!(matches!(other.try_open(), Err(AuditError::OtherKey { .. })));
    other.settings.signing_key = SigningKeySource::Bytes(vec![7; 32]);
    other.settings.origin = "gw-other.example.com".to_owned();
    assert!(matches!(other.try_open(), Err(AuditError::OtherKey { .. })));
    for origin in ["", "a b", "a#1", "a+b", "a\n"] {
        other.settings.origin = origin.to_owned();
        assert!(matches!(other.try_open(), Err(AuditError::Origin { .. })), "{origin:?}");
    }
}

#[test]
fn settings_that_can_not_work_are_refused() {
    let mut setup = Setup::new();
    setup.settings.segment_bytes -= 1;
    assert!(matches!(setup.try_open(), Err(AuditError::SegmentTooSmall { .. })));
    setup.settings.segment_bytes += 1;
    setup.settings.signing_key = SigningKeySource::File(setup.root.path().join("none"));
    assert!(matches!(setup.try_open(), Err(AuditError::Io { .. })));
    std::fs::write(setup.root.path().join("none"), "no key").unwrap();
    assert!(matches!(setup.try_open(), Err(AuditError::Key { .. })));
}

#[test]
fn the_newest_entry_of_a_kind_is_found_from_the_end_and_damage_on_the_way_is_told() {
    let setup = Setup::new();
    assert!(matches!(newest(&setup.dir(), "deny"), Err(AuditError::NoLog { .. })));
    let log = setup.open();
    let mut found = vec![record(&log, deny(1)), record(&log, deny(2))];
    let at = |kind: &str| newest(&setup.dir(), kind).map(|entry| entry.map(|entry| entry.index));
    assert_eq!((at("deny").unwrap(), at("intent").unwrap()), (found.pop(), None));
    let last = record(&log, deny(3));
    while segment::list(&[setup.dir()]).unwrap().len() < 3 {
        (0..200).map(|n| log.append(permit(n)).unwrap()).for_each(|pending| drop(pending.wait().unwrap()));
    }
    assert_eq!(at("deny").unwrap(), Some(last), "segments before the open one");
    let newer = record(&log, deny(4));
    assert_eq!(at("deny").unwrap(), Some(newer));
    log.close();
    let first = segment::list(&[setup.dir()]).unwrap().remove(0).path;
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[segment::HEADER_BYTES + 20] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    assert_eq!(at("deny").unwrap(), Some(newer), "not read so far");
    assert!(matches!(at("intent"), Err(AuditError::Damaged { .. })), "what may hide one is no log without one");
}
