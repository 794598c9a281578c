//! Where systems disagree.

use crate::consent::conflicts::disagreements;
use crate::consent::profile::Profile;
use crate::model::Author;

use super::tale::{Tale, joined};
use super::*;

const MAIL: &str = "marketing.email";

fn found(tale: &Tale) -> Vec<Disagreement> {
    let (profile, events) = tale.build();
    let found = disagreements(&profile, &tale.vocabulary, &tale.rules);
    found.into_iter().map(|d| d.resolve(|at| events.get(at.0 as usize).copied())).collect()
}

#[test]
fn systems_that_say_the_same_or_nothing_opposite_do_not_disagree() {
    let cases: [Spoil<Tale>; 5] = [
        ("one system that changed its mind", |t| {
            t.say(0, MAIL, State::Given);
            t.say(100, MAIL, State::Refused);
        }),
        ("two that agree", |t| {
            t.say(0, MAIL, State::Given);
            t.say(100, MAIL, State::Given).from("crm");
        }),
        ("two that agree in the end", |t| {
            t.say(0, MAIL, State::Given).from("crm");
            t.say(100, MAIL, State::Refused);
            t.say(200, MAIL, State::Refused).from("crm");
        }),
        ("about other purposes", |t| {
            t.say(0, MAIL, State::Given);
            t.say(100, "sales.outreach", State::Refused).from("crm");
        }),
        ("about another category", |t| {
            t.say(0, MAIL, State::Given);
            t.say(100, MAIL, State::Refused).from("crm").terms().scope.categories = vec![category("behaviour")];
        }),
    ];
    for (what, tell) in cases {
        let mut tale = Tale::new();
        tell(&mut tale);
        assert_eq!(found(&tale), [], "{what}");
    }
}

#[test]
fn a_disagreement_names_each_systems_last_word_what_holds_and_whether_the_customer_settled_it() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Refused);
    let yes = tale.say(100, MAIL, State::Given).id();
    let no = tale.say(1000, "marketing", State::Refused).by(Author::System).from("crm").id();
    let all = found(&tale);
    let [one] = all.as_slice() else { panic!("{all:?}") };
    let voices: Vec<_> = one.voices.iter().map(|v| (&*v.system, v.word, v.event)).collect();
    assert_eq!(voices, [("centre", Word::State(State::Given), yes), ("crm", Word::State(State::Refused), no)]);
    assert_eq!((one.purpose, one.category, one.recipient), (purpose(MAIL), category("contact"), department("marketing")));
    assert_eq!((one.holds.state, one.holds.event, one.stop, one.settled), (State::Withdrawn, Some(no), None, false));

    tale.say(2000, MAIL, State::Given);
    let all = found(&tale);
    assert_eq!((all.len(), all[0].holds.state, all[0].settled), (1, State::Given, true));
}

#[test]
fn a_rank_settles_nothing() {
    let mut tale = Tale::new();
    tale.rules.rule = ConflictRule::SourcePriority;
    tale.rules.sources = vec!["centre".to_owned()];
    tale.say(0, MAIL, State::Given);
    tale.say(1000, MAIL, State::Refused).by(Author::Staff).from("crm");
    let all = found(&tale);
    assert_eq!((all[0].holds.state, all[0].holds.rule, all[0].settled), (State::Given, ConflictRule::SourcePriority, false));
}

#[test]
fn merged_customers_disagree_until_the_customer_has_settled_it() {
    let mut tale = Tale::new();
    tale.joined = vec![joined(1, 2, 1000)];
    tale.say(0, MAIL, State::Given).group(1);
    tale.say(500, MAIL, State::Refused).from("crm").group(2);
    let all = found(&tale);
    assert_eq!((all[0].holds.conflict, all[0].settled), (true, false));
    tale.say(1001, MAIL, State::Refused).from("crm").group(2);
    let all = found(&tale);
    assert_eq!((all[0].holds.conflict, all[0].settled), (false, true));
}

#[test]
fn a_suppression_disagrees_with_a_grant_and_an_erasure_with_nobody() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Given);
    tale.stop(500, StopKind::Erasure, &[]).from("crm");
    assert_eq!(found(&tale), []);
    let stop = tale.stop(500, StopKind::Suppression, &["marketing"]).by(Author::System).from("mailer").id();
    let all = found(&tale);
    assert_eq!(all[0].voices.last().map(|v| (v.word, v.event)), Some((Word::Stop(StopKind::Suppression), stop)));
    assert_eq!((all[0].stop, all[0].holds.state, all[0].settled), (Some("erasure"), State::Given, true), "to be erased is her own word");
}

#[test]
fn a_text_that_is_no_profile_is_none() {
    let mut tale = Tale::new();
    tale.say(0, MAIL, State::Given);
    let text = tale.build().0.encode();
    assert!(Profile::decode(&text).is_some());
    for (from, to) in [("\"v\":2", "\"v\":3"), ("\"given\"", "\"granted\""), ("\"at\"", "\"when\""), ("{", "")] {
        let spoilt = text.replacen(from, to, 1);
        assert!(spoilt != text && Profile::decode(&spoilt).is_none(), "{spoilt}");
    }
    assert_eq!(Profile::decode(""), None);
}
