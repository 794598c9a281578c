//! Two customers who turn out to be one: where they differ the more restrictive holds, until the customer says otherwise.

use crate::consent::conflicts::disagreements;
use crate::consent::record::Matter;
use crate::model::Author;

use super::tale::{Tale, Told, after, joined};
use super::*;

const MAIL: &str = "marketing.email";

/// Group 1 gave, group 2 refused before; they became one customer at 1000.
fn merged() -> Tale {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.say(0, MAIL, State::Refused).group(2);
    tale.say(500, MAIL, State::Given).group(1);
    tale
}

fn told(tale: &Tale) -> (State, bool) {
    let effective = tale.effective(MAIL);
    (effective.state, effective.conflict)
}

#[test]
fn where_groups_differ_the_more_restrictive_holds_and_is_flagged() {
    assert_eq!(told(&merged()), (State::Refused, true));
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.say(0, MAIL, State::Given).group(1);
    tale.say(500, MAIL, State::Refused).group(2);
    assert!(matches!(told(&tale), (State::Withdrawn, true)), "whichever came last");
}

#[test]
fn the_customer_settles_it_after_the_merge_by_naming_the_purpose() {
    for group in [1, 2] {
        let mut tale = merged();
        tale.say(1001, MAIL, State::Given).group(group);
        assert_eq!(told(&tale), (State::Given, false));
        let mut tale = merged();
        tale.say(1001, "marketing", State::Refused).group(group);
        assert!(matches!(told(&tale), (State::Refused | State::Withdrawn, false)));
    }
}

