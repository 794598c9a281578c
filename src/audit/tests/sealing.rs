//! A finished segment is compressed, and nobody who reads the log can tell.

use std::io::ErrorKind;
use std::sync::Mutex;

use super::super::key::Vkey;
use super::super::note::Checkpoint;
use super::super::sealer::{Done, seal_finished};
use super::super::segment::SegmentFile;
use super::super::tail::Tail;
use super::double::Op;
use super::prune::{all_before, day, never, nobody, prune, small, tombstones, years};
use super::*;

fn segments(dir: &Path) -> Vec<SegmentFile> {
    segment::list(&segment::directories(dir)).unwrap()
}

/// Which of the segments are sealed.
fn sealed(dir: &Path) -> Vec<bool> {
    segments(dir).iter().map(|file| content::is_sealed(file).unwrap()).collect()
}

fn bytes(dir: &Path) -> u64 {
    segments(dir).iter().map(|file| std::fs::metadata(&file.path).unwrap().len()).sum()
}

fn seal(log: &Log) {
    wait_until_signed(log);
    seal_finished(log.shared(), &mut Done::default()).unwrap();
}

/// Several segments of small entries.
fn written(setup: &Setup) -> Log {
    let log = setup.open();
    while segments(&setup.dir()).len() < 4 {
        record_all(&log, 0..200);
        record(&log, permit(7));
    }
    log
}

#[test]
fn nothing_that_is_read_changes() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 40);
    wait_until_signed(&log);
    let (dir, count) = (setup.dir(), segments(&setup.dir()).len());
    let index = small(&setup, "index");
    index.catch_up(log.metrics().entries, |_| ()).unwrap();
    let tiles = Tiles::new(&dir);
    let about = |party| Query { customers: vec![PartyNo(party)], ..Query::default() };
    let told = |index: &Index| (0..40).map(|party| index.search(&about(party)).unwrap().decisions).collect::<Vec<_>>();
    let observe = |tiles: &Tiles| {
        let proofs: Vec<_> = heads.iter().map(|head| tiles.prove(*head).unwrap().unwrap()).collect();
        let raw: Vec<_> = read(&dir).into_iter().map(|logged| logged.raw).collect();
        (setup.verify(), raw, proofs, newest(&dir, "permit").unwrap().map(|logged| logged.index), told(&index))
    };
    let before = observe(&tiles);
    // Places that were remembered before.
    let mut reader = Reader::open(&dir).unwrap();
    let mut tail = Tail::open(&dir, 0).unwrap();
    let first = reader.next().unwrap().unwrap();
    let mut tailed = 0;
    tailed += tail.read(3, true, |_| ()).unwrap();
    let open = bytes(&dir);

    seal(&log);
    let mut expected = vec![true; count];
    expected[count - 1] = false;
    assert_eq!(expected, sealed(&dir));
    assert!(bytes(&dir) < open / 5, "{} of {open} bytes", bytes(&dir));
    for tiles in [&tiles, &Tiles::new(&dir)] {
        assert_eq!(before, observe(tiles));
    }
    let entries = before.1.len();
    assert_eq!(entries - 1, reader.map(Result::unwrap).skip_while(|logged| logged.index <= first.index).count());
    while tail.index() < entries as u64 {
        tailed += tail.read(entries as u64, true, |_| ()).unwrap();
    }
    assert_eq!(entries as u64, tailed);
    // The index need not be built anew, and one that is built from sealed segments is the same.
    assert!(index.renew(never).unwrap());
    assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
    let anew = small(&setup, "anew");
    anew.catch_up(u64::MAX, |_| ()).unwrap();
    assert_eq!(before.4, told(&anew));
    drop((index, anew));
    log.close();

    // The log goes on.
    let (log, recovery) = setup.try_open().unwrap();
    assert_eq!((entries as u64 + 1, true), (recovery.entries, recovery.clean));
    record(&log, permit(3));
    log.close();
    setup.verify();
}

#[test]
fn the_thread_seals_what_is_finished_and_is_gone_when_the_log_is_closed() {
    let mut setup = Setup::quick();
    setup.settings.seal = true;
    let log = written(&setup);
    let is_done = || sealed(&setup.dir()).into_iter().rev().skip(1).all(|is| is);
    for _ in 0..1_000 {
        if is_done() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_done());
    let per_entry = |bytes: u64| bytes / log.metrics().entries;
    assert!(per_entry(bytes(&setup.dir()) - segment::SEGMENT_BYTES_MIN) <= 120);
    log.close();
    setup.verify();
}

