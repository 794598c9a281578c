//! Every event in every state.

use crate::consent::states::{StateEvent, Transition, next};

use super::*;

/// The columns, in the order of [`State::ALL`]; each letter below is one of them, `.` where nothing changes.
const LETTERS: &str = "URDPGNFWVESI";

const TABLE: [(StateEvent, &str); 13] = [
    (StateEvent::Request, "RRR......RR."),
    (StateEvent::Defer, "DDDD.....DD."),
    (StateEvent::AwaitConfirmation, "PPPP.....PP."),
    (StateEvent::Confirm, "...G........"),
    (StateEvent::Give, "GGGGGGGGGGGG"),
    (StateEvent::Renew, "....NN...NN."),
    (StateEvent::Refuse, "FFFFWWFWFFFF"),
    (StateEvent::Withdraw, "WWWWWWWWWWW."),
    (StateEvent::Revoke, "VVVVVV..VVV."),
    (StateEvent::Expire, "EUUUEE...EE."),
    (StateEvent::Supersede, "S...SS...SS."),
    (StateEvent::Invalidate, "IIIIII.IIIII"),
    (StateEvent::ComeOfAge, "....RR......"),
];

#[test]
fn each_event_makes_of_each_state_what_the_table_says() {
    assert_eq!(TABLE.map(|(event, _)| event).as_slice(), StateEvent::ALL, "the table misses an event");
    for (event, row) in TABLE {
        for (current, letter) in State::ALL.iter().zip(row.chars()) {
            let expected = LETTERS.chars().position(|l| l == letter).map(|at| State::ALL[at]);
            match next(*current, event) {
                Transition::To(state) => assert_eq!(Some(state), expected, "{event} of {current}"),
                Transition::Stays(why) => assert!(expected.is_none() && !why.is_empty(), "{event} of {current} stays: {why}"),
            }
        }
    }
}

#[test]
fn only_giving_confirming_and_renewing_open() {
    for event in StateEvent::ALL {
        let opening: Vec<_> = State::ALL.iter().filter(|s| !s.opens() && next(**s, *event).from(**s).opens()).collect();
        let may_open = matches!(event, StateEvent::Give | StateEvent::Confirm | StateEvent::Renew);
        assert_eq!(!opening.is_empty(), may_open, "{event} opens from {opening:?}");
    }
}
