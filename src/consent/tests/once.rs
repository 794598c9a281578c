//! Two requests under one key at the same time: the second one finds under the writer that it was done, and changes nothing.

use crate::model::{Revision, Stage};

use super::*;

fn key(body: u8) -> IdempotencyKey {
    IdempotencyKey::new(&staff(), "k-1", [body; 32])
}

type Write = (&'static str, fn(&Bench, &IdempotencyKey) -> Result<(), ConsentError>);

const WRITES: [Write; 10] = [
    ("merge", |bench, key| {
        let draft = MergeDraft { into: id("crm:1").into(), from: id("crm:2").into(), time: None, reason: "same person".to_owned() };
        bench.ledger.merge(&draft, By { caller: &staff(), key: Some(key) }).map(drop)
    }),
    ("split", |bench, key| {
        let off = SplitOff::Identifiers(vec![id("email:ann@example.org")]);
        bench.ledger.split(&id("crm:1").into(), &off, "two persons", By { caller: &staff(), key: Some(key) }).map(drop)
    }),
    ("hold", |bench, key| bench.ledger.hold(&id("crm:1").into(), true, "claim", By { caller: &staff(), key: Some(key) }).map(drop)),
    ("facts", |bench, key| {
        let facts = FactsDraft { stage: Some(Stage::Customer), source: "crm".to_owned(), ..FactsDraft::default() };
        bench.ledger.put_facts(&id("crm:1").into(), &FactsDraft { idempotency_key: Some(key.clone()), ..facts }).map(drop)
    }),
    ("link", |bench, key| {
        let by = By { caller: &staff(), key: Some(key) };
        bench.ledger.link(&id("crm:1").into(), &id("crm:9"), Assurance::Asserted, by).map(drop)
    }),
    ("kind", |bench, key| {
        let by = By { caller: &staff(), key: Some(key) };
        bench.ledger.change_kind(&id("crm:2").into(), PartyKind::Organisation, "a company", by).map(drop)
    }),
    ("notice", |bench, key| {
        let version = NoticeVersion {
            notice: Notice { id: "news".to_owned(), version: "1".to_owned(), purposes: vec![purpose("marketing")], ..Notice::default() },
            language: "en".to_owned(),
            text: None,
            hash: "7".repeat(64),
            url: None,
            valid_from: bench.now(),
            valid_to: None,
            supersedes: false,
            revision: Revision(0),
        };
        bench.ledger.add_notice(version, Some(key)).map(drop)
    }),
    ("document", |bench, key| {
        bench.ledger.put_documents(vec![Document { kind: "webhook", key: "w".to_owned(), body: Some("{}".to_owned()) }], Some(key), None)
    }),
    ("customers", |bench, key| bench.ledger.import_parties("identifiers\ncrm:7\n".as_bytes(), false, &normalise, &mut |_| {}, Some(key)).map(drop)),
    ("statements", |bench, key| {
        // The next piece each time: it is by its key alone that it is known.
        let offset = bench.ledger.import_progress("7d").unwrap().map_or(0, |progress| progress.offset);
        let bytes = b"id,state,purposes\ncrm:1,withdrawn,sales\n";
        let piece = ImportPiece { key: "7d", line: 2, offset, length: 10, bytes, is_array: false };
        let around = Surroundings { activities: &[], normalise: &normalise };
        let by = By { caller: &staff(), key: Some(key) };
        bench.ledger.import_consents(&piece, &ImportOptions::new(ImportFormat::Csv), &around, by, false).map(drop)
    }),
];

#[test]
fn what_was_done_under_a_key_is_refused_under_the_writer() {
    for (name, write) in WRITES {
        let bench = bench();
        bench.import("identifiers\ncrm:2\n");
        write(&bench, &key(1)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let kept = || (bench.ledger.revision(), ["webhook", "notice", "import"].map(|kind| bench.ledger.documents(kind).unwrap()));
        let before = kept();
        assert_eq!(write(&bench, &key(1)), Err(ConsentError::DoneBefore), "{name}");
        assert_eq!(write(&bench, &key(2)), Err(ConsentError::IdempotencyMismatch), "{name}");
        assert_eq!(kept(), before, "{name} changed something");
        bench.advance(25 * 3600);
        assert_ne!(write(&bench, &key(2)), Err(ConsentError::IdempotencyMismatch), "{name}: a key is kept for a day");
    }
}

#[test]
fn while_the_store_is_away_nothing_is_taken_to_be_new() {
    for (name, write) in WRITES {
        let bench = bench();
        bench.import("identifiers\ncrm:2\n");
        write(&bench, &key(1)).unwrap();
        bench.switch.down();
        // Progress, too, is asked of the store.
        if name != "statements" {
            assert!(matches!(write(&bench, &key(1)), Err(ConsentError::Unavailable(_))), "{name}");
        }
        assert!(matches!(bench.ledger.done(&key(1)), Err(ConsentError::Unavailable(_))), "{name}");
    }
}

#[test]
fn whoever_asks_what_was_done_waits_for_no_writer() {
    let bench = bench();
    bench.ledger.hold(&id("crm:1").into(), true, "claim", By { caller: &staff(), key: Some(&key(1)) }).unwrap();
    let writer = bench.ledger.begin();
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| told.send(bench.ledger.done(&key(1))).unwrap());
        let answer = tells.recv_timeout(Duration::from_secs(5));
        drop(writer);
        assert!(matches!(answer, Ok(Ok(Some(_)))), "{answer:?}");
    });
}

#[test]
fn while_a_stop_binds_that_is_not_stored_whoever_repeats_it_is_told_so() {
    let bench = bench();
    let draft = || StopDraft { idempotency_key: Some(key(1)), ..StopDraft::new(id("crm:1"), StopKind::Suppression) };
    bench.switch.down();
    let Err(ConsentError::AppliedNotStored { event }) = bench.ledger.add_stop(draft(), &staff()) else { panic!("it binds") };
    assert_eq!(bench.ledger.done(&key(1)), Err(ConsentError::AppliedNotStored { event }));
    assert_eq!(bench.ledger.done(&key(2)), Err(ConsentError::IdempotencyMismatch));
    bench.switch.up();
    assert_eq!(bench.ledger.done(&key(1)).unwrap().and_then(|done| done.event), Some(event));
}
