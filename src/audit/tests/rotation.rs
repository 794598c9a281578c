//! The log's key is replaced: once in order, interrupted anywhere, and by whoever has no right to.

use super::super::key::{SigningKey, Vkey};
use super::super::note::Checkpoint;
use super::super::recover::newest_note;
use super::super::rotation::{Keys, Rotation};
use super::super::segment::HEADER_BYTES;
use super::super::tree::Tree;
use super::double::Op;
use super::*;

const OLD: u8 = 7;
const NEW: u8 = 8;
const NEXT: u8 = 9;

fn source(seed: u8) -> SigningKeySource {
    SigningKeySource::Bytes(vec![seed; 32])
}

fn key(seed: u8) -> SigningKey {
    SigningKey::load(&source(seed), ORIGIN).unwrap()
}

fn vkey(seed: u8) -> String {
    key(seed).vkey().to_string()
}

/// Configures these from now on.
fn configure(setup: &mut Setup, seed: u8, previous: Option<u8>) {
    setup.settings.signing_key = source(seed);
    setup.settings.previous_key = previous.map(source);
}

fn run(setup: &Setup) {
    let log = setup.open();
    let of = record(&log, permit(1));
    record(&log, end(of));
    log.close();
}

/// A closed log that was signed with OLD only.
fn before() -> Setup {
    let setup = Setup::new();
    run(&setup);
    setup
}

/// The same after the change to NEW, while both sign.
fn changing() -> Setup {
    let mut setup = before();
    configure(&mut setup, NEW, Some(OLD));
    run(&setup);
    setup
}

/// The same when the change is over.
fn changed() -> Setup {
    let mut setup = changing();
    configure(&mut setup, NEW, None);
    run(&setup);
    setup
}

fn file(setup: &Setup, name: &str) -> String {
    std::fs::read_to_string(setup.dir().join(name)).unwrap()
}

fn put(setup: &Setup, name: &str, text: &str) {
    std::fs::write(setup.dir().join(name), text).unwrap();
}

fn signers(note: &str) -> Vec<u8> {
    [OLD, NEW, NEXT].into_iter().filter(|seed| Checkpoint::verified(note, key(*seed).vkey()).is_ok()).collect()
}

fn rotations(setup: &Setup) -> Vec<Logged> {
    read(&setup.dir()).into_iter().filter(|entry| entry.kind() == "key_rotated").collect()
}

/// `pinned` with what the log tells of its keys behind it.
fn chain(setup: &Setup, pinned: u8) -> String {
    setup.verify().rotations.into_iter().filter_map(|rotated| rotated.note).fold(vkey(pinned) + "\n", |file, note| file + "\n" + &note)
}

fn fault(setup: &Setup, pinned: Option<&str>) -> Fault {
    verify(&setup.dir(), pinned).map(|_| ()).expect_err("it must be refused").fault
}

/// The log with a checkpoint over all of it by these keys.
fn sign(setup: &Setup, seeds: &[u8]) {
    let mut tree = Tree::default();
    read(&setup.dir()).iter().for_each(|entry| tree.push(&entry.raw));
    let keys: Vec<SigningKey> = seeds.iter().map(|seed| key(*seed)).collect();
    put(setup, "checkpoint", &Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() }.sign(&keys));
}

/// The log with another entry in the place of its last rotation, signed as whoever has these keys could.
fn forge(setup: &Setup, entry: Entry, seeds: &[u8]) {
    let at = rotations(setup).last().map(|last| last.index);
    let mut bytes = segment::header(&Tree::default());
    let forged = encode::draft(entry, clock().now()).unwrap().0.fill(|_| 0);
    for logged in read(&setup.dir()) {
        let raw = if Some(logged.index) == at { forged.as_bytes() } else { &logged.raw };
        segment::push_frame(&mut bytes, logged.index, raw).unwrap();
    }
    bytes.resize(bytes.len().max(HEADER_BYTES + 20_000), 0);
    std::fs::write(last_segment(&setup.dir()), bytes).unwrap();
    sign(setup, seeds);
}