#[test]
fn what_is_not_signed_is_not_sealed() {
    let setup = Setup::quick();
    let log = setup.open();
    wait_until_signed(&log);
    setup.disk.fail(Op::Replace, "checkpoint", 0, ErrorKind::StorageFull);
    // Until the signer has found out, within a second.
    while segments(&setup.dir()).len() < 3 && !matches!(log.append_unwaited(permit(1)), Err(AuditError::Unsigned)) {}
    assert!(segments(&setup.dir()).len() > 1);
    seal_finished(log.shared(), &mut Done::default()).unwrap();
    assert!(sealed(&setup.dir()).iter().all(|is| !is));
    setup.disk.mend();
    log.close();
}

/// Its files may be another process's by then.
#[test]
fn a_log_that_takes_no_entries_any_more_is_not_sealed() {
    let setup = Setup::quick();
    let log = written(&setup);
    wait_until_signed(&log);
    log.end("a witness knows more".to_owned());
    assert!(matches!(seal_finished(log.shared(), &mut Done::default()), Err(AuditError::Contradicted { .. })));
    assert!(sealed(&setup.dir()).iter().all(|is| !is));
    log.close();
}

#[test]
fn sealed_entries_are_pruned_and_the_index_is_renewed() {
    let setup = Setup::quick();
    let (log, heads) = years(&setup, 40);
    seal(&log);
    let index = small(&setup, "index");
    index.catch_up(log.metrics().entries, |_| ()).unwrap();
    let gone = prune(&log, &all_before(day(20)), &nobody);
    assert!(gone > 20);
    assert_eq!(gone, tombstones(&setup.dir()).len() as u64);
    assert!(heads[..20].iter().all(|head| tombstones(&setup.dir()).contains(head)));
    assert!(sealed(&setup.dir())[0], "still");
    assert_eq!(gone, setup.verify().pruned);
    index.catch_up(log.metrics().entries, |_| ()).unwrap();
    assert!(index.renew(never).unwrap());
    assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
    let old = Query { customers: vec![PartyNo(3)], ..Query::default() };
    let young = Query { customers: vec![PartyNo(33)], ..Query::default() };
    assert_eq!((0, 1), (index.search(&old).unwrap().decisions.len(), index.search(&young).unwrap().decisions.len()));
    // Nor is what is left sealed once more.
    let writes = setup.disk.count(Op::Write, "segment-");
    seal(&log);
    assert_eq!(writes, setup.disk.count(Op::Write, "segment-"));
    log.close();
}

#[test]
fn a_crash_at_any_step_leaves_the_segment_as_it_was_or_sealed() {
    let setup = Setup::quick();
    let log = written(&setup);
    wait_until_signed(&log);
    let before: Vec<_> = read(&setup.dir()).into_iter().map(|logged| logged.raw).collect();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, dir) = (Arc::clone(&images), setup.dir());
    setup.disk.before_each(move |op, path| {
        if path.contains("segment-") {
            let image = tempfile::tempdir().unwrap();
            copy(&dir, image.path());
            kept.lock().unwrap().push((op, image));
        }
    });
    seal(&log);
    setup.disk.before_each(|_, _| ());
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() >= 3 * 4, "{}", images.len());
    for (op, image) in images {
        verify(image.path(), None).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        let after =
            Setup { settings: LogSettings { dir: image.path().to_owned(), ..setup.settings.clone() }, clock: setup.clock.clone(), ..Setup::quick() };
        let log = after.open();
        seal(&log);
        assert!(sealed(image.path()).into_iter().rev().skip(1).all(|is| is));
        assert!(before.iter().zip(read(image.path())).all(|(old, new)| *old == new.raw), "{op:?}");
        log.close();
        after.verify();
    }
    log.close();
}

#[test]
fn whatever_step_fails_the_segment_stays_and_is_sealed_later() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
        for after in 0..3 {
            let setup = Setup::quick();
            let log = written(&setup);
            wait_until_signed(&log);
            setup.disk.fail(op, "segment-", after, ErrorKind::StorageFull);
            let mut done = Done::default();
            assert!(matches!(seal_finished(log.shared(), &mut done), Err(AuditError::Io { .. })), "{op:?} after {after}");
            assert_eq!(after, sealed(&setup.dir()).into_iter().filter(|is| *is).count());
            assert!(!has_left_over(&setup.dir()));
            setup.verify();
            setup.disk.mend();
            log.healthy().unwrap();
            seal_finished(log.shared(), &mut done).unwrap();
            assert!(sealed(&setup.dir()).into_iter().rev().skip(1).all(|is| is));
            log.close();
            setup.verify();
        }
    }
}

