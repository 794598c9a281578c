//! Restart, faults, repetition, outbox.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::model::{Age, ConsentStatus, LawfulBasis, Revision, Stage};

use super::*;

#[test]
fn a_restart_keeps_everything() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    bench.stop("email:ann@example.org", StopKind::OptOutGpc);
    let facts = FactsDraft { age: Some(Age::Minor), source: "desk".to_owned(), ..FactsDraft::default() };
    bench.ledger.put_facts(&id("crm:1").into(), &facts).unwrap();
    bench.stop("crm:99", StopKind::Erasure);
    let again = bench.reopened();
    let (before, after) = (bench.ledger.standing(&id("crm:1")).unwrap().unwrap(), again.standing(&id("crm:1")).unwrap().unwrap());
    assert_eq!((before.party, before.revision, &before.profile), (after.party, after.revision, &after.profile));
    assert_eq!((after.facts.age, after.facts.stage), (Age::Minor, Stage::Lead));
    assert!(before.events.iter().eq(after.events.iter()));
    assert_eq!(bench.ledger.revision(), again.revision());
    assert!(after.profile.has_gpc());
    assert!(again.match_stops(&[id("crm:99")]).unwrap().erased);
    assert_eq!(again.history(&id("crm:1").into()).unwrap(), bench.ledger.history(&id("crm:1").into()).unwrap());
}

#[test]
fn what_ran_out_while_stopped_is_closed_at_start() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.expires = Some(bench.now() + seconds(10));
    bench.record(draft).unwrap();
    bench.advance(11);
    let again = bench.reopened();
    let standing = again.standing(&id("crm:1")).unwrap().unwrap();
    let ask = standing.status(&bench.vocabulary, &rules(), purpose("marketing.email"), category("contact"), department("marketing"), Channel::Email);
    assert_eq!(ask.state, State::Expired);
    // And stays closed when the clock is turned back.
    bench.clock.step_to(bench.now() - seconds(3600));
    let third = bench.reopened();
    assert_eq!(third.standing(&id("crm:1")).unwrap().unwrap().profile, standing.profile);
}

#[test]
fn a_stop_while_the_store_is_down_binds_at_once_and_is_stored_later() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    let mut draft = bench.draft("crm:1", "marketing.email", State::Withdrawn);
    draft.idempotency_key = Some(key(&centre(), 1));
    bench.switch.down();
    let Err(ConsentError::AppliedNotStored { event }) = bench.record(draft.clone()) else { panic!("must say that it is not stored") };
    assert!(bench.ledger.standing(&id("crm:1")).is_err(), "nothing is released from that moment on");
    // Repeated while still down: the same event, not a second one.
    assert_eq!(bench.record(draft.clone()), Err(ConsentError::AppliedNotStored { event }));
    bench.switch.up();
    bench.advance(2);
    assert!(bench.ledger.standing(&id("crm:1")).is_err(), "nor when the store is back and does not hold it yet");
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
    let done = bench.record(draft).unwrap();
    assert_eq!((&done.event, done.in_force_after), (&event, None));
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
    let stored = bench.reopened().history(&id("crm:1").into()).unwrap();
    assert_eq!(stored.iter().filter(|row| row.event.id == event).count(), 1);
}

#[test]
fn the_tick_brings_waiting_stops_to_the_store_and_the_outbox() {
    let bench = bench();
    bench.switch.down();
    let mut draft = StopDraft::new(id("crm:1"), StopKind::Restriction);
    draft.event_time = Some(bench.now());
    assert!(matches!(bench.ledger.add_stop(draft, &centre()), Err(ConsentError::AppliedNotStored { .. })));
    assert!(bench.ledger.tick(bench.now()).is_err());
    bench.switch.up();
    assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
    let changes = bench.ledger.pending_changes(Revision(0), 100).unwrap();
    assert_eq!(changes.last().map(|c| (c.kind, c.state.as_str())), Some((ChangeKind::Stop, "restriction")));
    let again = bench.reopened();
    assert_eq!(again.standing(&id("crm:1")).unwrap().unwrap().profile.stop_names(), ["restriction"]);
    assert_eq!(again.revision(), bench.ledger.revision());
}

