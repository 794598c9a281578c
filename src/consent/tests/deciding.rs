//! Conflict rules, expiry, delegations, confirmation: a case each, told as plain records. Merges have their own file.

use std::collections::HashSet;

use crate::consent::record::{Form, Matter};
use crate::model::{Age, Author, EventId, Stage};

use super::tale::{Tale, Told, after, joined};
use super::*;

const MAIL: &str = "marketing.email";

fn ranked() -> Tale {
    let mut tale = Tale::new();
    tale.rules.rule = ConflictRule::SourcePriority;
    tale.rules.sources = vec!["centre".to_owned(), "shop".to_owned()];
    tale
}

#[test]
fn what_others_noted_yields_to_the_customers_grant_from_a_higher_ranked_system() {
    for state in [State::Refused, State::Withdrawn, State::Revoked] {
        for (author, system) in [(Author::System, "shop"), (Author::Staff, "shop"), (Author::System, "unlisted")] {
            let mut tale = ranked();
            let grant = tale.say(0, MAIL, State::Given).id();
            let refusal = tale.say(500, MAIL, state).by(author).from(system).id();
            let effective = tale.effective(MAIL);
            assert_eq!((effective.state, effective.event, effective.overridden), (State::Given, Some(grant), vec![refusal]), "{author:?} {system}");
        }
    }
}

#[test]
fn what_a_rank_does_not_overcome() {
    let cases: [Spoil<Tale>; 7] = [
        ("the customer's own refusal", |t| _ = t.say(500, MAIL, State::Refused).from("shop")),
        ("a guardian's", |t| _ = t.say(500, MAIL, State::Refused).by(Author::Guardian).from("shop")),
        ("one of the same rank", |t| _ = t.say(500, MAIL, State::Refused).by(Author::System)),
        ("that it ran out", |t| _ = t.say(500, MAIL, State::Expired).by(Author::System).from("shop")),
        ("a new notice", |t| _ = t.say(500, MAIL, State::Superseded).by(Author::System).from("shop")),
        ("that it never was valid", |t| _ = t.say(500, MAIL, State::Invalidated).by(Author::System).from("shop")),
        ("a lower ranked app that names a higher system", |t| {
            t.told[0].form().app = "shop".into();
            t.say(500, MAIL, State::Refused).by(Author::System).from("shop");
        }),
    ];
    for (what, refuse) in cases {
        let mut tale = ranked();
        tale.say(0, MAIL, State::Given);
        refuse(&mut tale);
        assert!(!tale.state(MAIL).opens(), "{what}");
    }
    let mut tale = ranked();
    tale.stop(500, StopKind::Suppression, &[]).by(Author::System).from("shop");
    tale.say(0, MAIL, State::Given);
    assert_eq!(tale.floor(MAIL, LawfulBasis::Consent), Err("suppression"), "no rank lifts a stop");
}

#[test]
fn of_several_inherited_rules_the_stricter_holds() {
    use ConflictRule::{CustomerLastWord, MostRestrictive, SourcePriority};
    let under = |a, b| {
        let mut tale = Tale::new();
        tale.rules.rules = BTreeMap::from([(purpose("marketing"), a), (purpose("profiling"), b)]);
        rule_for(&tale.vocabulary, &tale.rules, purpose("marketing.personalised"))
    };
    assert_eq!(under(SourcePriority, CustomerLastWord), CustomerLastWord);
    assert_eq!(under(MostRestrictive, SourcePriority), MostRestrictive);
    assert_eq!(under(SourcePriority, SourcePriority), SourcePriority);
}

#[test]
fn what_never_was_valid_never_counted_and_revives_nothing() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Given);
    let forged = tale.say(100, MAIL, State::Given).id();
    tale.say(900, MAIL, State::Invalidated).by(Author::System).about(forged);
    assert_eq!((tale.state(MAIL), tale.effective(MAIL).event), (State::Invalidated, Some(forged)));
    tale.say(200, MAIL, State::Given);
    assert_eq!(tale.state(MAIL), State::Given, "what the customer said before the forgery was found stands");
}

#[test]
fn an_invalidation_that_names_no_grant_closes_from_its_own_time() {
    let mut tale = Tale::new();
    let refusal = tale.say(0, MAIL, State::Refused).id();
    tale.say(200, MAIL, State::Given);
    tale.say(900, MAIL, State::Invalidated).about(refusal);
    assert_eq!(tale.state(MAIL), State::Invalidated);
}

