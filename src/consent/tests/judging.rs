//! What profiles answer equals a slow reading of the records, in whatever order they arrive; and nothing that closes ever opens.

use proptest::prelude::*;

use crate::consent::conflicts::disagreements;
use crate::consent::profile::{Joined, Profile, build};
use crate::consent::record::Matter;
use crate::model::{Age, Author, EventId};

use super::reference::Reading;
use super::tale::{Tale, after};
use super::*;

/// The data of a statement: mostly the contact data, a whole that it is a part of, or something else.
const DATA: [&str; 6] = ["contact", "contact", "contact", "profile", "all-data", "behaviour"];

/// What a tale is about: two purposes that have to do with each other, the second mostly below the first.
const ABOUT: [[&str; 2]; 5] = [
    ["marketing", "marketing.email"],
    ["marketing", "marketing.phone"],
    ["sales", "sales.outreach"],
    ["profiling", "marketing.personalised"],
    ["third-party-sharing", "sales.outreach"],
];
const SYSTEMS: [&str; 3] = ["centre", "shop", "crm"];
const BASES: [LawfulBasis; 3] = [LawfulBasis::Consent, LawfulBasis::LegitimateInterest, LawfulBasis::VitalInterest];
const STOPS: [StopKind; 4] = [StopKind::ObjectionMarketing, StopKind::OptOutGpc, StopKind::Suppression, StopKind::Restriction];

#[derive(Clone, Debug)]
struct Line {
    at: i64,
    about: usize,
    what: What,
    author: Author,
    system: usize,
    group: u16,
    /// Another line, for what is about one.
    other: usize,
    due: Option<i64>,
    /// Rare traits, one bit each.
    rare: u8,
    /// Of which data it speaks, and whether a grant's notice names that.
    data: usize,
    named: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Say(State),
    Stop(StopKind),
    Lift,
    Delegate(Holder),
    Occur,
}

fn line() -> impl Strategy<Value = Line> {
    let what = prop_oneof![
        8 => Just(What::Say(State::Given)),
        1 => Just(What::Say(State::Renewed)),
        5 => prop::sample::select(vec![State::Refused, State::Withdrawn, State::Revoked, State::Expired, State::Superseded]).prop_map(What::Say),
        1 => Just(What::Say(State::Invalidated)),
        1 => prop::sample::select(vec![State::Requested, State::Deferred]).prop_map(What::Say),
        2 => Just(What::Say(State::PendingConfirmation)),
        2 => prop::sample::select(STOPS.to_vec()).prop_map(What::Stop),
        1 => Just(What::Lift),
        2 => prop::sample::select(Holder::ALL.to_vec()).prop_map(What::Delegate),
        1 => Just(What::Occur),
    ];
    let author = prop_oneof![6 => Just(Author::Customer), 2 => Just(Author::Guardian), 1 => Just(Author::Staff), 1 => Just(Author::System)];
    let rare = prop_oneof![3 => Just(0_u8), 2 => any::<u8>().prop_map(|a| 1 << (a % 8)), 1 => any::<u8>()];
    // Half-minute steps: ties and the skew of a minute are common.
    let rare = (rare, 0..DATA.len(), any::<bool>());
    (0_i64..14, 0_usize..2, what, author, 0..SYSTEMS.len(), 0_u16..3, 0_usize..12, prop::option::weighted(0.2, 0_i64..30), rare).prop_map(
        |(at, about, what, author, system, group, other, due, (rare, data, named))| Line {
            at: at * 30,
            about,
            what,
            author,
            system,
            group,
            other,
            due: due.map(|due| due * 30),
            rare,
            data,
            named,
        },
    )
}

