//! What was the case at one time, as far as was known at another.

use super::*;

const MAIL: &str = "marketing.email";

fn asked() -> Asked {
    Asked { purpose: Some(purpose(MAIL)), category: Some(category("contact")), recipient: Some(department("marketing")) }
}

fn ask(bench: &Bench, who: &str, at: Option<Timestamp>, known_at: Option<Timestamp>) -> Result<Effectives, ConsentError> {
    let (space, value) = who.split_once(':').unwrap();
    let party = if space == "party" { PartyRef::Party(crate::model::PartyId(value.to_owned())) } else { id(who).into() };
    bench.ledger.effective(&party, asked(), AsOf { at, known_at })
}

/// The state at a time, as known at another; at noon of a day of March 2026.
fn state(bench: &Bench, who: &str, at: u8, known_at: u8) -> State {
    ask(bench, who, Some(noon(at)), Some(noon(known_at))).unwrap().rows[0].consent.state
}

fn noon(day: u8) -> Timestamp {
    time(&format!("2026-03-{day:02}T12:00:00Z"))
}

/// Lets days pass until noon of a day.
fn until(bench: &Bench, day: u8) {
    let seconds = noon(day).duration_since(bench.now()).as_secs();
    bench.advance(u64::try_from(seconds).unwrap());
    bench.ledger.tick(bench.now()).unwrap();
}

#[test]
fn a_stop_that_was_recorded_late_counts_from_when_it_was_meant_but_was_not_known_before() {
    let bench = bench();
    bench.say("crm:1", MAIL, State::Given);
    until(&bench, 10);
    let mut refusal = bench.draft("crm:1", MAIL, State::Withdrawn);
    refusal.event_time = Some(noon(3));
    bench.record(refusal).unwrap();
    let mut stop = StopDraft::new(id("crm:1"), StopKind::ObjectionMarketing);
    (stop.event_time, stop.evidence) = (Some(noon(4)), evidence());
    bench.ledger.add_stop(stop, &centre()).unwrap();
    until(&bench, 11);
    for (at, known_at, expected, stops) in [
        (2, 2, State::Given, 0),
        (5, 5, State::Given, 0),
        (5, 9, State::Given, 0),
        (2, 10, State::Given, 0),
        (3, 10, State::Withdrawn, 0),
        (4, 10, State::Withdrawn, 1),
        (5, 11, State::Withdrawn, 1),
        (11, 9, State::Given, 0),
    ] {
        let found = ask(&bench, "crm:1", Some(noon(at)), Some(noon(known_at))).unwrap();
        assert_eq!((found.rows[0].consent.state, found.stops.len()), (expected, stops), "of day {at}, known on day {known_at}");
    }
    let now = ask(&bench, "crm:1", None, None).unwrap();
    let same = ask(&bench, "crm:1", Some(bench.now()), Some(bench.now())).unwrap();
    assert_eq!((now.rows, now.stops, now.revision), (same.rows, same.stops, same.revision), "both times now are no times at all");
}

#[test]
fn a_merge_is_not_known_before_it_and_a_split_ends_it_for_what_is_known_after() {
    let bench = bench();
    assert_eq!(bench.import("identifiers\ncrm:2\n").errors, []);
    bench.say("crm:1", MAIL, State::Given);
    until(&bench, 2);
    bench.say("crm:2", MAIL, State::Refused);
    until(&bench, 5);
    let both = MergeDraft { into: id("crm:1").into(), from: id("crm:2").into(), time: None, reason: "the same person".to_owned() };
    bench.ledger.merge(&both, &staff()).unwrap();
    until(&bench, 8);
    bench.ledger.split(&id("crm:1").into(), &SplitOff::Merged(id("crm:2").into()), "two persons after all", &staff()).unwrap();
    until(&bench, 9);
    let party = |who: &str, known_at: u8| ask(&bench, who, Some(noon(known_at)), Some(noon(known_at))).unwrap().party;
    for (who, known_at, expected) in [
        ("crm:1", 4, State::Given),
        ("crm:2", 4, State::Refused),
        ("crm:1", 6, State::Withdrawn),
        ("crm:2", 6, State::Withdrawn),
        ("crm:1", 9, State::Given),
        ("crm:2", 9, State::Refused),
    ] {
        assert_eq!(state(&bench, who, known_at, known_at), expected, "{who} on day {known_at}");
    }
    assert_eq!((party("crm:1", 4) == party("crm:2", 4), party("crm:1", 6) == party("crm:2", 6)), (false, true));
    assert_ne!(party("crm:1", 9), party("crm:2", 9));
    let merged = ask(&bench, "crm:1", Some(noon(6)), Some(noon(6))).unwrap();
    assert!(merged.rows[0].consent.conflict, "that it was the merge is told");
}

#[test]
fn an_expiry_closes_at_its_time_in_the_past_and_in_what_is_still_to_come() {
    let bench = bench();
    let mut grant = bench.draft("crm:1", MAIL, State::Given);
    grant.expires = Some(noon(6));
    bench.record(grant).unwrap();
    assert_eq!(state(&bench, "crm:1", 5, 1), State::Given);
    assert_eq!(state(&bench, "crm:1", 6, 1), State::Expired, "what is known today of a day that is still to come");
    until(&bench, 7);
    assert_eq!(bench.state("crm:1", MAIL), State::Expired);
    assert_eq!([5, 6, 7].map(|at| state(&bench, "crm:1", at, 7)), [State::Given, State::Expired, State::Expired]);
}

