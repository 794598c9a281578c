//! Grants that may be relied on only so often: taken before release, never twice, never given back.

use std::thread;

use crate::model::EventId;

use super::*;

/// Ann allows so many uses; the event.
fn allow(bench: &Bench, uses: u32) -> EventId {
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.uses = Some(uses);
    bench.record(draft).unwrap().event
}

fn is_open(bench: &Bench) -> bool {
    bench.state("crm:1", "marketing.email") == State::Given
}

#[test]
fn while_uses_remain_nothing_but_their_number_changes() {
    let bench = bench();
    let grant = allow(&bench, 3);
    let (revision, before) = (bench.ledger.revision(), bench.ledger.standing(&id("crm:1")).unwrap().unwrap());
    assert_eq!(bench.effective("crm:1", "marketing.email").limited, [grant]);
    for _ in 0..2 {
        assert_eq!(bench.ledger.reserve_uses(&[grant]), Ok(vec![]));
        assert_eq!(bench.ledger.revision(), revision);
        let now = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
        assert!(Arc::ptr_eq(&now.profile, &before.profile) && now.revision == before.revision);
    }
    // What is read anew after a later change still knows how many are left.
    bench.advance(1);
    bench.say("crm:1", "sales", State::Given);
    assert!(is_open(&bench));
    assert_eq!(bench.ledger.reserve_uses(&[grant]).unwrap().len(), 1, "the third was the last");
    assert!(!is_open(&bench));
}

#[test]
fn the_last_use_ends_the_grant_and_tells_whose_revision_moved() {
    let bench = bench();
    let grant = allow(&bench, 1);
    let before = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    let moved = bench.ledger.reserve_uses(&[grant]).unwrap();
    let after = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    assert_eq!(moved, [Moved { party: before.party, from: before.revision, to: after.revision }]);
    assert!(after.revision > before.revision, "requests in flight are decided anew");
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Expired);
    let changes = bench.ledger.changes(before.revision, 10).unwrap();
    assert_eq!(
        changes.iter().map(|c| (c.kind, c.event, c.party, c.state.as_str())).collect::<Vec<_>>(),
        [(ChangeKind::UsedUp, Some(grant), Some(before.party), "expired")]
    );
    assert_eq!(bench.ledger.reserve_uses(&[grant]), Err(ConsentError::UsedUp));
    assert_eq!(bench.ledger.revision(), after.revision, "what is refused changes nothing");
    // Only a new grant opens again.
    bench.advance(120);
    allow(&bench, 1);
    assert!(is_open(&bench));
}

#[test]
fn an_event_named_twice_is_used_once_and_all_are_taken_or_none() {
    let bench = bench();
    let two = allow(&bench, 2);
    bench.advance(120);
    let mut draft = bench.draft("crm:1", "sales", State::Given);
    draft.uses = Some(1);
    let one = bench.record(draft).unwrap().event;
    assert_eq!(bench.ledger.reserve_uses(&[two, two]), Ok(vec![]));
    assert_eq!(bench.ledger.reserve_uses(&[one]).unwrap().len(), 1);
    assert_eq!(bench.ledger.reserve_uses(&[two, one]), Err(ConsentError::UsedUp));
    assert!(is_open(&bench), "the other was not taken");
    assert_eq!(bench.ledger.reserve_uses(&[two]).unwrap().len(), 1);
    assert!(!is_open(&bench));
}

#[test]
fn two_last_uses_of_one_customer_move_them_once() {
    let bench = bench();
    let first = allow(&bench, 1);
    let mut draft = bench.draft("crm:1", "sales", State::Given);
    draft.uses = Some(1);
    let second = bench.record(draft).unwrap().event;
    let from = bench.ledger.standing(&id("crm:1")).unwrap().unwrap().revision;
    let moved = bench.ledger.reserve_uses(&[first, second]).unwrap();
    let to = bench.ledger.standing(&id("crm:1")).unwrap().unwrap().revision;
    assert_eq!(moved.iter().map(|m| (m.from, m.to)).collect::<Vec<_>>(), [(from, to)]);
}