#[test]
fn a_grant_that_has_run_out_tells_how_and_no_older_one_comes_back() {
    let notice = || Some(("n-4".to_owned(), "1".to_owned()));
    type Case = (State, fn(&mut Told));
    let cases: [Case; 5] = [
        (State::Expired, |g| g.record.due = Some(after(1000))),
        (State::Expired, |g| (g.record.due, g.record.fired) = (Some(after(5000)), true)),
        (State::Expired, |g| g.record.uses_left = Some(0)),
        (State::Expired, |g| {
            if let Matter::Said { until, .. } = &mut g.form().matter {
                *until = Some("contract-ended".to_owned())
            }
        }),
        (State::Superseded, |g| g.terms().notice = Some(("n-4".to_owned(), "1".to_owned()))),
    ];
    for (number, (expected, run_out)) in cases.into_iter().enumerate() {
        let mut tale = Tale::new();
        (tale.at, tale.superseded) = (after(1000), notice().into_iter().collect());
        tale.say(0, MAIL, State::Given);
        run_out(tale.say(100, MAIL, State::Given));
        tale.tell(100, Matter::Occurrence("contract-ended".to_owned())).by(Author::System);
        assert_eq!(tale.state(MAIL), expected, "case {number}");
        tale.say(150, MAIL, State::Given).terms().notice = Some(("n-4".to_owned(), "2".to_owned()));
        assert_eq!(tale.state(MAIL), State::Given, "case {number}, given anew");
    }
}

#[test]
fn a_grant_holds_until_it_runs_out() {
    let mut tale = Tale::new();
    tale.at = after(999);
    let grant = tale.say(100, MAIL, State::Given);
    (grant.record.due, grant.record.uses_left) = (Some(after(1000)), Some(1));
    grant.terms().notice = Some(("n-4".to_owned(), "2".to_owned()));
    if let Matter::Said { until, .. } = &mut grant.form().matter {
        *until = Some("contract-ended".to_owned());
    }
    tale.superseded.insert(("n-4".to_owned(), "1".to_owned()));
    tale.tell(99, Matter::Occurrence("contract-ended".to_owned()));
    tale.tell(200, Matter::Occurrence("moved".to_owned()));
    assert_eq!((tale.state(MAIL), tale.effective(MAIL).limited.len()), (State::Given, 1));
    tale.say(300, MAIL, State::Given);
    assert_eq!(tale.effective(MAIL).limited, [], "the later grant is not counted");
}

#[test]
fn a_guardian_speaks_within_an_evidenced_delegation_only() {
    type Case = (&'static str, State, fn(&mut Tale));
    let cases: [Case; 8] = [
        ("none", State::Unknown, |_| ()),
        ("of all", State::Given, |t| _ = t.delegate(0, Holder::Guardian, &[]).by(Author::Staff)),
        ("of a parent", State::Given, |t| _ = t.delegate(0, Holder::Representative, &["marketing"]).by(Author::Staff)),
        ("of something else", State::Unknown, |t| _ = t.delegate(0, Holder::Guardian, &["sales"]).by(Author::Staff)),
        ("without evidence", State::Unknown, |t| t.delegate(0, Holder::Guardian, &[]).by(Author::Staff).form().is_evidenced = false),
        ("by nobody registered", State::Unknown, |t| _ = t.delegate(0, Holder::Guardian, &[]).by(Author::System)),
        ("later", State::Unknown, |t| _ = t.delegate(200, Holder::Guardian, &[]).by(Author::Staff)),
        ("over before", State::Unknown, |t| t.delegate(0, Holder::Guardian, &[]).by(Author::Staff).record.due = Some(after(100))),
    ];
    for (delegation, expected, delegate) in cases {
        let mut tale = Tale::new();
        delegate(&mut tale);
        tale.say(100, MAIL, State::Given).by(Author::Guardian);
        assert_eq!(tale.state(MAIL), expected, "{delegation}");
    }
}

#[test]
fn a_guardians_refusal_needs_no_delegation() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Given);
    tale.say(100, MAIL, State::Refused).by(Author::Guardian);
    assert_eq!(tale.state(MAIL), State::Withdrawn);
}