#[test]
fn a_segment_that_was_changed_stays_as_it_is_and_the_others_are_sealed() {
    let setup = Setup::quick();
    let log = written(&setup);
    wait_until_signed(&log);
    let second = &segments(&setup.dir())[1];
    let mut changed = std::fs::read(&second.path).unwrap();
    changed[segment::HEADER_BYTES + 700] ^= 1;
    std::fs::write(&second.path, &changed).unwrap();
    assert!(matches!(seal_finished(log.shared(), &mut Done::default()), Err(AuditError::Damaged { .. })));
    assert_eq!([true, false, true], sealed(&setup.dir())[..3]);
    assert_eq!(changed, std::fs::read(&second.path).unwrap());
    log.close();
    assert_eq!(Fault::Entry, verify(&setup.dir(), None).unwrap_err().fault);
}

/// The forgeries of `tamper.rs`, on a sealed segment.
#[test]
fn changes_of_a_sealed_segment_are_seen() {
    let setup = Setup::quick();
    let log = written(&setup);
    seal(&log);
    log.close();
    let dir = setup.dir();
    let first = segments(&dir)[0].clone();
    let real = std::fs::read(&first.path).unwrap();
    let table = sealed::table_bytes(&real).unwrap();
    let limit = segments(&dir)[1].name.first;
    let try_with = |bytes: &[u8]| {
        std::fs::write(&first.path, bytes).unwrap();
        verify(&dir, None).map(|_| ()).expect_err("the change must be seen").fault
    };
    for at in (0..table).chain((table..real.len()).step_by(real.len() / 40)) {
        let mut changed = real.clone();
        changed[at] ^= 1 << (at % 8);
        // Some bits of zstd's frames mean nothing.
        if sealed::open(changed.clone()) != sealed::open(real.clone()) {
            let fault = try_with(&changed);
            assert!(matches!(fault, Fault::Header | Fault::Entry), "byte {at}: {fault}");
        }
    }
    for cut in [0, 20, table, table + 100, real.len() - 1] {
        let fault = try_with(&real[..cut]);
        assert!(matches!(fault, Fault::Header | Fault::Entry), "cut at {cut}: {fault}");
    }
    // Someone who can compress, and compute checksums, but has no key.
    let plain = sealed::open(real.clone());
    let mut forged = plain[..segment::HEADER_BYTES].to_vec();
    let (mut at, mut index) = (segment::HEADER_BYTES, 0);
    while let segment::Frame::Held { held, end } = segment::frame_at(&plain, at, index) {
        let mut entry = held.entry().unwrap().to_vec();
        if index == 300 {
            let t = entry.windows(4).position(|w| w == b"\"t\":").unwrap() + 4;
            entry[t] ^= 1;
        }
        segment::push_frame(&mut forged, index, &entry).unwrap();
        (at, index) = (end, index + 1);
    }
    assert_eq!(limit, index);
    let forged = sealed::seal(&first, &forged, limit).unwrap().unwrap();
    assert_eq!(Fault::Header, try_with(&forged), "what follows does not continue it");
    assert!(Tiles::new(&dir).prove(300).is_err(), "nor is it proved");
    std::fs::write(&first.path, &real).unwrap();
    setup.verify();
}

/// Nothing is ever written behind what is sealed.
#[test]
fn a_log_that_ends_with_a_sealed_segment_lacks_what_follows() {
    let setup = Setup::quick();
    let log = written(&setup);
    wait_until_signed(&log);
    let early = std::fs::read_to_string(setup.dir().join("checkpoint")).unwrap();
    seal(&log);
    log.close();
    let all = segments(&setup.dir());
    for file in &all[1..] {
        std::fs::remove_file(&file.path).unwrap();
    }
    assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })));
    // Also when what is left is all that a checkpoint signs.
    let key = Vkey::parse(&std::fs::read_to_string(setup.dir().join("log.vkey")).unwrap()).unwrap();
    assert!(Checkpoint::verified(&early, &key).unwrap().size > all[1].name.first);
    let mut tree = tree::Tree::default();
    read(&setup.dir()).iter().for_each(|logged| tree.push(&logged.raw));
    let signer = key::SigningKey::load(&setup.settings.signing_key, ORIGIN).unwrap();
    let note = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() }.sign(&[signer]);
    std::fs::write(setup.dir().join("checkpoint"), note).unwrap();
    let refused = setup.try_open().unwrap_err();
    assert!(refused.to_string().contains("the segment after it is missing"), "{refused}");
}
