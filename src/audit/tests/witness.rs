//! A witness before logs that grow, that are set back, and that are rewritten.

use super::*;

const NAME: &str = "witness.example.com/compliance";

fn witness_of(dir: &Path, logs: &[&Setup]) -> Result<Witness, AuditError> {
    let keys: Vec<String> = logs.iter().map(|setup| std::fs::read_to_string(setup.dir().join(log::VKEY_FILE)).unwrap()).collect();
    Witness::open(dir, NAME, &SigningKeySource::Bytes(vec![5; 32]), &keys)
}

fn now() -> Timestamp {
    Timestamp::from_second(START + 60).unwrap()
}

fn add(log: &Log, entries: u64) {
    for _ in 0..entries {
        record(log, Entry::Clock { step_ms: 1 });
    }
}

/// A log that was closed at some size.
fn closed(entries: u64) -> Setup {
    let setup = Setup::new();
    let log = setup.open();
    add(&log, entries);
    log.close();
    setup
}

fn grow(setup: &Setup, entries: u64) {
    let log = setup.open();
    add(&log, entries);
    log.close();
}

fn offer(setup: &Setup, old: u64) -> Offer {
    Tiles::new(&setup.dir()).offer(old).unwrap().expect("the log is longer")
}

fn size(setup: &Setup) -> u64 {
    setup.verify().checkpoint_size
}

#[test]
fn a_log_that_grows_is_signed_each_time_and_after_a_restart() {
    let (setup, dir) = (closed(3), tempfile::tempdir().unwrap());
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    let mut old = 0;
    for round in 0..6 {
        let sent = offer(&setup, old);
        let line = witness.add_checkpoint(&sent.to_body(), now()).unwrap();
        let (note, at) = accepted(&sent, &line, &witness.vkey()).unwrap();
        assert_eq!(now(), at);
        assert!(note.starts_with(&sent.checkpoint) && note.ends_with(&line));
        assert!(verify_against(&setup.dir(), None, Some(&note)).is_ok(), "what was witnessed can be held against the log");
        old = size(&setup);
        // What is signed already is signed again.
        assert!(witness.add_checkpoint(&offer(&setup, old).to_body(), now()).is_ok());
        grow(&setup, 100 * round + 1);
    }
    drop(witness);
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    assert!(matches!(witness.add_checkpoint(&offer(&setup, 0).to_body(), now()), Err(Unsigned::OtherSize { size }) if size == old));
    assert!(witness.add_checkpoint(&offer(&setup, old).to_body(), now()).is_ok());
}

#[test]
fn a_log_that_was_set_back_or_rewritten_is_not_signed() {
    let (setup, dir) = (closed(40), tempfile::tempdir().unwrap());
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    let before = setup.image();
    grow(&setup, 300);
    let old = size(&setup);
    witness.add_checkpoint(&offer(&setup, 0).to_body(), now()).unwrap();
    // Set back, with the checkpoint of that time.
    assert_eq!(None, Tiles::new(&before.dir()).offer(old).unwrap());
    assert!(matches!(witness.add_checkpoint(&offer(&before, 0).to_body(), now()), Err(Unsigned::OtherSize { size }) if size == old));
    assert!(matches!(witness.add_checkpoint(&Offer { old, ..offer(&before, 0) }.to_body(), now()), Err(Unsigned::Backwards)));
    // Another history by whoever holds the key: shorter, of the same length, longer.
    let log = before.open();
    while log.metrics().entries < old - 1 {
        record(&log, Entry::Clock { step_ms: 2 });
    }
    log.close();
    assert_eq!(old, size(&before));
    assert!(matches!(witness.add_checkpoint(&offer(&before, old).to_body(), now()), Err(Unsigned::OtherRoot { size }) if size == old));
    grow(&before, 50);
    assert!(matches!(witness.add_checkpoint(&offer(&before, old).to_body(), now()), Err(Unsigned::NotConsistent { old: at }) if at == old));
    // The true one is signed all the same.
    grow(&setup, 5);
    assert!(witness.add_checkpoint(&offer(&setup, old).to_body(), now()).is_ok());
}

