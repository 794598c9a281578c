//! The verifier against every way to change a log without its key.

use std::path::Path;

use super::super::key::SigningKey;
use super::super::note::Checkpoint;
use super::super::segment::{FRAME_HEADER_BYTES, HEADER_BYTES};
use super::super::tree::Tree;
use super::*;

/// A small closed log.
fn small() -> (Setup, Vec<u8>) {
    let setup = Setup::new();
    let log = setup.open();
    for party in 1..=3 {
        let of = record(&log, permit(party));
        log.append_unwaited(end(of)).unwrap();
    }
    log.close();
    let bytes = std::fs::read(last_segment(&setup.dir())).unwrap();
    (setup, bytes)
}

fn write(setup: &Setup, bytes: &[u8]) {
    std::fs::write(last_segment(&setup.dir()), bytes).unwrap();
}

fn fault(dir: &Path) -> Fault {
    verify(dir, None).map(|_| ()).expect_err("the change must be seen").fault
}

/// Start and end of each frame.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut at = HEADER_BYTES;
    let mut found = Vec::new();
    loop {
        let len = usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap();
        if len == 0 {
            return found;
        }
        found.push(at..at + FRAME_HEADER_BYTES + len);
        at += FRAME_HEADER_BYTES + len;
    }
}

/// A segment as someone without the key would write it: with right checksums.
fn forged(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = segment::header(&Tree::default());
    for (index, entry) in (0..).zip(entries) {
        segment::push_frame(&mut bytes, index, entry).unwrap();
    }
    bytes.resize(usize::try_from(segment::SEGMENT_BYTES_MIN).unwrap(), 0);
    bytes
}

fn entries(setup: &Setup) -> Vec<Vec<u8>> {
    read(&setup.dir()).into_iter().map(|l| l.raw).collect()
}

#[test]
fn an_untouched_log_verifies_with_either_key() {
    let (setup, bytes) = small();
    let report = setup.verify();
    assert!(report.own_key && report.unsigned_tail == 0 && report.torn_bytes == 0);
    assert_eq!(frames(&bytes).len() as u64, report.entries);
    let vkey = std::fs::read_to_string(setup.dir().join("log.vkey")).unwrap();
    assert_eq!(VerifyReport { own_key: false, ..report }, verify(&setup.dir(), Some(&vkey)).unwrap());
    assert_eq!(bytes, forged(&entries(&setup)), "the forger of the tests below can write the real thing");
}

#[test]
fn byte_flip_at_every_position_is_seen() {
    let (setup, bytes) = small();
    let used = frames(&bytes).last().unwrap().end;
    // The zeros after the end only cost time here.
    let bytes = &bytes[..used + 64];
    // Positions that are all alike (the zeros of the header) are sampled.
    for at in (0..96).chain((96..HEADER_BYTES).step_by(61)).chain(HEADER_BYTES..used) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        write(&setup, &changed);
        let fault = fault(&setup.dir());
        assert!(matches!(fault, Fault::Header | Fault::Short { .. }), "byte {at}: {fault}");
    }
}

#[test]
fn rewriting_removing_swapping_and_doubling_with_right_checksums_are_seen() {
    let (setup, _) = small();
    let real = entries(&setup);
    for at in 0..real.len() {
        let mut rewritten = real.clone();
        let t = rewritten[at].windows(4).position(|w| w == b"\"t\":").unwrap() + 4;
        rewritten[at][t] ^= 1;
        let mut removed = real.clone();
        removed.remove(at);
        let mut doubled = real.clone();
        doubled.insert(at, real[at].clone());
        if at + 1 == real.len() {
            // After the last signed entry anything may follow that is well formed: it is reported as not signed.
            write(&setup, &forged(&doubled));
            assert_eq!(1, setup.verify().unsigned_tail);
            doubled = rewritten.clone();
        }
        for entries in [rewritten, removed, doubled] {
            write(&setup, &forged(&entries));
            let fault = fault(&setup.dir());
            assert!(matches!(fault, Fault::Root { .. } | Fault::Short { .. } | Fault::Orphan), "entry {at}: {fault}");
            assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })), "entry {at}: nor is it written on");
        }
        let mut swapped = real.clone();
        let other = (at + 1) % real.len();
        swapped.swap(at, other);
        if swapped != real {
            write(&setup, &forged(&swapped));
            let fault = fault(&setup.dir());
            assert!(matches!(fault, Fault::Root { .. } | Fault::Orphan), "entry {at}: {fault}");
        }
    }
}