fn tell(tale: &mut Tale, [wide, narrow]: [&str; 2], line: &Line, ids: usize) {
    let is = |bit: u8| line.rare & (1 << bit) != 0;
    let about = if line.about == 0 { wide } else { narrow };
    let only = [about];
    let scope: &[&str] = if is(0) { &only } else { &[] };
    let told = match line.what {
        What::Say(state) => tale.say(line.at, about, state),
        What::Stop(kind @ (StopKind::OptOutGpc | StopKind::Suppression)) => tale.stop(line.at, kind, scope),
        What::Stop(kind) => tale.stop(line.at, kind, &[]),
        What::Lift => tale.tell(line.at, Matter::Lift),
        What::Delegate(holder) => tale.delegate(line.at, holder, scope),
        What::Occur => tale.tell(line.at, Matter::Occurrence("contract-ended".to_owned())),
    };
    told.by(line.author).from(SYSTEMS[line.system]).group(line.group);
    told.carries_grants = !is(1);
    told.form().is_evidenced = !is(2);
    if is(3) {
        told.record.event_time = None;
    }
    let needs_other = matches!(line.what, What::Lift | What::Say(State::Invalidated | State::Given));
    told.record.about = needs_other.then(|| EventId((line.other % ids) as u64 + 1)).filter(|_| !is(4));
    match line.what {
        What::Say(state) if state.opens() => {
            told.record.due = line.due.map(after);
            told.record.uses_left = is(5).then(|| u32::from(line.due.is_some()));
            let system = line.system;
            let terms = told.terms();
            terms.named_purposes = if line.other.is_multiple_of(2) { terms.purposes.clone() } else { [].into() };
            terms.notice = Some(("n-4".to_owned(), (system % 2).to_string()));
            let data = vec![category(DATA[line.data])];
            terms.named_categories = if line.named { data.clone().into() } else { [].into() };
            terms.scope.categories = if line.named && line.other.is_multiple_of(3) { vec![] } else { data };
            if let Matter::Said { until, .. } = &mut told.form().matter {
                *until = is(7).then(|| "contract-ended".to_owned());
            }
        }
        // Some of what closes is recorded after our clock was set back.
        What::Stop(_) if is(5) => told.record.record_time = after(line.at),
        What::Say(State::PendingConfirmation) | What::Delegate(_) => told.record.due = line.due.map(after),
        What::Say(state) if state.closes() => {
            if is(5) {
                told.record.record_time = after(line.at);
            }
            let terms = told.terms();
            terms.purposes = if is(0) { [].into() } else { terms.purposes.clone() };
            terms.scope.channels = if is(6) { vec![Channel::Email] } else { vec![] };
            terms.scope.categories = if line.named { vec![category(DATA[line.data])] } else { vec![] };
        }
        What::Stop(_) if line.named => {
            if let Matter::Stop { scope, .. } = &mut told.form().matter {
                scope.categories = vec![category(DATA[line.data])];
            }
        }
        What::Say(_) | What::Stop(_) | What::Lift | What::Occur => {}
    }
}