#[test]
fn grants_facts_links_and_lifts_are_refused_while_the_store_is_down() {
    let bench = bench();
    let stop = bench.stop("crm:1", StopKind::Restriction);
    bench.switch.down();
    let down = |error: ConsentError| assert!(matches!(error, ConsentError::Unavailable(_)), "{error:?}");
    down(bench.record(bench.draft("crm:1", "marketing.email", State::Given)).unwrap_err());
    let facts = FactsDraft { stage: Some(Stage::Customer), source: "desk".to_owned(), ..FactsDraft::default() };
    down(bench.ledger.put_facts(&id("crm:1").into(), &facts).unwrap_err());
    down(bench.ledger.link_created(&id("crm:5"), &[]).unwrap_err());
    let lift = LiftDraft { stop: stop.event, reason: "verified".to_owned(), evidence: evidence(), idempotency_key: None };
    down(bench.ledger.lift_stop(lift, &staff()).unwrap_err());
    assert!(bench.ledger.standing(&id("crm:1")).is_err(), "nothing is released on it meanwhile");
    bench.switch.up();
    bench.advance(2);
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Unknown);
    assert_eq!(bench.floor("crm:1", "sales", LawfulBasis::Contract), Err("restriction"));
}

#[test]
fn a_commit_in_doubt_is_settled_by_reading_anew() {
    let bench = bench();
    bench.switch.in_doubt();
    assert!(bench.record(bench.draft("crm:1", "marketing.email", State::Given)).is_err());
    let stop = bench.ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::OptOutSale), &centre());
    assert!(matches!(stop, Err(ConsentError::AppliedNotStored { .. })));
    bench.switch.up();
    bench.advance(2);
    assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
    // The grant did take place; the stop after it holds.
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("opt-out"));
    bench.stop("crm:1", StopKind::Restriction);
    assert_eq!(bench.reopened().revision(), bench.ledger.revision());
}

#[test]
fn a_stop_that_was_stored_although_the_store_said_no_is_not_stored_twice() {
    let bench = bench();
    bench.switch.in_doubt();
    let stop = bench.ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::Restriction), &centre());
    assert!(matches!(stop, Err(ConsentError::AppliedNotStored { .. })));
    bench.switch.up();
    assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
    assert_eq!(bench.ledger.history(&id("crm:1").into()).unwrap().len(), 1);
    bench.say("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.reopened().history(&id("crm:1").into()).unwrap().len(), 2);
}

#[test]
fn a_removed_replaced_or_overwritten_database_is_away() {
    let spoil: [Spoil<PathBuf>; 4] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced by a copy", |path| {
            let copy = path.with_extension("copy");
            fs::copy(&*path, &copy).unwrap();
            fs::rename(&copy, &*path).unwrap();
        }),
        ("overwritten", |path| fs::write(path, vec![0x5a; 20_000]).unwrap()),
        ("cut off", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap()),
    ];
    for (how, spoil) in spoil {
        let bench = bench();
        // What stands in the write-ahead log only would survive damage to the main file.
        drop(bench.reopened());
        let mut path = bench.dir.path().join("consent.db");
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        assert_eq!(bench.ledger.healthy(), Ok(()), "{how}");
        spoil(&mut path);
        bench.advance(1);
        assert!(bench.ledger.healthy().is_err(), "{how}");
        assert!(bench.ledger.standing(&id("crm:1")).is_err(), "{how}");
        let grant = bench.record(bench.draft("crm:1", "marketing.email", State::Given));
        assert!(matches!(grant, Err(ConsentError::Unavailable(_))), "{how}: {grant:?}");
        let stop = bench.ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::Restriction), &centre());
        assert!(matches!(stop, Err(ConsentError::AppliedNotStored { .. })), "{how}: {stop:?}");
    }
}