#[test]
fn a_no_settles_it_without_evidence_if_it_is_known_to_be_later_than_the_merge() {
    type Case = (&'static str, bool, fn(&mut Told));
    let cases: [Case; 4] = [
        ("without evidence", true, |no| no.form().is_evidenced = false),
        ("the department's word", false, |no| _ = no.by(Author::Staff)),
        ("without a time, recorded after the merge", false, |no| no.record.event_time = None),
        ("of before the merge, recorded after it", false, |no| no.record.event_time = Some(after(600))),
    ];
    for (what, settles, spoil) in cases {
        let mut tale = merged();
        spoil(tale.say(2000, MAIL, State::Refused).group(2));
        let (profile, _) = tale.build();
        let listed = disagreements(&profile, &tale.vocabulary, &tale.rules);
        assert!(!tale.state(MAIL).opens());
        assert_eq!((tale.effective(MAIL).conflict, listed[0].holds.conflict, listed[0].settled), (!settles, !settles, settles), "{what}");
    }
}

#[test]
fn what_does_not_settle_it() {
    let cases: [Spoil<Tale>; 6] = [
        ("what was said before the merge", |t| _ = t.say(999, MAIL, State::Given).group(1)),
        ("at the very time", |t| _ = t.say(1000, MAIL, State::Given).group(1)),
        ("the parent, although its notice names it", |t| {
            let terms = t.say(2000, "marketing", State::Given).group(1).terms();
            terms.named_purposes = terms.purposes.clone();
        }),
        ("staff's word", |t| _ = t.say(2000, MAIL, State::Given).by(Author::Staff).group(1)),
        ("without evidence", |t| t.say(2000, MAIL, State::Given).group(1).form().is_evidenced = false),
        ("a request", |t| _ = t.say(2000, MAIL, State::Requested).group(1)),
    ];
    for (what, say) in cases {
        let mut tale = merged();
        say(&mut tale);
        assert_eq!(told(&tale), (State::Refused, true), "{what}");
    }
}

#[test]
fn groups_that_were_never_joined_stay_closed() {
    let mut tale = merged();
    tale.joined.clear();
    tale.say(5000, MAIL, State::Given).group(1);
    assert_eq!(told(&tale), (State::Refused, true));
}

#[test]
fn through_a_third_the_last_step_counts_and_of_two_ways_the_earlier() {
    let settled = |joins: &[(u16, u16, i64)], at: i64| {
        let mut tale = merged();
        tale.joined = joins.iter().map(|(a, b, at)| joined(*a, *b, *at)).collect();
        tale.say(at, MAIL, State::Given).group(1);
        tale.state(MAIL).opens()
    };
    assert!(!settled(&[(1, 3, 1000), (3, 2, 2000)], 1500));
    assert!(!settled(&[(3, 2, 2000), (1, 3, 1000)], 2000));
    assert!(settled(&[(1, 3, 1000), (3, 2, 2000)], 2001));
    assert!(settled(&[(1, 3, 1000), (3, 2, 2000), (1, 2, 9000)], 2001));
}

#[test]
fn silence_is_no_difference() {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.say(0, MAIL, State::Given).group(1);
    tale.say(100, "sales.outreach", State::Refused).group(2);
    tale.say(100, MAIL, State::Requested).group(2);
    assert_eq!(told(&tale), (State::Given, false));
}

#[test]
fn a_refusal_that_was_taken_back_before_the_merge_is_no_difference() {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.say(0, MAIL, State::Refused).group(2);
    tale.stop(0, StopKind::ObjectionMarketing, &[]).group(2);
    tale.say(100, MAIL, State::Given).group(2);
    tale.say(500, MAIL, State::Given).group(1);
    assert_eq!((told(&tale), tale.floor(MAIL, LawfulBasis::Consent)), ((State::Given, false), Ok(())));
    tale.say(300, MAIL, State::Withdrawn).group(2);
    assert_eq!((told(&tale), tale.floor(MAIL, LawfulBasis::Consent)), ((State::Withdrawn, true), Err("objection")));
}

#[test]
fn a_stop_spreads_at_once_and_only_a_grant_after_the_merge_lifts_it() {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.stop(0, StopKind::ObjectionMarketing, &[]).group(2);
    tale.say(500, MAIL, State::Given).group(1);
    assert_eq!(tale.floor(MAIL, LawfulBasis::LegitimateInterest), Err("objection"));
    tale.say(1001, MAIL, State::Given).group(1);
    assert_eq!(tale.floor(MAIL, LawfulBasis::LegitimateInterest), Ok(()));
}

#[test]
fn a_merge_lends_no_delegation_confirmation_or_renewable_consent_to_what_was_said_before() {
    let cases: [Spoil<Tale>; 3] = [
        ("delegation", |t| {
            t.delegate(0, Holder::Guardian, &[]).by(Author::Staff).group(2);
            t.say(500, MAIL, State::Given).by(Author::Guardian).group(1);
        }),
        ("confirmation", |t| {
            t.rules.double_opt_in = vec![purpose("marketing")];
            let pending = t.say(0, MAIL, State::PendingConfirmation).group(2).id();
            t.say(500, MAIL, State::Given).about(pending).group(1);
        }),
        ("renewal", |t| {
            t.say(0, MAIL, State::Given).group(2).record.due = Some(after(100));
            t.say(500, MAIL, State::Renewed).group(1);
        }),
    ];
    for (what, say) in cases {
        let mut tale = Tale::new();
        tale.joined = vec![joined(1, 2, 1000)];
        say(&mut tale);
        assert!(!tale.state(MAIL).opens(), "{what}");
        tale.joined = vec![joined(1, 2, 400)];
        assert!(tale.state(MAIL).opens(), "{what} after the merge");
    }
}

#[test]
fn a_lift_ends_a_stop_for_the_whole_party() {
    let mut tale = Tale::new();
    let stop = tale.stop(0, StopKind::Restriction, &[]).group(2).id();
    tale.say(10, MAIL, State::Given).group(1);
    assert_eq!(tale.floor(MAIL, LawfulBasis::Contract), Err("restriction"));
    tale.tell(100, Matter::Lift).by(Author::Staff).about(stop).group(1);
    assert_eq!(tale.floor(MAIL, LawfulBasis::Contract), Ok(()));
}