/// A tale, and what it is about.
fn tale() -> impl Strategy<Value = (Tale, [&'static str; 2])> {
    let ages = prop::sample::select(vec![Age::Unknown, Age::Unknown, Age::Adult, Age::Minor]);
    let ages = (ages, prop::option::weighted(0.2, 0_i64..14), prop::bool::weighted(0.2));
    let joins = prop::collection::vec((0_u16..3, 0_u16..3, 0_i64..14), 0..4);
    let about = prop::sample::select(ABOUT.to_vec());
    (prop::collection::vec(line(), 1..10), about, ages, joins, 0_i64..30, any::<bool>(), any::<bool>()).prop_map(
        |(lines, about, (age, adult_since, is_organisation), joins, at, alone, superseded)| {
            let mut tale = Tale::new();
            for line in &lines {
                tell(&mut tale, about, line, lines.len());
                if alone {
                    tale.told.last_mut().unwrap().group = 0;
                }
            }
            tale.age = age;
            tale.is_organisation = is_organisation;
            tale.adult_since = adult_since.map(|since| after(since * 30));
            tale.at = after(at * 30);
            tale.joined = joins.into_iter().map(|(a, b, at)| Joined { a, b, at: after(at * 30) }).collect();
            if superseded {
                tale.superseded.insert(("n-4".to_owned(), "1".to_owned()));
            }
            tale.rules.rules.insert(purpose("sales"), ConflictRule::SourcePriority);
            tale.rules.sources = vec!["centre".to_owned(), "shop".to_owned()];
            tale.rules.double_opt_in = vec![purpose("marketing.phone")];
            (tale, about)
        },
    )
}

fn reading<'a>(tale: &'a Tale, about: &str) -> Reading<'a> {
    Reading { tale, purpose: purpose(about), rule: rule_for(&tale.vocabulary, &tale.rules, purpose(about)), group: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn profiles_answer_as_a_slow_reading_does((tale, about) in tale()) {
        for about in about {
            let (found, expected) = (tale.effective(about), reading(&tale, about).answer());
            prop_assert_eq!(found.state.opens(), expected.open, "{}: {:?}", about, found);
            let needs_none = tale.is_organisation && (expected.open || !expected.refused);
            prop_assert_eq!(found.status == ConsentStatus::NotNeeded, needs_none, "{}: {:?}", about, found);
            prop_assert_eq!(found.status == ConsentStatus::Given, expected.open && !tale.is_organisation);
            if let Some(grant) = expected.grant {
                prop_assert_eq!(found.event, Some(grant), "{}", about);
                prop_assert_eq!(expected.lapsed.unwrap_or(found.state), found.state, "{}", about);
            }
            prop_assert_eq!(found.conflict, expected.conflict && !needs_none, "{}: {:?}", about, found);
            let closed: Vec<_> = LawfulBasis::ALL.iter().filter_map(|basis| Some((*basis, tale.floor(about, *basis).err()?))).collect();
            prop_assert_eq!(tale.closed_for(about), closed, "{}", about);
            for basis in BASES {
                prop_assert_eq!(tale.floor(about, basis).err(), reading(&tale, about).floor(basis), "{} {}", about, basis);
            }
        }
    }

    #[test]
    fn the_order_of_arrival_changes_nothing((tale, _) in tale(), seed in any::<prop::sample::Index>()) {
        let mut shuffled = tale.reaching();
        let half = seed.index(shuffled.len());
        shuffled.rotate_left(half);
        let middle = shuffled.len() / 2;
        shuffled[middle..].reverse();
        prop_assert_eq!(build(shuffled, &tale.circumstances()), tale.build());
    }

    #[test]
    fn nothing_that_closes_opens((tale, about) in tale(), mut last in line(), closing in 0_usize..10) {
        last.what = match closing {
            0..=3 => What::Stop(STOPS[closing]),
            4 => What::Say(State::Refused),
            5 => What::Say(State::Withdrawn),
            6 => What::Say(State::Revoked),
            7 => What::Say(State::Expired),
            8 => What::Say(State::Superseded),
            _ => What::Say(State::Invalidated),
        };
        last.at = 15 * 30;
        let mut stricter = tale.clone();
        tell(&mut stricter, about, &last, tale.told.len());
        for about in about {
            prop_assert!(tale.state(about).opens() || !stricter.state(about).opens(), "{} opened", about);
            let needs_none = |tale: &Tale| tale.effective(about).status == ConsentStatus::NotNeeded;
            prop_assert!(needs_none(&tale) || !needs_none(&stricter), "{} came to need none", about);
            for basis in BASES {
                prop_assert!(tale.floor(about, basis).is_ok() || stricter.floor(about, basis).is_err(), "the floor of {} opened for {}", about, basis);
            }
        }
    }

    #[test]
    fn a_profile_comes_back_from_its_text((tale, _) in tale()) {
        let (profile, _) = tale.build();
        prop_assert_eq!(Profile::decode(&profile.encode()), Some(profile));
    }

    #[test]
    fn what_holds_in_a_disagreement_is_what_status_says((tale, _) in tale()) {
        let (profile, events) = tale.build();
        for found in disagreements(&profile, &tale.vocabulary, &tale.rules) {
            let holds = status(&profile, &tale.vocabulary, &tale.rules, found.purpose, found.category, found.recipient, found.channel);
            prop_assert_eq!(&holds, &found.holds);
            let found = found.resolve(|at| events.get(at.0 as usize).copied());
            let (yes, no) = (found.voices.iter().any(|voice| voice.word.opens()), found.voices.iter().any(|voice| !voice.word.opens()));
            prop_assert!(yes && no || found.holds.conflict);
            prop_assert!(!found.settled || !found.holds.conflict || found.stop.is_some());
        }
    }

    #[test]
    fn the_list_names_a_merge_for_the_purposes_for_which_decisions_do((tale, _) in tale()) {
        let Tale { vocabulary, rules, .. } = &tale;
        let (profile, _) = tale.build();
        let listed: Vec<Purpose> =
            disagreements(&profile, vocabulary, rules).into_iter().filter(|found| found.holds.conflict).map(|found| found.purpose).collect();
        let conflicts = |about: Purpose| {
            let uses = vocabulary.categories.keys().flat_map(|c| vocabulary.departments.keys().map(move |d| (*c, *d)));
            let mut decided = uses.into_iter().map(|(c, d)| status(&profile, vocabulary, rules, about, c, d, vocabulary.channel(about)));
            decided.any(|decided| decided.conflict)
        };
        let decided: Vec<Purpose> = vocabulary.purposes.keys().copied().filter(|about| conflicts(*about)).collect();
        prop_assert_eq!(listed, decided);
    }
}