#[test]
fn a_key_is_replaced_and_the_log_goes_on() {
    let mut setup = before();
    let (old_note, old_size) = (file(&setup, "checkpoint"), setup.verify().entries);
    configure(&mut setup, NEW, Some(OLD));
    let (log, recovery) = setup.try_open().unwrap();
    assert_eq!((vkey(NEW), Some(vkey(OLD))), (recovery.vkey, recovery.replaced));
    assert_eq!(vkey(NEW) + "\n", file(&setup, "log.vkey"));
    record(&log, deny(2));
    log.close();
    assert_eq!(vec![OLD, NEW], signers(&file(&setup, "checkpoint")), "who knows only one of them can verify it");
    let told = rotations(&setup);
    assert_eq!((1, old_size + 1), (told.len(), told[0].index), "behind the start");
    assert_eq!(
        (&vkey(OLD), &vkey(NEW)),
        (&told[0].value["old_key"].as_str().unwrap().to_owned(), &told[0].value["new_key"].as_str().unwrap().to_owned())
    );

    // Another start in the change says nothing again; after it the old key signs no more.
    run(&setup);
    assert_eq!((1, vec![OLD, NEW]), (rotations(&setup).len(), signers(&file(&setup, "checkpoint"))));
    configure(&mut setup, NEW, None);
    run(&setup);
    assert_eq!((1, vec![NEW]), (rotations(&setup).len(), signers(&file(&setup, "checkpoint"))));
    let report = setup.verify();
    assert_eq!((vkey(NEW), false, 1), (report.key.clone(), report.followed, report.rotations.len()));

    // Who kept the old key is led to the new one, and what it signed then still counts.
    let followed = verify_against(&setup.dir(), Some(&vkey(OLD)), Some(&old_note)).unwrap();
    assert_eq!(VerifyReport { own_key: false, followed: true, ..report.clone() }, followed);
    for pinned in [vkey(NEW), chain(&setup, OLD), chain(&setup, NEW)] {
        assert_eq!(report.key, verify_against(&setup.dir(), Some(&pinned), Some(&old_note)).unwrap().key, "{pinned}");
    }
    assert_eq!(Fault::OtherKey, fault(&setup, Some(&vkey(NEXT))));

    // And a second time.
    configure(&mut setup, NEXT, Some(NEW));
    run(&setup);
    configure(&mut setup, NEXT, None);
    run(&setup);
    let seen = |pinned: &str| verify(&setup.dir(), Some(pinned)).map(|report| (report.key, report.rotations.len(), report.followed));
    for (pinned, followed) in [(OLD, true), (NEW, true), (NEXT, false)] {
        assert_eq!(Ok((vkey(NEXT), 2, followed)), seen(&vkey(pinned)), "{pinned}");
        assert_eq!(Ok((vkey(NEXT), 2, followed)), seen(&chain(&setup, pinned)), "{pinned}");
    }
}

/// Why ever anybody does so.
#[test]
fn a_key_may_come_back() {
    let mut setup = changed();
    configure(&mut setup, OLD, Some(NEW));
    run(&setup);
    configure(&mut setup, OLD, None);
    run(&setup);
    let report = setup.verify();
    assert_eq!((vkey(OLD), 2, false), (report.key.clone(), report.rotations.len(), report.followed));
    assert!(verify(&setup.dir(), Some(&vkey(NEW))).unwrap().followed);
    sign(&setup, &[NEW]);
    assert_eq!(Fault::KeyIsOut, fault(&setup, None));
}