#[test]
fn frames_moved_with_their_checksums_are_seen() {
    let (setup, bytes) = small();
    let frames = frames(&bytes);
    // Two frames of the same length change places; one is doubled over another.
    let same: Vec<_> = frames.iter().filter(|f| f.len() == frames[3].len()).collect();
    assert!(same.len() > 1);
    let mut swapped = bytes.clone();
    swapped[same[0].clone()].copy_from_slice(&bytes[same[1].clone()]);
    swapped[same[1].clone()].copy_from_slice(&bytes[same[0].clone()]);
    write(&setup, &swapped);
    assert!(matches!(fault(&setup.dir()), Fault::Short { .. }));
    let mut doubled = bytes.clone();
    doubled[same[1].clone()].copy_from_slice(&bytes[same[0].clone()]);
    write(&setup, &doubled);
    assert!(matches!(fault(&setup.dir()), Fault::Short { .. }));
}

#[test]
fn truncation_below_the_checkpoint_is_seen() {
    let (setup, bytes) = small();
    for frame in frames(&bytes) {
        let mut cut = bytes.clone();
        cut[frame.start..].fill(0);
        write(&setup, &cut);
        assert!(matches!(fault(&setup.dir()), Fault::Short { .. }));
        write(&setup, &bytes[..frame.start]);
        assert!(matches!(fault(&setup.dir()), Fault::Short { .. }));
    }
    std::fs::remove_file(last_segment(&setup.dir())).unwrap();
    assert_eq!(Fault::NoSegment, fault(&setup.dir()));
}

#[test]
fn a_changed_missing_or_foreign_checkpoint_is_seen() {
    let (setup, _) = small();
    let path = setup.dir().join("checkpoint");
    let note = std::fs::read(&path).unwrap();
    for at in 0..note.len() {
        let mut changed = note.clone();
        changed[at] ^= 1;
        std::fs::write(&path, changed).unwrap();
        verify(&setup.dir(), None).map(|_| ()).expect_err("the change must be seen");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Fault::NoCheckpoint, fault(&setup.dir()));

    // Signed by someone else, over a log of their own.
    let report = |seed: u8| SigningKey::load(&SigningKeySource::Bytes(vec![seed; 32]), ORIGIN).unwrap();
    let mut tree = Tree::default();
    entries(&setup).iter().for_each(|e| tree.push(e));
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
    std::fs::write(&path, checkpoint.sign([&report(8)])).unwrap();
    assert_eq!(Fault::OtherKey, fault(&setup.dir()));
    std::fs::write(&path, checkpoint.sign([&report(7)])).unwrap();
    setup.verify();
}

#[test]
fn wrong_key_is_seen() {
    let (setup, _) = small();
    let other = SigningKey::load(&SigningKeySource::Bytes(vec![8; 32]), ORIGIN).unwrap().vkey().to_string();
    assert_eq!(Fault::OtherKey, verify(&setup.dir(), Some(&other)).unwrap_err().fault);
    assert_eq!(Fault::NotAKey, verify(&setup.dir(), Some("nonsense")).unwrap_err().fault);
}

#[test]
fn rollback_with_its_checkpoint_is_seen_by_whoever_remembers_a_later_one() {
    let (setup, _) = small();
    let old = setup.image();
    let log = setup.open();
    record(&log, permit(9));
    log.close();
    let remembered = std::fs::read_to_string(setup.dir().join("checkpoint")).unwrap();
    let earlier = std::fs::read_to_string(old.dir().join("checkpoint")).unwrap();
    verify_against(&setup.dir(), None, Some(&remembered)).unwrap();
    verify_against(&setup.dir(), None, Some(&earlier)).unwrap();
    old.verify();
    assert!(matches!(verify_against(&old.dir(), None, Some(&remembered)).unwrap_err().fault, Fault::SetBack { .. }));
    // A fork: the old state went on in another way.
    let log = old.open();
    for _ in 0..9 {
        record(&log, permit(10));
    }
    log.close();
    old.verify();
    assert!(matches!(verify_against(&old.dir(), None, Some(&remembered)).unwrap_err().fault, Fault::Rewritten { .. }));
    verify_against(&old.dir(), None, Some(&earlier)).unwrap();
    // A checkpoint that is older than the log is no failure: the rest is a tail that is not signed.
    std::fs::write(setup.dir().join("checkpoint"), &earlier).unwrap();
    assert!(setup.verify().unsigned_tail > 0);
}