#[test]
fn at_the_coming_of_age_the_person_is_asked_and_a_renewal_is_not_enough() {
    let mut tale = Tale::new();
    tale.delegate(0, Holder::Guardian, &[]).by(Author::Staff);
    tale.say(100, MAIL, State::Given).by(Author::Guardian);
    assert_eq!(tale.state(MAIL), State::Given);
    tale.age = Age::Adult;
    assert_eq!(tale.state(MAIL), State::Requested);
    tale.say(200, MAIL, State::Renewed);
    assert_eq!(tale.state(MAIL), State::Requested);
    tale.say(300, MAIL, State::Given);
    assert_eq!(tale.state(MAIL), State::Given);
}

#[test]
fn a_representatives_grant_outlasts_the_coming_of_age_but_not_the_delegation() {
    let mut tale = Tale::new();
    tale.delegate(0, Holder::Representative, &[]).by(Author::Staff).record.due = Some(after(500));
    tale.say(100, MAIL, State::Given).by(Author::Guardian);
    (tale.age, tale.at) = (Age::Adult, after(499));
    assert_eq!(tale.state(MAIL), State::Given);
    tale.at = after(500);
    assert_eq!(tale.state(MAIL), State::Requested);
}

#[test]
fn a_minor_refuses_but_does_not_grant() {
    let mut tale = Tale::new();
    tale.age = Age::Minor;
    tale.say(0, MAIL, State::Given);
    assert_eq!(tale.state(MAIL), State::Unknown);
    tale.say(100, MAIL, State::Refused);
    assert_eq!(tale.state(MAIL), State::Refused);
}

#[test]
fn what_a_child_allowed_does_not_begin_to_count_on_the_birthday() {
    let mut tale = Tale::new();
    tale.say(999, MAIL, State::Given);
    (tale.age, tale.adult_since) = (Age::Adult, Some(after(1000)));
    assert_eq!(tale.state(MAIL), State::Unknown);
    tale.say(1000, MAIL, State::Given);
    assert_eq!(tale.state(MAIL), State::Given);
}