/// A kill before any of the writes of that start.
#[test]
fn a_change_that_is_interrupted_anywhere_goes_on_at_the_next_start() {
    let mut tried = 0;
    for (op, path) in [(Op::Write, "segment-"), (Op::Sync, "segment-"), (Op::Replace, "checkpoint"), (Op::Replace, "log.vkey"), (Op::Create, "roots")]
    {
        for after in 0..3 {
            let mut setup = before();
            configure(&mut setup, NEW, Some(OLD));
            setup.disk.fail(op, path, after, std::io::ErrorKind::Other);
            let interrupted = setup.try_open();
            if let Ok((log, _)) = interrupted {
                log.close();
                continue;
            }
            tried += 1;
            setup.disk.mend();
            let at = format!("{op:?} {path} {after}");

            // The old one alone: it goes on as if nothing had been, or is told of the new one.
            let mut back = setup.image();
            configure(&mut back, OLD, None);
            match back.try_open() {
                Ok((log, _)) => {
                    log.close();
                    assert_eq!((vec![OLD], Vec::new()), (signers(&file(&back, "checkpoint")), back.verify().rotations), "{at}");
                }
                Err(AuditError::KeyIsOut { .. } | AuditError::OtherKey { .. }) => assert!(path != "segment-" || op != Op::Write, "{at}"),
                Err(other) => panic!("{at}: {other}"),
            }
            // The new one alone: refused, or the change was through.
            let mut hasty = setup.image();
            configure(&mut hasty, NEW, None);
            match hasty.try_open() {
                Ok((log, _)) => {
                    log.close();
                    hasty.verify();
                    assert_eq!("roots", path, "{at}");
                }
                Err(AuditError::OtherKey { .. }) => assert_ne!("roots", path, "{at}"),
                Err(other) => panic!("{at}: {other}"),
            }
            // Both: nothing is lost.
            run(&setup);
            let report = setup.verify();
            assert_eq!((1, vkey(NEW)), (report.rotations.len(), report.key), "{at}");
            assert!((1..=2).contains(&rotations(&setup).len()), "{at}");
            assert!(verify(&setup.dir(), Some(&vkey(OLD))).unwrap().followed, "{at}");
        }
    }
    assert!(tried >= 5, "only {tried} interruptions");
}

#[test]
fn only_the_key_before_lets_another_one_take_its_place() {
    let mut setup = before();
    let untouched = |setup: &Setup| (file(setup, "log.vkey"), file(setup, "checkpoint"), read(&setup.dir()).len());
    let was = untouched(&setup);
    for (signing, previous) in [(NEW, None), (NEW, Some(NEXT))] {
        configure(&mut setup, signing, previous);
        assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })), "{signing} {previous:?}");
    }
    for (signing, previous) in [(OLD, Some(OLD)), (OLD, Some(NEW)), (NEW, Some(NEW))] {
        configure(&mut setup, signing, previous);
        assert!(matches!(setup.try_open(), Err(AuditError::PreviousKey { .. })), "{signing} {previous:?}");
    }
    configure(&mut setup, NEW, Some(OLD));
    setup.settings.origin = "gw-other.example.com".to_owned();
    assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })), "another origin");
    assert_eq!(was, untouched(&setup));
    let mut none = Setup::new();
    configure(&mut none, NEW, Some(OLD));
    assert!(matches!(none.try_open(), Err(AuditError::PreviousKey { .. })), "a new log had no key before");
    assert!(!none.dir().join("log.vkey").exists());
}

#[test]
fn a_key_that_was_replaced_signs_no_more() {
    // Configured again, with its file put back: while both sign, and after that.
    for mut setup in [changing(), changed()] {
        configure(&mut setup, OLD, None);
        assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })));
        put(&setup, "log.vkey", &vkey(OLD));
        assert!(matches!(setup.try_open(), Err(AuditError::KeyIsOut { .. } | AuditError::Damaged { .. })));
        // Nor does it sign beside the newer one once the change is over.
        put(&setup, "log.vkey", &vkey(NEW));
        configure(&mut setup, NEW, None);
        run(&setup);
        configure(&mut setup, NEW, Some(OLD));
        assert!(matches!(setup.try_open(), Err(AuditError::PreviousKey { .. })));
    }
    // Whoever stole it signs a checkpoint over the log as it is now.
    let setup = changed();
    sign(&setup, &[OLD]);
    for pinned in [None, Some(vkey(NEW)), Some(chain(&changed(), OLD)), Some(vkey(OLD))] {
        assert_eq!(Fault::KeyIsOut, fault(&setup, pinned.as_deref()), "{pinned:?}");
    }
    let mut setup = setup;
    configure(&mut setup, NEW, None);
    assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })));
}

