//! Over any history of statements, stops, links, merges, splits, erasures and notices: the projection that was kept up step by
//! step equals the one rebuilt from the store and the one read from a snapshot, and no stop turns into a permit.

use proptest::prelude::*;

use crate::model::{Author, EventId, PartyNo, Revision};

use super::super::snapshot;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Say { who: usize, about: usize, state: usize, ago: u64, by_staff: bool, evidenced: bool, timed: bool, expires: Option<u64> },
    Stop { who: usize, kind: usize, ago: u64 },
    Link { who: usize, to: usize, matched: bool },
    Create { who: usize, matching: usize },
    Merge { into: usize, from: usize },
    Unmerge { from: usize },
    SplitOff { party: usize, who: usize },
    Guardian { who: usize, until: Option<u64> },
    Notice { version: u8, supersedes: bool },
    Facts { who: usize, adult_in: u64 },
    Kind { who: usize, organisation: bool },
    Lift,
    Pass(u64),
}

const WHO: [&str; 6] = ["crm:1", "email:ann@example.org", "crm:2", "crm:3", "crm:4", "email:zoe@example.org"];
const ABOUT: [&str; 4] = ["marketing", "marketing.email", "sales.outreach", "third-party-sharing"];
const STATES: [State; 6] = [State::Given, State::Refused, State::Withdrawn, State::Renewed, State::Superseded, State::Requested];
const STOPS: [StopKind; 5] = [StopKind::Restriction, StopKind::ObjectionMarketing, StopKind::OptOutGpc, StopKind::Suppression, StopKind::Erasure];

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..WHO.len();
    let say = (who(), 0..ABOUT.len(), 0..STATES.len(), 0_u64..200, any::<(bool, bool, bool)>(), prop::option::of(1_u64..300)).prop_map(
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
        2 => (who(), 0..STOPS.len(), 0_u64..200).prop_map(|(who, kind, ago)| Step::Stop { who, kind, ago }),
        1 => (who(), who(), any::<bool>()).prop_map(|(who, to, matched)| Step::Link { who, to, matched }),
        1 => (who(), who()).prop_map(|(who, matching)| Step::Create { who, matching }),
        2 => (who(), who()).prop_map(|(into, from)| Step::Merge { into, from }),
        1 => who().prop_map(|from| Step::Unmerge { from }),
        1 => (who(), who()).prop_map(|(party, who)| Step::SplitOff { party, who }),
        1 => (who(), prop::option::of(1_u64..300)).prop_map(|(who, until)| Step::Guardian { who, until }),
        1 => (0_u8..3, any::<bool>()).prop_map(|(version, supersedes)| Step::Notice { version, supersedes }),
        1 => (who(), 1_u64..300).prop_map(|(who, adult_in)| Step::Facts { who, adult_in }),
        2 => (who(), any::<bool>()).prop_map(|(who, organisation)| Step::Kind { who, organisation }),
        1 => Just(Step::Lift),
        3 => (1_u64..150).prop_map(Step::Pass),
    ]
}