#[test]
fn removed_exchanged_and_filled_up_segments_are_seen() {
    let setup = Setup::new();
    let log = setup.open();
    record_all(&log, 0..1_500);
    log.close();
    setup.verify();
    let segments = segment::list(&[setup.dir()]).unwrap();
    assert!(segments.len() > 2);
    let saved: Vec<Vec<u8>> = segments.iter().map(|s| std::fs::read(&s.path).unwrap()).collect();
    for (at, segment) in segments.iter().enumerate() {
        std::fs::remove_file(&segment.path).unwrap();
        let missing = fault(&setup.dir());
        assert!(matches!(missing, Fault::Header | Fault::Entry | Fault::Short { .. }), "{missing}");
        std::fs::write(&segment.path, &saved[(at + 1) % saved.len()]).unwrap();
        assert_eq!(Fault::Header, fault(&setup.dir()));
        if at + 1 < segments.len() {
            let mut filled = saved[at].clone();
            *filled.last_mut().unwrap() = 1;
            std::fs::write(&segment.path, filled).unwrap();
            assert_eq!(Fault::Leftover, fault(&setup.dir()));
        }
        std::fs::write(&segment.path, &saved[at]).unwrap();
    }
    setup.verify();
}

#[test]
fn a_failure_says_where_and_what_it_means() {
    let (setup, bytes) = small();
    let frame = frames(&bytes)[2].clone();
    let mut changed = bytes;
    changed[frame.start + 20] ^= 1;
    write(&setup, &changed);
    let failure = verify(&setup.dir(), None).unwrap_err();
    assert_eq!((Some(frame.start as u64), Some(2)), (failure.offset, failure.index));
    let text = failure.to_string();
    assert!(text.contains(&format!("segment-00000000000000000000-0000`, byte {}, entry 2: the checkpoint signs", frame.start)), "{text}");
}

/// A log with these entries, segment by segment, as whoever holds the key could write it.
fn by_the_key(segments: &[Vec<String>]) -> Setup {
    let setup = Setup::new();
    setup.open().close();
    std::fs::remove_file(last_segment(&setup.dir())).unwrap();
    let mut tree = Tree::default();
    for entries in segments {
        let mut bytes = segment::header(&tree);
        let name = segment::SegmentName { first: tree.size(), attempt: 0 };
        for entry in entries {
            segment::push_frame(&mut bytes, tree.size(), entry.as_bytes()).unwrap();
            tree.push(entry.as_bytes());
        }
        bytes.resize(usize::try_from(segment::SEGMENT_BYTES_MIN).unwrap(), 0);
        std::fs::write(setup.dir().join(name.to_string()), bytes).unwrap();
    }
    let key = SigningKey::load(&setup.settings.signing_key, ORIGIN).unwrap();
    let note = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() }.sign([&key]);
    std::fs::write(setup.dir().join("checkpoint"), note).unwrap();
    setup
}

/// Also across segments, which are read side by side.
#[test]
fn what_belongs_to_no_decision_before_it_is_seen() {
    let entry = |kind: &str, of: Option<u64>| match of {
        None => format!(r#"{{"kind":"{kind}","t":1,"v":1}}"#),
        Some(of) => format!(r#"{{"kind":"{kind}","of":{of},"t":1,"v":1}}"#),
    };
    let filler = |count: usize| vec![entry("clock", None); count];
    let segments = |last: Vec<String>| vec![[vec![entry("permit", None), entry("start", None)], filler(70)].concat(), filler(3), last];
    let good = by_the_key(&segments(vec![entry("part", Some(0)), entry("deny", None), entry("end", Some(0)), entry("end", Some(76))]));
    assert_eq!(79, good.verify().entries);
    for (last, at) in [
        (vec![entry("end", Some(1))], 75),
        (vec![entry("clock", None), entry("end", Some(74))], 76),
        (vec![entry("part", Some(75))], 75),
        (vec![entry("end", Some(76)), entry("permit", None)], 75),
        (vec![entry("end", None)], 75),
        (vec![entry("deny", Some(2)), entry("end", Some(75))], 75),
        (vec![entry("end", Some(0)), entry("part", Some(3)), entry("part", None)], 76),
    ] {
        let setup = by_the_key(&segments(last.clone()));
        let failure = verify(&setup.dir(), None).expect_err("it belongs to nothing");
        assert_eq!((Fault::Orphan, Some(at)), (failure.fault.clone(), failure.index), "{last:?}: {failure}");
    }
}