#[test]
fn a_verifier_key_that_was_exchanged_is_seen() {
    let mut setup = changed();
    put(&setup, "log.vkey", &vkey(OLD));
    assert!(matches!(fault(&setup, None), Fault::OldKeyFile { .. }), "an older one");
    assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })));
    put(&setup, "log.vkey", &vkey(NEXT));
    assert_eq!(Fault::OtherKey, fault(&setup, None), "a foreign one");
    assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })));
    // Also together with the checkpoint: the entries tell whose the log is.
    sign(&setup, &[NEXT]);
    assert_eq!(Fault::OtherKey, fault(&setup, None));
    configure(&mut setup, NEXT, None);
    assert!(setup.try_open().is_ok(), "whoever writes the files and the configuration can go on; who verifies sees it");
    assert_eq!(Fault::OtherKey, fault(&setup, None));
}

#[test]
fn a_rotation_that_the_key_before_did_not_sign_is_seen() {
    let setup = changed();
    let at = rotations(&setup)[0].index;
    let entry = |from: &SigningKey, to: &Vkey, index| Rotation::signed(from, to, index).entry();
    forge(&setup, entry(&key(OLD), key(NEW).vkey(), at), &[NEW]);
    setup.verify();
    let by_another = match (entry(&key(OLD), key(NEW).vkey(), at), entry(&key(NEXT), key(NEW).vkey(), at)) {
        (Entry::KeyRotated { old_key, new_key, reason, .. }, Entry::KeyRotated { signature, .. }) => {
            Entry::KeyRotated { old_key, new_key, reason, signature }
        }
        _ => panic!("other entries"),
    };
    let other = SigningKey::load(&source(NEW), "other.example.com").unwrap();
    for (name, forged, signer) in [
        ("by another key", by_another, NEW),
        ("from another place", entry(&key(OLD), key(NEW).vkey(), at - 1), NEW),
        ("to another log", entry(&key(OLD), other.vkey(), at), OLD),
        ("to itself", entry(&key(OLD), key(OLD).vkey(), at), OLD),
    ] {
        let setup = setup.image();
        forge(&setup, forged, &[signer]);
        for pinned in [vkey(OLD), vkey(NEW)] {
            assert_eq!(Fault::Rotation, fault(&setup, Some(&pinned)), "{name}");
        }
        let failure = verify(&setup.dir(), None).unwrap_err();
        assert_eq!((Fault::Rotation, Some(at)), (failure.fault, failure.index), "{name}");
    }
    // A true one, from a key that is not the one before: whoever has NEXT makes it the log's past.
    forge(&setup, entry(&key(NEXT), key(NEW).vkey(), at), &[NEW]);
    assert_eq!(Fault::OtherKey, fault(&setup, Some(&vkey(OLD))));
    assert!(matches!(fault(&setup, Some(&chain(&changed(), OLD))), Fault::OtherKey));
    let kept = chain(&changed(), NEW);
    forge(&setup, Entry::Clock { step_ms: 1 }, &[NEW]);
    assert_eq!(None, setup.verify().rotations.first(), "as if it had never been replaced");
    assert_eq!(Fault::OtherKey, fault(&setup, Some(&vkey(OLD))));
    assert!(verify(&setup.dir(), Some(&kept)).is_ok(), "nothing stands behind the newest key");
}

