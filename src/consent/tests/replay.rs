//! The projection that was kept up event by event equals the one rebuilt from the store, and both answer as a slow reading of
//! all events does that knows neither positions nor profiles.

use proptest::prelude::*;

use crate::model::{Author, ConsentStatus, EventId, Revision};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Say { who: usize, about: usize, state: usize, ago: u64, by_staff: bool, evidenced: bool, timed: bool, expires: Option<u64> },
    Stop { who: usize, kind: usize, ago: u64 },
    Link { who: usize, to: usize, matched: bool },
    Create { who: usize, matching: usize },
    Lift,
    Pass(u64),
}

const WHO: [&str; 6] = ["crm:1", "email:ann@example.org", "crm:2", "crm:3", "crm:4", "email:zoe@example.org"];
const ABOUT: [&str; 4] = ["marketing", "marketing.email", "sales.outreach", "third-party-sharing"];
const STATES: [State; 6] = [State::Given, State::Refused, State::Withdrawn, State::Renewed, State::Superseded, State::Requested];
const STOPS: [StopKind; 5] = [StopKind::Restriction, StopKind::ObjectionMarketing, StopKind::OptOutGpc, StopKind::Suppression, StopKind::Erasure];

fn step() -> impl Strategy<Value = Step> {
    let say = (0..WHO.len(), 0..ABOUT.len(), 0..STATES.len(), 0_u64..200, any::<(bool, bool, bool)>(), prop::option::of(1_u64..300)).prop_map(
        |(who, about, state, ago, (by_staff, unevidenced, untimed), expires)| Step::Say {
            who,
            about,
            state,
            ago,
            by_staff,
            evidenced: !unevidenced || ago % 3 != 0,
            timed: !untimed || ago % 3 != 1,
            expires,
        },
    );
    prop_oneof![
        8 => say,
        2 => (0..WHO.len(), 0..STOPS.len(), 0_u64..200).prop_map(|(who, kind, ago)| Step::Stop { who, kind, ago }),
        1 => (0..WHO.len(), 0..WHO.len(), any::<bool>()).prop_map(|(who, to, matched)| Step::Link { who, to, matched }),
        1 => (0..WHO.len(), 0..WHO.len()).prop_map(|(who, matching)| Step::Create { who, matching }),
        1 => Just(Step::Lift),
        3 => (1_u64..150).prop_map(Step::Pass),
    ]
}

fn take(bench: &Bench, step: &Step, restrictions: &mut Vec<EventId>) {
    match *step {
        Step::Say { who, about, state, ago, by_staff, evidenced, timed, expires } => {
            let mut draft = bench.draft(WHO[who], ABOUT[about], STATES[state]);
            draft.event_time = timed.then(|| bench.now() - seconds(i64::try_from(ago).unwrap()));
            draft.expires = expires.filter(|_| STATES[state].opens()).map(|s| bench.now() + seconds(i64::try_from(s).unwrap()));
            if !evidenced {
                draft.evidence.clear();
            }
            // Refusals by rules (erased) are part of the game.
            drop(bench.ledger.record(draft, &if by_staff { staff() } else { centre() }));
        }
        Step::Stop { who, kind, ago } => {
            let mut draft = StopDraft::new(id(WHO[who]), STOPS[kind]);
            draft.event_time = Some(bench.now() - seconds(i64::try_from(ago).unwrap()));
            let done = bench.ledger.add_stop(draft, &centre()).unwrap();
            if STOPS[kind] == StopKind::Restriction {
                restrictions.push(done.event);
            }
        }
        Step::Link { who, to, matched } => {
            let assurance = if matched { Assurance::Matched } else { Assurance::Asserted };
            drop(bench.ledger.link(&id(WHO[to]).into(), &id(WHO[who]), assurance, &staff()));
        }
        Step::Create { who, matching } => drop(bench.ledger.link_created(&id(WHO[who]), &[id(WHO[matching])])),
        Step::Lift => {
            if let Some(stop) = restrictions.pop() {
                let draft = LiftDraft { stop, reason: "verified".to_owned(), evidence: evidence(), idempotency_key: None };
                bench.ledger.lift_stop(draft, &staff()).unwrap();
            }
        }
        Step::Pass(seconds) => {
            bench.advance(seconds);
            bench.ledger.tick(bench.now()).unwrap();
        }
    }
}

/// `customer-last-word/v1` read off the events with their times; renewals are left to their own test.
fn slowly(events: &[Event], about: &str, now: Timestamp, since: impl Fn(&Event) -> Option<Revision>, vocabulary: &Vocabulary) -> bool {
    let about = purpose(about);
    let at = |event: &Event| event.event_time.unwrap_or(event.record_time);
    let consents = || events.iter().filter_map(|e| if let What::Consent(c) = &e.what { Some((e, c)) } else { None });
    let grant = consents()
        .filter(|(e, c)| {
            c.state == State::Given
                && c.purposes.contains(&about)
                && e.author == Author::Customer
                && !e.evidence.is_empty()
                && e.event_time.is_some()
                && since(e).is_some_and(|linked| e.revision > linked)
        })
        .max_by_key(|(e, _)| (at(e), e.revision));
    let Some((grant, consent)) = grant else { return false };
    let refused = consents().any(|(e, c)| {
        let skew = if e.captured_by == grant.captured_by { 0 } else { 60 };
        c.state.closes() && c.purposes.iter().any(|p| vocabulary.is_within(about, *p)) && at(e) >= at(grant) - seconds(skew)
    });
    !refused && consent.expires.is_none_or(|expires| expires > now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_equals_rebuilt_equals_slow_reading(steps in prop::collection::vec(step(), 1..40)) {
        let bench = bench();
        bench.import("identifiers\ncrm:2\n");
        let mut restrictions = Vec::new();
        for step in &steps {
            take(&bench, step, &mut restrictions);
        }
        bench.ledger.tick(bench.now()).unwrap();

        let again = bench.reopened();
        let (kept, rebuilt) = (bench.ledger.reading(), again.reading());
        prop_assert_eq!(kept.revision, rebuilt.revision);
        prop_assert_eq!(kept.parties().len(), rebuilt.parties().len());
        for (a, b) in kept.parties().iter().zip(rebuilt.parties()) {
            prop_assert_eq!((a.no, &a.id, a.revision, &a.events), (b.no, &b.id, b.revision, &b.events));
            prop_assert_eq!(&a.profile, &b.profile);
        }
        drop((kept, rebuilt));

        let renewed = steps.iter().any(|s| matches!(s, Step::Say { state, .. } if STATES[*state] == State::Renewed));
        for who in WHO {
            let Ok(view) = bench.ledger.show_party(&id(who).into()) else { continue };
            let linked = |event: &Event| {
                let link = view.links.iter().find(|l| l.identifier == event.identifier && l.assurance != Assurance::Matched)?;
                bench.ledger.reading().parties().iter().find(|p| p.no == view.no)?.links.iter().find(|l| *l.identifier == link.identifier).map(|l| l.revision)
            };
            let identifiers: Vec<_> = view.links.iter().map(|l| l.identifier.clone()).chain([PartyRef::Party(view.id.clone()).identifier()]).collect();
            let events = bench.ledger.store.events(&identifiers).unwrap();
            for about in ["marketing", "marketing.email", "sales.outreach"] {
                if renewed {
                    continue;
                }
                let expected = slowly(&events, about, bench.now(), linked, &bench.vocabulary);
                prop_assert_eq!(bench.status(who, about) == ConsentStatus::Given, expected, "{} {}", who, about);
            }
        }
    }
}