/// What the customer said for certain, in the order in which it was said.
#[derive(Default)]
struct Told {
    restrictions: Vec<EventId>,
    /// Ids with the purpose that a stop or refusal covers, and since when.
    closed: Vec<(usize, &'static str, Timestamp)>,
    /// Purposes that a customer's evidenced grant named, and when, whoever's.
    granted: Vec<(&'static str, Timestamp)>,
}

// Refusals by the ledger's rules are part of the game.
fn take(bench: &Bench, step: &Step, told: &mut Told) {
    let after = |s: u64| bench.now() + seconds(i64::try_from(s).unwrap());
    let before = |s: u64| bench.now() - seconds(i64::try_from(s).unwrap());
    let party = |who: usize| PartyRef::from(id(WHO[who]));
    match *step {
        Step::Say { who, about, state, ago, by_staff, evidenced, timed, expires } => {
            let mut draft = bench.draft(WHO[who], ABOUT[about], STATES[state]);
            draft.event_time = timed.then(|| before(ago));
            draft.expires = expires.filter(|_| STATES[state].opens()).map(after);
            draft.claims = if ago % 11 == 0 { Author::Guardian } else { Author::Customer };
            draft.notice = (ago % 5 == 0).then(|| Notice { id: "news".to_owned(), version: (ago % 3).to_string(), ..Notice::default() });
            if !evidenced {
                draft.evidence.clear();
            }
            if bench.ledger.record(draft, &if by_staff { staff() } else { centre() }).is_ok() {
                let time = if timed { before(ago) } else { bench.now() };
                if STATES[state].opens() {
                    told.granted.push((ABOUT[about], time));
                } else if STATES[state].closes() {
                    told.closed.push((who, ABOUT[about], time));
                }
            }
        }
        Step::Stop { who, kind, ago } => {
            let mut draft = StopDraft::new(id(WHO[who]), STOPS[kind]);
            draft.event_time = Some(before(ago));
            let Ok(done) = bench.ledger.add_stop(draft, &centre()) else { return };
            match STOPS[kind] {
                StopKind::Restriction => told.restrictions.push(done.event),
                StopKind::ObjectionMarketing => told.closed.push((who, "marketing", before(ago))),
                StopKind::Deceased | StopKind::Legal | StopKind::Objection | StopKind::OptOutSale | StopKind::OptOutSensitive => {}
                StopKind::Erasure => drop(std::fs::remove_file(bench.dir.path().join("consent.db.snapshot"))),
                StopKind::OptOutGpc | StopKind::Suppression => ABOUT.iter().for_each(|about| told.closed.push((who, about, before(ago)))),
            }
        }
        Step::Link { who, to, matched } => {
            let assurance = if matched { Assurance::Matched } else { Assurance::Asserted };
            drop(bench.ledger.link(&party(to), &id(WHO[who]), assurance, &staff()));
        }
        Step::Create { who, matching } => drop(bench.ledger.link_created(&id(WHO[who]), &[id(WHO[matching])])),
        Step::Merge { into, from } => {
            let draft = MergeDraft { into: party(into), from: party(from), time: None, reason: "same person".to_owned() };
            drop(bench.ledger.merge(&draft, &staff()));
        }
        Step::Unmerge { from } => drop(bench.ledger.split(&party(from), &SplitOff::Merged(party(from)), "two people", &staff())),
        Step::SplitOff { party: of, who } => {
            drop(bench.ledger.split(&party(of), &SplitOff::Identifiers(vec![id(WHO[who])]), "two people", &staff()));
        }
        Step::Guardian { who, until } => {
            let delegation = Delegation { holder: Holder::Guardian, purposes: vec![], until: until.map(after) };
            let draft = NoteDraft {
                subject: party(who),
                note: Note::Delegation(delegation),
                event_time: Some(before(200)),
                claims: Author::Staff,
                evidence: evidence(),
                source_system: None,
                idempotency_key: None,
            };
            drop(bench.ledger.note(draft, &staff()));
        }
        Step::Notice { version, supersedes } => {
            let version = NoticeVersion {
                notice: Notice { id: "news".to_owned(), version: version.to_string(), purposes: vec![purpose("marketing")], ..Notice::default() },
                language: "en".to_owned(),
                text: None,
                hash: "7".repeat(64),
                url: None,
                valid_from: bench.now(),
                valid_to: None,
                supersedes,
                revision: Revision(0),
            };
            drop(bench.ledger.add_notice(version, None));
        }
        Step::Facts { who, adult_in } => {
            let facts = FactsDraft { adult_from: Some(after(adult_in)), source: "crm".to_owned(), ..FactsDraft::default() };
            drop(bench.ledger.put_facts(&party(who), &facts));
        }
        Step::Kind { who, organisation } => {
            let kind = if organisation { PartyKind::Organisation } else { PartyKind::Person };
            drop(bench.ledger.change_kind(&party(who), kind, "taken in as another", &staff()));
        }
        Step::Lift => {
            if let Some(stop) = told.restrictions.pop() {
                let draft = LiftDraft { stop, reason: "verified".to_owned(), evidence: evidence(), idempotency_key: None };
                // It may have been put on an id that is erased since.
                drop(bench.ledger.lift_stop(draft, &staff()));
            }
        }
        Step::Pass(seconds) => {
            bench.advance(seconds);
            bench.ledger.tick(bench.now()).unwrap();
        }
    }
}

/// All that the request path can see of everybody.
pub(super) fn everything(ledger: &Ledger) -> Vec<String> {
    let projection = ledger.reading();
    let party = |no: u64| {
        let seen = projection.seen(PartyNo(no)).unwrap();
        format!("{no} {:?} {:?} {:?} {:?}", seen.revision, seen.about, seen.events(), seen.profile)
    };
    let ids = WHO.iter().map(|who| {
        let id = id(who);
        format!("{who} {:?} {:?} {}", projection.resolve(&id), projection.reached_by(&id), projection.is_erased(&id))
    });
    (1..=projection.party_count()).map(party).chain(ids).chain([format!("{:?}", projection.revision)]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kept_equals_rebuilt_equals_restored_and_no_stop_is_lost(steps in prop::collection::vec(step(), 1..40), pause in 0_usize..40) {
        let bench = bench();
        bench.import("identifiers\ncrm:2\ncrm:3\n");
        let file = bench.dir.path().join("consent.db.snapshot");
        let mut told = Told::default();
        for (n, step) in steps.iter().enumerate() {
            take(&bench, step, &mut told);
            if n == pause {
                snapshot::write(&file, &bench.ledger).unwrap();
            }
        }
        bench.ledger.tick(bench.now()).unwrap();

        // Whether a notice lost its force before or after the start is not seen from a revision of one customer.
        let visible = |ledger: &Ledger| {
            ledger.writing().notices = Revision(0);
            everything(ledger)
        };
        let kept = visible(&bench.ledger);
        prop_assert_eq!(&kept, &visible(&bench.reopened()));
        let restored = Ledger::open(&bench.dir.path().join("consent.db"), Arc::clone(&bench.clock) as Arc<dyn Clock>).unwrap();
        prop_assert_eq!(&kept, &visible(&restored));

        for (who, about, since) in &told.closed {
            let names_it = |(purpose, time): &(&str, Timestamp)| purpose == about && time > since;
            if bench.ledger.standing(&id(WHO[*who])).unwrap().is_some() && !told.granted.iter().any(names_it) {
                let open = matches!(bench.status(WHO[*who], about), ConsentStatus::Given | ConsentStatus::NotNeeded)
                    && bench.floor(WHO[*who], about, LawfulBasis::Consent).is_ok();
                prop_assert!(!open, "{} {about}", WHO[*who]);
            }
        }
    }
}