/// Whoever stole a key that was replaced lets another one in once more.
#[test]
fn a_key_that_was_replaced_replaces_no_other() {
    let mut setup = changed();
    configure(&mut setup, NEXT, Some(NEW));
    run(&setup);
    let at = rotations(&setup)[1].index;
    forge(&setup, Rotation::signed(&key(NEW), key(NEXT).vkey(), at).entry(), &[NEXT]);
    setup.verify();
    forge(&setup, Rotation::signed(&key(OLD), key(NEXT).vkey(), at).entry(), &[NEXT]);
    for pinned in [None, Some(vkey(OLD)), Some(vkey(NEW)), Some(vkey(NEXT))] {
        assert_eq!(Fault::Rotation, fault(&setup, pinned.as_deref()), "{pinned:?}");
    }
}

/// Whoever writes the files appends entries that are not signed yet: a start would sign them.
#[test]
fn a_rotation_behind_the_checkpoint_is_not_taken_over() {
    let append = |setup: &Setup, rotation: &dyn Fn(u64) -> Rotation| {
        let index = u64::try_from(read(&setup.dir()).len()).unwrap();
        let entry = encode::draft(rotation(index).entry(), clock().now()).unwrap().0.fill(|_| 0);
        let mut bytes = std::fs::read(last_segment(&setup.dir())).unwrap();
        let mut at = HEADER_BYTES;
        let mut next = segment::parse_header(&bytes).unwrap().size();
        while let segment::Frame::Held { end, .. } = segment::frame_at(&bytes, at, next) {
            (at, next) = (end, next + 1);
        }
        let mut frame = Vec::new();
        segment::push_frame(&mut frame, index, entry.as_bytes()).unwrap();
        bytes[at..at + frame.len()].copy_from_slice(&frame);
        std::fs::write(last_segment(&setup.dir()), bytes).unwrap();
    };
    let (old, new, next) = (key(OLD), key(NEW), key(NEXT));
    let lost = |from: &SigningKey, to: &SigningKey| {
        let (from, to) = (from.vkey().clone(), to.vkey().clone());
        move |index| Rotation::without_the_key(&from, &to, index)
    };
    for (name, rotation) in [("away", lost(&next, &new)), ("to the log's key", lost(&next, &old))] {
        let mut setup = before();
        append(&setup, &rotation);
        assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })), "{name}");
        configure(&mut setup, NEW, Some(OLD));
        assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })), "{name}, in a change");
    }
    let mut setup = before();
    append(&setup, &lost(&old, &new));
    assert!(matches!(setup.try_open(), Err(AuditError::KeyIsOut { .. })), "this one has lost it");
    configure(&mut setup, NEW, Some(OLD));
    assert!(matches!(setup.try_open(), Err(AuditError::Damaged { .. })), "whoever has the key does not say that it is lost");
    let mut setup = before();
    append(&setup, &|index| Rotation::signed(&key(OLD), key(NEW).vkey(), index));
    configure(&mut setup, NEW, Some(OLD));
    run(&setup);
    assert_eq!((2, 1), (rotations(&setup).len(), setup.verify().rotations.len()), "as after a kill");
}

#[test]
fn a_start_that_is_refused_puts_no_key_beside_the_log() {
    let mut setup = changing();
    std::fs::remove_file(setup.dir().join("log.vkey")).unwrap();
    configure(&mut setup, OLD, None);
    assert!(matches!(setup.try_open(), Err(AuditError::KeyIsOut { .. })));
    assert!(!setup.dir().join("log.vkey").exists());
    configure(&mut setup, NEW, None);
    run(&setup);
    setup.verify();
}