#[test]
fn from_when_on_a_customer_speaks_for_themselves_follows_from_all_that_was_said_of_their_age() {
    type Case = (&'static str, bool, fn(&mut FactsDraft), fn(&mut FactsDraft));
    let cases: [Case; 5] = [
        ("a minor who is of age now", false, |f| f.age = Some(Age::Minor), |f| f.age = Some(Age::Adult)),
        ("one whose day has come", false, |f| f.adult_from = Some(time("2026-03-01T12:01:30Z")), |_| ()),
        ("one whose day had come", true, |f| f.adult_from = Some(time("2026-02-01T12:00:00Z")), |_| ()),
        ("an adult", true, |_| (), |f| f.age = Some(Age::Adult)),
        ("one who was taken for a minor", true, |f| f.age = Some(Age::Minor), |f| f.age = Some(Age::Unknown)),
    ];
    for (who, speaks, before, after) in cases {
        let bench = bench();
        let put = |say: fn(&mut FactsDraft)| {
            let mut facts = FactsDraft { stage: Some(Stage::Lead), source: "desk".to_owned(), ..FactsDraft::default() };
            say(&mut facts);
            bench.ledger.put_facts(&id("crm:1").into(), &facts).unwrap();
        };
        put(before);
        bench.say("crm:1", MAIL, State::Given);
        bench.advance(100);
        bench.ledger.tick(bench.now()).unwrap();
        put(after);
        assert_eq!(bench.state("crm:1", MAIL).opens(), speaks, "{who}");
        bench.advance(100);
        bench.say("crm:1", MAIL, State::Given);
        assert_eq!(bench.state("crm:1", MAIL), State::Given, "{who}, anew");
    }
}

#[test]
fn a_no_that_the_same_source_recorded_later_wins_over_a_grant_stamped_ahead() {
    // Farther ahead only a clock that was set back can put it.
    for ahead in [20, 70, 71, 5000] {
        let mut tale = Tale::new();
        tale.say(ahead, MAIL, State::Given).record.record_time = after(0);
        tale.say(10, MAIL, State::Withdrawn).record.event_time = None;
        assert!(!tale.state(MAIL).opens(), "{ahead}");
        let mut tale = Tale::new();
        tale.say(ahead, MAIL, State::Given).record.record_time = after(0);
        tale.stop(10, StopKind::Suppression, &[]).record.event_time = None;
        assert!(tale.floor(MAIL, LawfulBasis::Consent).is_err(), "{ahead}");
    }
    let mut tale = Tale::new();
    tale.say(10, MAIL, State::Withdrawn).record.event_time = None;
    tale.say(50, MAIL, State::Given);
    assert!(tale.state(MAIL).opens(), "recorded before the grant");
}

#[test]
fn a_minor_appoints_nobody() {
    for (age, since, opens) in [(Age::Minor, None, false), (Age::Adult, Some(after(1)), false), (Age::Adult, Some(after(0)), true)] {
        let mut tale = Tale::new();
        (tale.age, tale.adult_since) = (age, since);
        tale.delegate(0, Holder::Representative, &[]);
        tale.say(100, MAIL, State::Given).by(Author::Guardian);
        assert_eq!(tale.state(MAIL).opens(), opens, "{age} {since:?}");
    }
}

#[test]
fn a_blank_reference_is_no_evidence() {
    let bench = bench();
    let given = bench.say("crm:1", MAIL, State::Given);
    let (mut event, _) = bench.ledger.event(given.event).unwrap();
    assert!(Form::of(&event).is_evidenced);
    event.evidence.values_mut().for_each(|reference| *reference = " ".to_owned());
    assert!(!Form::of(&event).is_evidenced);
}

#[test]
fn a_grant_of_limited_uses_is_told_where_it_lifts_a_stop() {
    let lift = |tale: &Tale, basis| {
        let channel = tale.vocabulary.channel(purpose(MAIL));
        let (profile, events) = tale.build();
        let found = limited_lifts(&profile, &tale.vocabulary, &tale.rules, purpose(MAIL), basis, category("contact"), channel);
        found.into_iter().map(|at| events[at.0 as usize]).collect::<Vec<_>>()
    };
    let mut tale = Tale::new();
    let first = tale.say(100, MAIL, State::Given);
    first.record.uses_left = Some(1);
    let first = first.id();
    assert_eq!(lift(&tale, LawfulBasis::LegitimateInterest), [], "no stop");
    tale.stop(0, StopKind::Objection, &[]);
    assert_eq!(lift(&tale, LawfulBasis::LegitimateInterest), [first]);
    assert_eq!(lift(&tale, LawfulBasis::Contract), [], "the stop does not close it");
    tale.say(200, MAIL, State::Given);
    assert_eq!(lift(&tale, LawfulBasis::LegitimateInterest), [], "the last grant is not limited");
}

#[test]
fn every_grant_of_limited_uses_is_told_without_which_another_would_not_prevail() {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    let mut limited = |at, group| {
        let told = tale.say(at, MAIL, State::Given).group(group);
        told.record.uses_left = Some(1);
        told.id()
    };
    let (own, last) = (limited(200, 2), limited(300, 1));
    tale.say(100, MAIL, State::Refused).group(2);
    tale.stop(100, StopKind::Objection, &[]).group(2);
    // Each for itself: with one of them used up it is closed.
    let mut relied = tale.effective(MAIL).limited;
    relied.sort_unstable();
    assert_eq!(relied, [own, last]);
    let lifts = |tale: &Tale| {
        let (profile, events) = tale.build();
        let channel = tale.vocabulary.channel(purpose(MAIL));
        let basis = LawfulBasis::LegitimateInterest;
        let found = limited_lifts(&profile, &tale.vocabulary, &tale.rules, purpose(MAIL), basis, category("contact"), channel);
        found.into_iter().map(|at| events[at.0 as usize]).collect::<HashSet<_>>()
    };
    assert_eq!(lifts(&tale), HashSet::from([own, last]));
    for used_up in [own, last] {
        let mut without = tale.clone();
        without.told.iter_mut().filter(|told| told.id() == used_up).for_each(|told| told.record.uses_left = Some(0));
        assert!(!without.state(MAIL).opens() && without.floor(MAIL, LawfulBasis::LegitimateInterest).is_err(), "{used_up}");
    }
    // Of two that would do, one without a limit is relied on.
    tale.say(210, MAIL, State::Given).group(2);
    assert_eq!((tale.effective(MAIL).limited, lifts(&tale)), (vec![last], HashSet::from([last])));
}

fn confirming() -> Tale {
    let mut tale = Tale::new();
    tale.rules.double_opt_in = vec![purpose("marketing")];
    tale
}

#[test]
fn where_confirmation_is_asked_for_a_grant_counts_only_if_it_answers_a_request_that_still_waited() {
    type Case = (&'static str, fn(&mut Tale) -> EventId);
    let cases: [Case; 9] = [
        ("another app's request", |t| t.say(0, MAIL, State::PendingConfirmation).from("shop").id()),
        ("a request about other data", |t| {
            let pending = t.say(0, MAIL, State::PendingConfirmation);
            pending.terms().scope.categories = vec![category("order")];
            pending.id()
        }),
        ("a request for another recipient", |t| {
            let pending = t.say(0, MAIL, State::PendingConfirmation);
            pending.terms().scope.recipients = vec![];
            pending.terms().named_recipients = [department("sales")].into();
            pending.id()
        }),
        ("a request that names no data", |t| {
            let pending = t.say(0, MAIL, State::PendingConfirmation);
            pending.terms().scope.categories = vec![];
            pending.id()
        }),
        ("a request that ran out", |t| {
            let pending = t.say(0, MAIL, State::PendingConfirmation);
            pending.record.due = Some(after(100));
            pending.id()
        }),
        ("a request about something else", |t| t.say(0, "sales.outreach", State::PendingConfirmation).id()),
        ("a request that came later", |t| t.say(200, MAIL, State::PendingConfirmation).id()),
        ("what is no request", |t| t.say(0, MAIL, State::Requested).id()),
        ("nothing", |_| EventId(99)),
    ];
    for (what, ask) in cases {
        let mut tale = confirming();
        tale.stop(0, StopKind::ObjectionMarketing, &[]);
        let about = ask(&mut tale);
        tale.say(100, MAIL, State::Given).about(about);
        assert_eq!(tale.state(MAIL), State::PendingConfirmation, "{what}");
        assert_eq!(tale.floor(MAIL, LawfulBasis::LegitimateInterest), Err("objection"), "{what} lifts nothing");
    }
    let mut tale = confirming();
    tale.stop(0, StopKind::ObjectionMarketing, &[]);
    let pending = tale.say(0, MAIL, State::PendingConfirmation).id();
    tale.say(100, MAIL, State::Given).about(pending);
    tale.say(100, "sales.outreach", State::Given);
    assert_eq!((tale.state(MAIL), tale.floor(MAIL, LawfulBasis::Consent)), (State::Given, Ok(())));
    assert_eq!(tale.state("sales.outreach"), State::Given, "here nothing needs confirmation");
}

#[test]
fn an_unconfirmed_request_runs_out_to_unknown() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::PendingConfirmation).record.due = Some(after(1000));
    tale.at = after(999);
    assert_eq!(tale.state(MAIL), State::PendingConfirmation);
    tale.at = after(1000);
    assert_eq!((tale.state(MAIL), tale.effective(MAIL).status), (State::Unknown, ConsentStatus::Unknown));
}

#[test]
fn the_state_that_is_reported_is_the_one_that_the_events_made() {
    use State::{Deferred, Expired, Given, Refused, Requested, Revoked, Withdrawn};
    let cases: [(&[State], State); 8] = [
        (&[Refused, Expired], Refused),
        (&[Given, Refused], Withdrawn),
        (&[Given, Withdrawn, Refused], Withdrawn),
        (&[Given, Expired, Refused], Refused),
        (&[Given, Withdrawn, Revoked], Withdrawn),
        (&[Requested, Deferred], Deferred),
        (&[Refused, Requested], Refused),
        (&[Expired], Expired),
    ];
    for (said, expected) in cases {
        let mut tale = Tale::new();
        for (at, state) in (0..).zip(said) {
            tale.say(at * 100, MAIL, *state);
        }
        assert_eq!(tale.state(MAIL), expected, "{said:?}");
    }
}

#[test]
fn a_lift_that_names_a_refusal_lifts_nothing() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Given);
    let refusal = tale.say(100, MAIL, State::Refused).id();
    tale.tell(200, Matter::Lift).by(Author::Staff).about(refusal);
    assert_eq!(tale.state(MAIL), State::Withdrawn);
}