#[test]
fn a_file_that_is_no_database_does_not_open() {
    let bench = empty_bench();
    let path = bench.dir.path().join("torn.db");
    fs::write(&path, b"not a database at all, but long enough to look at").unwrap();
    assert!(Ledger::open(&path, Arc::clone(&bench.clock) as Arc<dyn Clock>).is_err());
    assert!(Ledger::open(&bench.dir.path().join("no/such/folder.db"), Arc::clone(&bench.clock) as Arc<dyn Clock>).is_err());
}

#[test]
fn a_second_process_does_not_get_the_database() {
    let bench = empty_bench();
    let path = bench.dir.path().join("consent.db");
    let open = || Ledger::open(&path, Arc::clone(&bench.clock) as Arc<dyn Clock>);
    let first = open().unwrap();
    let second = open().unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
    drop(first);
    assert!(open().is_ok());
}

#[test]
fn nothing_is_answered_before_policies_are_adopted() {
    let bench = bench();
    let bare = Ledger::open(&bench.dir.path().join("consent.db"), Arc::clone(&bench.clock) as Arc<dyn Clock>).unwrap();
    assert!(bare.standing(&id("crm:1")).is_err());
    assert!(bare.rules().is_err());
}

#[test]
fn the_same_key_gives_the_first_answer_and_another_body_is_a_mismatch() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.idempotency_key = Some(key(&centre(), 1));
    let first = bench.record(draft.clone()).unwrap();
    bench.advance(60);
    let second = bench.record(draft.clone()).unwrap();
    assert_eq!((&first.event, first.revision, first.party), (&second.event, second.revision, second.party));
    assert_eq!(bench.ledger.revision(), first.revision);
    let other = EventDraft { subject: id("crm:2").into(), idempotency_key: Some(key(&centre(), 2)), ..draft.clone() };
    assert_eq!(bench.record(other), Err(ConsentError::IdempotencyMismatch));
    let by_staff = EventDraft { idempotency_key: Some(key(&staff(), 1)), ..draft.clone() };
    let by_staff = bench.ledger.record(by_staff, &staff()).unwrap();
    assert_ne!(by_staff.event, first.event, "keys are per caller");
    bench.advance(24 * 3600);
    let mut later = draft;
    later.event_time = Some(bench.now());
    assert_ne!(bench.record(later).unwrap().event, first.event, "a key is free again after a day");
}

#[test]
fn the_outbox_offers_each_change_until_it_is_logged() {
    let bench = bench();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    bench.ledger.set_change_listener(Box::new(move |change| tell.lock().unwrap().push(change.clone())));
    let from = bench.ledger.revision();
    let first = bench.say("crm:1", "marketing.email", State::Given);
    let second = bench.stop("crm:1", StopKind::ObjectionMarketing);
    let pending = bench.ledger.pending_changes(from, 10).unwrap();
    assert_eq!(*told.lock().unwrap(), pending);
    assert_eq!(pending.iter().map(|c| c.event.unwrap()).collect::<Vec<_>>(), [first.event, second.event]);
    bench.ledger.mark_logged(first.revision).unwrap();
    let pending = bench.reopened().pending_changes(Revision(0), 10).unwrap();
    assert_eq!(pending.iter().map(|c| c.event).collect::<Vec<_>>(), [Some(second.event)]);
}

#[test]
fn numbers_are_dense_and_not_reissued_after_an_erasure() {
    let bench = bench();
    bench.stop("crm:1", StopKind::Erasure);
    let next = bench.ledger.link_created(&id("crm:2"), &[]).unwrap();
    assert_eq!((party_of(&bench, "crm:1").0, next.0), (1, 2));
    assert_eq!(bench.ledger.link_created(&id("crm:2"), &[]).unwrap(), next, "the same answer when asked again");
}

#[test]
fn no_personal_value_stands_in_what_is_debugged_or_said() {
    let bench = bench();
    let standing = bench.ledger.standing(&id("email:ann@example.org")).unwrap();
    let error = bench.ledger.show_party(&id("email:bob@example.org").into()).unwrap_err();
    let draft = bench.draft("email:bob@example.org", "marketing", State::Refused);
    let text = format!("{standing:?} {:?} {error} {draft:?} {:?}", bench.ledger, bench.ledger.reading());
    assert!(!text.contains("example.org"), "{text}");
}