#[test]
fn a_key_file_that_knows_more_than_the_log_is_not_overruled() {
    let setup = before();
    let mut later = setup.image();
    configure(&mut later, NEW, Some(OLD));
    run(&later);
    let known = chain(&later, OLD);
    assert!(verify(&later.dir(), Some(&known)).is_ok());
    assert!(matches!(fault(&setup, Some(&known)), Fault::SetBack { .. }), "an older copy in its place");
    let note = file(&later, "checkpoint");
    let failure = verify_against(&setup.dir(), Some(&known), Some(&note)).unwrap_err();
    assert!(matches!(failure.fault, Fault::SetBack { .. }), "{failure}");
    // A history without the rotation, by whoever stole the old key.
    let stolen = setup.image();
    (0..3).for_each(|_| run(&stolen));
    assert!(verify(&stolen.dir(), Some(&vkey(OLD))).is_ok());
    assert!(matches!(fault(&stolen, Some(&known)), Fault::OtherRotation { .. }));
    let failure = verify_against(&stolen.dir(), Some(&vkey(OLD)), Some(&note)).unwrap_err();
    assert!(matches!(failure.fault, Fault::Rewritten { .. } | Fault::SetBack { .. }), "{failure}");
}

#[test]
fn a_lost_key_is_replaced_by_an_own_command_and_told_of() {
    let mut setup = before();
    let replace = |setup: &Setup| {
        let clock: Arc<dyn Clock> = setup.clock.clone();
        Log::open_on(setup.disk.clone(), setup.settings.clone(), clock, log::Before::Lost).map(|(log, recovery)| {
            log.close();
            recovery
        })
    };
    assert!(matches!(replace(&setup), Err(AuditError::KeyIsThere { .. })));
    configure(&mut setup, NEW, Some(OLD));
    assert!(matches!(replace(&setup), Err(AuditError::PreviousKey { .. })), "it is there");
    configure(&mut setup, NEW, None);
    let mut none = Setup::new();
    configure(&mut none, NEW, None);
    assert!(matches!(replace(&none), Err(AuditError::NoLog { .. })));
    // Interrupted before each of its steps.
    for (op, path) in [(Op::Sync, "segment-"), (Op::Replace, "checkpoint"), (Op::Replace, "log.vkey")] {
        setup.disk.fail(op, path, 0, std::io::ErrorKind::Other);
        assert!(replace(&setup).is_err(), "{path}");
        setup.disk.mend();
        assert!(matches!(setup.try_open(), Err(AuditError::OtherKey { .. })), "{path}: no start does so by itself");
    }
    assert_eq!((vkey(NEW), Some(vkey(OLD))), replace(&setup).map(|recovery| (recovery.vkey, recovery.replaced)).unwrap());
    run(&setup);
    let report = setup.verify();
    let [rotated] = &report.rotations[..] else { panic!("{report:?}") };
    assert_eq!((vkey(OLD), vkey(NEW), None), (rotated.from.clone(), rotated.to.clone(), rotated.note.clone()));
    assert_eq!("lost", rotations(&setup)[0].value["reason"]);
    // Nobody is led on by it.
    assert!(verify(&setup.dir(), Some(&vkey(NEW))).is_ok());
    assert_eq!(Fault::LostKey { index: rotated.index }, fault(&setup, Some(&vkey(OLD))));
    // What follows is signed again.
    configure(&mut setup, NEXT, Some(NEW));
    run(&setup);
    assert!(verify(&setup.dir(), Some(&vkey(NEW))).unwrap().followed);
    assert!(matches!(fault(&setup, Some(&vkey(OLD))), Fault::LostKey { .. }));
    assert!(Keys::parse(&chain(&setup, NEW)).is_some() && Keys::parse(&chain(&setup, OLD)).is_none());
}

#[test]
fn a_second_directory_keeps_no_checkpoint_of_an_older_key() {
    let mut setup = Setup::with_spare();
    run(&setup);
    let spare = setup.root.path().join("spare");
    std::fs::copy(setup.dir().join("checkpoint"), spare.join("checkpoint")).unwrap();
    configure(&mut setup, NEW, Some(OLD));
    run(&setup);
    configure(&mut setup, NEW, None);
    run(&setup);
    assert_eq!(vec![OLD, NEW], signers(&std::fs::read_to_string(spare.join("checkpoint")).unwrap()));
    setup.verify();
    assert!(newest_note(&[setup.dir(), spare], &[key(NEW).vkey()]).unwrap().is_some());
}