#[test]
fn what_is_no_offer_of_a_known_log_is_refused() {
    let (setup, dir) = (closed(300), tempfile::tempdir().unwrap());
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    witness.add_checkpoint(&offer(&setup, 0).to_body(), now()).unwrap();
    let old = size(&setup);
    grow(&setup, 77);
    let good = offer(&setup, old).to_body();
    let refused = |body: &str| witness.add_checkpoint(body, now()).unwrap_err();
    for malformed in
        ["", "old 1\n", &good.replace("old ", "size "), &good.replace("old ", "old 0"), &good.replacen('\n', "\n!\n", 1), &good.replace("\n\n", "\n")]
    {
        assert!(matches!(refused(malformed), Unsigned::Malformed), "{malformed}");
    }
    let many = good.replacen('\n', &format!("\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64)), 1);
    assert!(matches!(refused(&many), Unsigned::Malformed));
    assert!(matches!(refused(&good.replace(ORIGIN, "other.example.com")), Unsigned::UnknownLog));
    let size = size(&setup);
    assert!(matches!(refused(&good.replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1))), Unsigned::NotSigned));
    let lines: Vec<&str> = good.split('\n').collect();
    let without_a_hash = [&lines[..1], &lines[2..]].concat().join("\n");
    assert!(matches!(refused(&without_a_hash), Unsigned::NotConsistent { .. }));
    assert!(witness.add_checkpoint(&good, now()).is_ok(), "nothing of that was remembered");
}

#[test]
fn an_answer_counts_only_with_the_witness_signature() {
    let (setup, dir, elsewhere) = (closed(5), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    let other = Witness::open(elsewhere.path(), NAME, &SigningKeySource::Bytes(vec![6; 32]), &[]).unwrap();
    let sent = offer(&setup, 0);
    let line = witness.add_checkpoint(&sent.to_body(), now()).unwrap();
    assert!(accepted(&sent, &line, &witness.vkey()).is_ok());
    assert!(accepted(&sent, &line, &other.vkey()).is_err(), "another key of the same name");
    assert!(accepted(&sent, "", &witness.vkey()).is_err());
    assert!(accepted(&sent, &line.replace("AAA", "AAB"), &witness.vkey()).is_err());
    grow(&setup, 1);
    assert!(accepted(&offer(&setup, 0), &line, &witness.vkey()).is_err(), "of another checkpoint");
}

#[test]
fn a_memory_that_was_changed_or_is_in_use_signs_nothing() {
    let (setup, dir) = (closed(5), tempfile::tempdir().unwrap());
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    assert!(matches!(witness_of(dir.path(), &[&setup]), Err(AuditError::Locked { .. })), "one process for a folder");
    witness.add_checkpoint(&offer(&setup, 0).to_body(), now()).unwrap();
    let file = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).find(|p| p.file_name().unwrap().len() == 64).unwrap();
    let kept = std::fs::read_to_string(&file).unwrap();
    for changed in ["", &kept.replace("\u{2014} witness", "\u{2014} witless"), &kept.replacen('\n', "\n9", 1)] {
        std::fs::write(&file, changed).unwrap();
        assert!(matches!(witness.add_checkpoint(&offer(&setup, size(&setup)).to_body(), now()), Err(Unsigned::Memory { .. })), "{changed}");
    }
}

#[test]
fn a_proof_leads_to_what_a_witness_has_seen() {
    let (setup, dir) = (closed(300), tempfile::tempdir().unwrap());
    let vkey = std::fs::read_to_string(setup.dir().join(log::VKEY_FILE)).unwrap();
    let witness = witness_of(dir.path(), &[&setup]).unwrap();
    let (seen, sent) = (size(&setup), offer(&setup, 0));
    let (note, _) = accepted(&sent, &witness.add_checkpoint(&sent.to_body(), now()).unwrap(), &witness.vkey()).unwrap();
    keep_witnessed(&setup.dir(), &witness.vkey(), &note).unwrap();
    grow(&setup, 30);
    let tiles = Tiles::new(&setup.dir());
    let checked = |index, witness: Option<&str>| check_proof(&vkey, &tiles.prove(index).unwrap().unwrap().receipt(), witness);
    assert_eq!((seen, Some(now())), checked(seen - 1, Some(&witness.vkey())).map(|c| (c.size, c.witnessed_at)).unwrap());
    assert_eq!(None, checked(seen - 1, None).unwrap().witnessed_at);
    assert_eq!(Err(ProofError::NotWitnessed), checked(seen, Some(&witness.vkey())), "of what came later only the log's own word is there");
    assert!(checked(seen, None).unwrap().size > seen);
    assert_eq!(Err(ProofError::NotAWitness), checked(0, Some(&vkey)));
    // A file that says something else is not believed.
    keep_witnessed(&setup.dir(), &witness.vkey(), &note.replacen(&format!("\n{seen}\n"), &format!("\n{}\n", seen + 5), 1)).unwrap();
    assert!(checked(0, None).unwrap().size > seen);
}