#[test]
fn stops_on_a_customers_own_id_wait_together_and_are_stored_together() {
    let bench = bench();
    let own = PartyRef::Party(bench.ledger.show_party(&id("crm:1").into()).unwrap().id);
    bench.switch.down();
    for kind in [StopKind::Restriction, StopKind::OptOutGpc] {
        let taken = bench.ledger.add_stop(StopDraft::new(own.clone(), kind), &centre());
        assert!(matches!(taken, Err(ConsentError::AppliedNotStored { .. })), "{taken:?}");
    }
    bench.switch.up();
    bench.advance(2);
    assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
    for ledger in [&bench.ledger, &bench.reopened()] {
        assert_eq!(ledger.standing(&id("crm:1")).unwrap().unwrap().profile.stop_names(), ["opt-out", "restriction"]);
    }
}

#[test]
fn a_stop_that_is_repeated_while_the_store_is_down_does_not_hold_up_its_recovery() {
    let bench = bench();
    let mut draft = StopDraft::new(id("crm:1"), StopKind::Restriction);
    draft.idempotency_key = Some(key(&centre(), 1));
    let first = bench.ledger.add_stop(draft.clone(), &centre()).unwrap();
    bench.switch.down();
    assert!(bench.ledger.add_stop(draft.clone(), &centre()).is_err());
    bench.switch.up();
    bench.advance(2);
    assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
    assert_eq!(bench.ledger.add_stop(draft, &centre()).unwrap().event, first.event, "the first answer stays");
}

#[test]
fn an_erasure_in_doubt_leaves_no_id_behind_once_it_is_settled() {
    for in_doubt in [false, true] {
        let bench = bench();
        if in_doubt {
            bench.switch.in_doubt()
        } else {
            bench.switch.down()
        }
        for kind in [StopKind::Erasure, StopKind::OptOutGpc] {
            assert!(bench.ledger.add_stop(StopDraft::new(id("crm:1"), kind), &centre()).is_err());
        }
        bench.switch.up();
        bench.advance(2);
        assert_eq!(bench.ledger.tick(bench.now()), Ok(0));
        let kept = |ledger: &Ledger| ledger.reading().crosswalk.get(&id("crm:1"));
        assert_eq!((kept(&bench.ledger), kept(&bench.reopened())), (None, None));
        assert_eq!(bench.ledger.store.events(&[id("crm:1")]).unwrap(), [], "nor is it written down again");
        assert_eq!(bench.floor("crm:1", "sales", LawfulBasis::Contract), Err("erasure"));
    }
}

#[test]
fn a_notice_whose_fate_was_not_known_takes_force_when_it_was_stored() {
    let bench = bench();
    let notice = |version: &str, supersedes| NoticeVersion {
        notice: Notice { id: "news".to_owned(), version: version.to_owned(), purposes: vec![purpose("marketing.email")], ..Notice::default() },
        language: "en".to_owned(),
        hash: "0".repeat(64),
        text: None,
        url: None,
        valid_from: bench.now(),
        valid_to: None,
        supersedes,
        revision: Revision(0),
    };
    bench.ledger.add_notice(notice("1", false), None).unwrap();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.notice = Some(Notice { id: "news".to_owned(), version: "1".to_owned(), ..Notice::default() });
    bench.record(draft).unwrap();
    bench.advance(1);
    bench.switch.in_doubt();
    assert!(bench.ledger.add_notice(notice("2", true), None).is_err());
    bench.switch.up();
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Superseded);
}

fn party_of(bench: &Bench, who: &str) -> crate::model::PartyNo {
    bench.ledger.show_party(&id(who).into()).unwrap().no
}

/// The key `k1` of a caller for the request with this body.
fn key(caller: &Capturer, body: u8) -> IdempotencyKey {
    IdempotencyKey::new(caller, "k1", [body; 32])
}