#[test]
fn proofs_of_either_time_are_checked_with_the_chain() {
    let mut setup = before();
    let tiles = Tiles::new(&setup.dir());
    let early = tiles.prove(1).unwrap().unwrap().evidence();
    configure(&mut setup, NEW, Some(OLD));
    run(&setup);
    let between = tiles.prove(1).unwrap().unwrap().evidence();
    configure(&mut setup, NEW, None);
    run(&setup);
    let late = tiles.prove(1).unwrap().unwrap().evidence();
    let (old, new, both) = (vkey(OLD), vkey(NEW), chain(&setup, OLD));
    let seen = |key: &str, proof: &str| check_proof(key, proof, None).map(|checked| checked.index);
    for (name, proof, by_old, by_new) in [("before", &early, true, false), ("between", &between, true, true), ("after", &late, false, true)] {
        assert_eq!((by_old, by_new), (seen(&old, proof).is_ok(), seen(&new, proof).is_ok()), "{name}");
        assert_eq!(Ok(1), seen(&both, proof), "{name}");
    }
    // By whoever stole the old key, over more than it may sign.
    sign(&setup, &[OLD]);
    put(&setup, "log.vkey", &old);
    let stolen = Tiles::new(&setup.dir()).prove(1).unwrap().unwrap().evidence();
    assert_eq!(Ok(1), seen(&old, &stolen), "who knows nothing of the change believes it: tell them");
    assert_eq!(Err(ProofError::KeyIsOut), seen(&both, &stolen));
    assert_eq!(Err(ProofError::NotSigned), seen(&new, &stolen));
}

/// The files do not show it what the entries say.
#[test]
fn a_witness_takes_the_newer_key_only_when_it_is_given() {
    let (mut setup, dir) = (before(), tempfile::tempdir().unwrap());
    let now = Timestamp::from_second(START).unwrap();
    let open = |keys: &[String]| Witness::open(dir.path(), "witness.example.com", &source(3), keys).unwrap();
    let size = |setup: &Setup| Tiles::new(&setup.dir()).offer(0).unwrap().unwrap().size();
    let ask = |witness: &Witness, setup: &Setup, old| {
        let offer = Tiles::new(&setup.dir()).offer(old).unwrap().unwrap();
        witness.add_checkpoint(&offer.to_body(), now).map(|_line| size(setup))
    };
    let witness = open(&[vkey(OLD)]);
    let seen = ask(&witness, &setup, 0).unwrap();
    configure(&mut setup, NEW, Some(OLD));
    run(&setup);
    let seen = ask(&witness, &setup, seen).expect("both have signed");
    configure(&mut setup, NEW, None);
    run(&setup);
    assert!(matches!(ask(&witness, &setup, seen), Err(Unsigned::NotSigned)));
    drop(witness);
    let by_both = [chain(&setup, OLD)];
    for keys in [&by_both[..], &[vkey(NEW)], &[vkey(OLD), vkey(NEW)]] {
        let witness = open(keys);
        assert!(matches!(ask(&witness, &setup, 0), Err(Unsigned::OtherSize { size }) if size == seen), "it remembers what the old one signed");
        let (stolen, memory) = (setup.image(), std::fs::read_dir(dir.path()).unwrap().count());
        sign(&stolen, &[OLD]);
        put(&stolen, "log.vkey", &vkey(OLD));
        let by_thief = ask(&witness, &stolen, seen);
        if keys == by_both {
            assert!(matches!(by_thief, Err(Unsigned::KeyIsOut)), "{by_thief:?}");
        }
        assert_eq!(memory, std::fs::read_dir(dir.path()).unwrap().count(), "one memory for one log");
        if keys != [vkey(OLD), vkey(NEW)] {
            assert!(by_thief.is_err());
        }
    }
    let seen = size(&setup);
    run(&setup);
    assert!(ask(&open(&by_both), &setup, seen).is_ok());
}