#[test]
fn a_corrected_flag_stood_as_far_as_was_known_then_and_an_invalidated_grant_never_was() {
    let bench = bench();
    let grant = bench.say("crm:1", MAIL, State::Given);
    until(&bench, 3);
    let flag = bench.stop("crm:1", StopKind::Deceased);
    until(&bench, 5);
    let correction = LiftDraft { stop: flag.event, reason: "another person".to_owned(), evidence: evidence(), idempotency_key: None };
    bench.ledger.lift_stop(correction, &staff()).unwrap();
    until(&bench, 6);
    let stops = |at: u8, known_at: u8| ask(&bench, "crm:1", Some(noon(at)), Some(noon(known_at))).unwrap().stops;
    assert_eq!(stops(4, 4), ["deceased"]);
    assert_eq!(stops(2, 4), [""; 0], "before it was said");
    assert_eq!(stops(6, 6), [""; 0]);
    // A correction corrects nothing before it: on day 4 the flag stood.
    assert_eq!(stops(4, 6), ["deceased"]);

    let mut never = bench.draft("crm:1", MAIL, State::Invalidated);
    never.about = Some(grant.event);
    bench.record(never).unwrap();
    until(&bench, 7);
    assert_eq!([(2, 2), (2, 5)].map(|(at, known_at)| state(&bench, "crm:1", at, known_at)), [State::Given; 2]);
    assert_eq!(state(&bench, "crm:1", 7, 7), State::Invalidated);
    assert_eq!(state(&bench, "crm:1", 2, 7), State::Invalidated, "it never was valid, also not on the day on which it counted");
}

#[test]
fn nobody_is_known_before_they_were_recorded_and_nothing_is_told_of_what_will_be_known() {
    let bench = bench();
    until(&bench, 4);
    assert_eq!(bench.import("identifiers\ncrm:2\n").errors, []);
    bench.say("crm:2", MAIL, State::Given);
    until(&bench, 5);
    let own = format!("party:{}", bench.ledger.show_party(&id("crm:2").into()).unwrap().id.0);
    for who in ["crm:2", &own] {
        assert!(matches!(ask(&bench, who, None, Some(noon(3))), Err(ConsentError::NotFound)), "{who}");
        assert!(matches!(ask(&bench, who, Some(noon(5)), Some(noon(3))), Err(ConsentError::NotFound)), "{who}");
        assert_eq!(ask(&bench, who, None, Some(noon(4))).unwrap().rows[0].consent.state, State::Given);
        assert_eq!(ask(&bench, who, Some(noon(3)), None).unwrap().rows[0].consent.state, State::Unknown, "she had not said anything");
        assert!(matches!(ask(&bench, who, None, Some(noon(6))), Err(ConsentError::Invalid(_))));
    }
    bench.switch.down();
    bench.advance(10);
    assert!(matches!(ask(&bench, "crm:2", None, Some(noon(4))), Err(ConsentError::Unavailable(_))));
}

#[test]
fn a_grant_was_open_until_its_last_use_and_is_known_to_have_ended_only_since() {
    let mut bench = bench();
    let mut draft = bench.draft("crm:1", MAIL, State::Given);
    draft.uses = Some(2);
    let grant = bench.record(draft).unwrap().event;
    until(&bench, 3);
    bench.ledger.reserve_uses(&[grant]).unwrap();
    until(&bench, 5);
    bench.ledger.reserve_uses(&[grant]).unwrap();
    until(&bench, 8);
    let expected = [
        (2, 2, State::Given),
        (4, 4, State::Given),
        (4, 8, State::Given),
        (5, 4, State::Given),
        (5, 5, State::Expired),
        (6, 4, State::Given),
        (6, 6, State::Expired),
        (8, 8, State::Expired),
    ];
    for _ in 0..2 {
        for (at, known_at, expected) in expected {
            assert_eq!(state(&bench, "crm:1", at, known_at), expected, "of day {at}, known on day {known_at}");
        }
        bench.ledger = bench.reopened();
    }
    assert_eq!(ask(&bench, "crm:1", None, Some(noon(4))).unwrap().rows[0].consent.state, State::Given, "what was known then of now");
}

#[test]
fn a_no_that_is_recorded_after_the_clock_was_set_back_is_not_lost_against_what_was_granted_before() {
    let floor = |bench: &Bench| bench.floor("crm:1", MAIL, LawfulBasis::LegitimateInterest);
    for timed in [true, false] {
        for by_centre in [true, false] {
            let bench = bench();
            bench.say("crm:1", MAIL, State::Given);
            assert!(bench.state("crm:1", MAIL).opens());
            // The clock had been an hour ahead.
            bench.clock.step_to(time("2026-03-01T11:05:00Z"));
            let mut no = bench.draft("crm:1", MAIL, State::Withdrawn);
            if !timed {
                no.event_time = None;
            }
            let caller = if by_centre { centre() } else { staff() };
            bench.ledger.record(no, &caller).unwrap();
            assert!(!bench.state("crm:1", MAIL).opens(), "timed {timed}, by the centre {by_centre}");
            let mut stop = StopDraft::new(id("crm:1"), StopKind::ObjectionMarketing);
            stop.event_time = timed.then(|| bench.now());
            bench.ledger.add_stop(stop, &caller).unwrap();
            assert_eq!(floor(&bench), Err("objection"));
            // She can allow it again, once it is surely later.
            bench.advance(2 * 3600);
            bench.say("crm:1", MAIL, State::Given);
            assert!(bench.state("crm:1", MAIL).opens() && floor(&bench).is_ok());
        }
    }
}

#[test]
fn a_late_report_of_an_old_no_is_still_no_match_for_a_later_yes() {
    let bench = bench();
    bench.say("crm:1", MAIL, State::Given);
    bench.advance(3600);
    let mut no = bench.draft("crm:1", MAIL, State::Refused);
    no.event_time = Some(time("2026-02-01T12:00:00Z"));
    bench.ledger.record(no, &staff()).unwrap();
    assert!(bench.state("crm:1", MAIL).opens());
}