#[test]
fn what_is_no_limited_grant_of_anybody_has_no_uses() {
    let bench = bench();
    let unlimited = bench.say("crm:1", "marketing.email", State::Given).event;
    let stop = bench.stop("crm:1", StopKind::OptOutGpc).event;
    let mut draft = bench.draft("crm:77", "marketing.email", State::Given);
    draft.uses = Some(5);
    let nobodys = bench.record(draft).unwrap().event;
    for event in [unlimited, stop, nobodys, EventId(9_999)] {
        assert_eq!(bench.ledger.reserve_uses(&[event]), Err(ConsentError::NotFound), "{event}");
    }
    assert_eq!(bench.ledger.reserve_uses(&[]), Ok(vec![]));
}

#[test]
fn of_many_who_race_for_the_last_use_one_gets_it() {
    for _ in 0..20 {
        let bench = bench();
        let grant = allow(&bench, 2);
        bench.ledger.reserve_uses(&[grant]).unwrap();
        let taken = thread::scope(|scope| {
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.ledger.reserve_uses(&[grant]))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(taken.iter().filter(|answer| answer.is_ok()).count(), 1, "{taken:?}");
        assert!(taken.iter().all(|answer| matches!(answer, Ok(_) | Err(ConsentError::UsedUp))), "{taken:?}");
    }
}

#[test]
fn a_use_taken_before_a_crash_stays_taken() {
    let bench = bench();
    let grant = allow(&bench, 2);
    bench.ledger.reserve_uses(&[grant]).unwrap();
    // The process ends here: the answer that was to follow never went out.
    let again = bench.reopened();
    assert_eq!(again.reserve_uses(&[grant]).unwrap().len(), 1, "one was left");
    let third = bench.reopened();
    assert_eq!(third.reserve_uses(&[grant]), Err(ConsentError::UsedUp));
    let standing = third.standing(&id("crm:1")).unwrap().unwrap();
    let ask = standing.status(&bench.vocabulary, &rules(), purpose("marketing.email"), category("contact"), department("marketing"), Channel::Email);
    assert_eq!(ask.state, State::Expired);
}

#[test]
fn nothing_is_taken_while_the_store_is_away() {
    let bench = bench();
    let grant = allow(&bench, 1);
    bench.switch.down();
    assert!(matches!(bench.ledger.reserve_uses(&[grant]), Err(ConsentError::Unavailable(_))));
    bench.switch.up();
    bench.advance(2);
    bench.ledger.tick(bench.now()).unwrap();
    assert!(is_open(&bench));
    assert_eq!(bench.ledger.reserve_uses(&[grant]).unwrap().len(), 1);
}

#[test]
fn a_use_whose_fate_is_not_known_is_taken_if_the_store_has_it() {
    for uses in [1, 2] {
        let bench = bench();
        let grant = allow(&bench, uses);
        bench.switch.commits_in_doubt();
        assert!(matches!(bench.ledger.reserve_uses(&[grant]), Err(ConsentError::Unavailable(_))));
        bench.switch.up();
        bench.ledger.tick(bench.now()).unwrap();
        assert_eq!(is_open(&bench), uses == 2);
        let next = bench.ledger.reserve_uses(&[grant]).map(|moved| moved.len());
        assert_eq!(next, if uses == 2 { Ok(1) } else { Err(ConsentError::UsedUp) }, "{uses}");
    }
}

#[test]
fn an_erased_customer_has_no_uses_left() {
    let bench = bench();
    let grant = allow(&bench, 3);
    bench.advance(120);
    let mut draft = StopDraft::new(id("crm:1"), StopKind::Erasure);
    draft.event_time = Some(bench.now());
    bench.ledger.add_stop(draft, &staff()).unwrap();
    assert_eq!(bench.ledger.reserve_uses(&[grant]), Err(ConsentError::NotFound));
}
