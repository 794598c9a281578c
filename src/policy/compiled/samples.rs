//! One question for each class that one or two compiled slices tell apart, whatever their purposes, bases and channels are: by
//! these two policy sets can be compared on every question there is.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::code::Code;
use super::facts::{DAY_MS, Fact, Field, Index};
use crate::model::{Age, Behalf, ConsentStatus, Environment, PartyFacts, Role, Segment, Stage, Task};

/// Roles whose sets are told apart one by one.
const ROLES_MAX: usize = 6;
/// Classes of one pair of slices.
const SAMPLES_MAX: usize = 200_000;

/// The facts of a question but names, basis and channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Sample {
    pub(in crate::policy) status: ConsentStatus,
    pub(in crate::policy) explicit: bool,
    pub(in crate::policy) party: PartyFacts,
    pub(in crate::policy) environment: Environment,
    pub(in crate::policy) gpc: bool,
    /// Of the employee, if there is one.
    pub(in crate::policy) roles: Option<Vec<Role>>,
    pub(in crate::policy) records: u32,
    pub(in crate::policy) now: Timestamp,
    pub(in crate::policy) task: Option<Task>,
    pub(in crate::policy) for_customer: Option<bool>,
    pub(in crate::policy) customers: Option<u32>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            status: ConsentStatus::Unknown,
            explicit: false,
            party: PartyFacts::unknown(Segment::Standard),
            environment: Environment::Test,
            gpc: false,
            roles: None,
            records: 0,
            now: Timestamp::UNIX_EPOCH,
            task: None,
            for_customer: None,
            customers: None,
        }
    }
}

const COUNTED: [Fact; 8] = [Fact::Status, Fact::Explicit, Fact::Stage, Fact::Segment, Fact::Age, Fact::LegalHold, Fact::Environment, Fact::Gpc];

type Codes<'c> = [(&'c Code, &'c Index)];

/// All classes of these slices together, for an agent with each of its tasks. `None`: there are too many.
pub(in crate::policy) fn samples(codes: &Codes<'_>, tasks: &BTreeSet<Task>) -> Option<Vec<Sample>> {
    let mut found = vec![Sample::default()];
    for fact in COUNTED {
        let field = Field::Fact(fact);
        let end = codes.first().map_or(0, |(_, index)| index.end(field));
        let values = distinct(0..end, |value| codes.iter().map(|(code, _)| code.row_of(field, *value)).collect::<Vec<_>>());
        found = product(&found, &values, |sample, value| set(sample, fact, *value))?;
    }
    found = product(&found, &employees(codes)?, |sample, roles| {
        sample.roles.clone_from(roles);
        Some(())
    })?;
    let records: BTreeSet<i64> = [0].into_iter().chain(cuts(codes, Field::Records)).collect();
    found = product(&found, &Vec::from_iter(records), |sample, value| {
        sample.records = u32::try_from(*value).ok()?;
        Some(())
    })?;
    // Without a bound, and with as many as any of the slices tells apart.
    let customers: BTreeSet<i64> = [0, 1].into_iter().chain(cuts(codes, Field::Customers)).collect();
    let customers = distinct(customers, |value| codes.iter().map(|(code, _)| code.row_of(Field::Customers, *value)).collect::<Vec<_>>());
    found = product(&found, &customers, |sample, value| {
        sample.customers = if *value == 0 { None } else { Some(u32::try_from(value - 1).ok()?) };
        Some(())
    })?;
    // Another catalogue may lack a task, and then it is no question there.
    let tasks: Vec<Option<Task>> = std::iter::once(None).chain(tasks.iter().copied().map(Some)).collect();
    found = product(&found, &tasks, |sample, task| {
        sample.task = *task;
        Some(())
    })?;
    found = product(&found, &behalves(codes), |sample, for_customer| {
        sample.for_customer = *for_customer;
        Some(())
    })?;
    product(&found, &times(codes), |sample, value| {
        sample.now = Timestamp::from_millisecond(*value).ok()?;
        Some(())
    })
}

/// For nobody or an employee, as the sample has one, and for customers where any slice looks at that.
fn behalves(codes: &Codes<'_>) -> Vec<Option<bool>> {
    let field = Field::Fact(Fact::Behalf);
    let end = codes.first().map_or(0, |(_, index)| index.end(field));
    let told_apart = distinct(0..end, |value| codes.iter().map(|(code, _)| code.row_of(field, *value)).collect::<Vec<_>>());
    if told_apart.len() > 1 { vec![None, Some(true), Some(false)] } else { vec![None] }
}

/// With every value set in every sample.
fn product<V>(samples: &[Sample], values: &[V], set: impl Fn(&mut Sample, &V) -> Option<()>) -> Option<Vec<Sample>> {
    if samples.len().saturating_mul(values.len()) > SAMPLES_MAX {
        return None;
    }
    let with = |sample: &Sample, value: &V| {
        let mut sample = sample.clone();
        set(&mut sample, value).map(|()| sample)
    };
    samples.iter().flat_map(|sample| values.iter().map(|value| with(sample, value))).collect()
}

/// The first value of each that look the same.
fn distinct<V, F: Ord>(values: impl IntoIterator<Item = V>, face: impl Fn(&V) -> F) -> Vec<V> {
    let mut known = BTreeSet::new();
    values.into_iter().filter(|value| known.insert(face(value))).collect()
}

fn cuts<'c>(codes: &'c Codes<'_>, field: Field) -> impl Iterator<Item = i64> + 'c {
    codes.iter().flat_map(move |(code, _)| code.cuts_of(field))
}

/// Nobody, and an employee with each set of the roles that any of the slices looks at.
fn employees(codes: &Codes<'_>) -> Option<Vec<Option<Vec<Role>>>> {
    let roles: BTreeSet<Role> = codes.iter().flat_map(|(code, index)| code.fields().filter_map(|field| index.role_of(field))).collect();
    if roles.len() > ROLES_MAX {
        return None;
    }
    let sets =
        (0..1_usize << roles.len()).map(|set| Some(roles.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, role)| *role).collect()));
    let face = |held: &Option<Vec<Role>>| {
        let value = |role: &Role| held.as_ref().map_or(0, |held| if held.contains(role) { 2 } else { 1 });
        let of = |(code, index): &(&Code, &Index)| {
            let behalf = if held.is_some() { Behalf::Employee } else { Behalf::Nobody };
            let facts = [(Fact::Employee, i64::from(held.is_some())), (Fact::Behalf, behalf as i64)];
            let facts = facts.map(|(fact, value)| code.row_of(Field::Fact(fact), value));
            let rows = roles.iter().filter_map(|role| Some(code.row_of(index.role(role.as_str())?, value(role))));
            facts.into_iter().chain(rows).map(<[u64]>::to_vec).collect::<Vec<_>>()
        };
        codes.iter().map(of).collect::<Vec<_>>()
    };
    Some(distinct(std::iter::once(None).chain(sets), face))
}

/// Moments, and times of the day within the stretches between them.
fn times(codes: &Codes<'_>) -> Vec<i64> {
    let moments: BTreeSet<i64> = [0].into_iter().chain(cuts(codes, Field::Now)).collect();
    let of_day: BTreeSet<i64> = [0].into_iter().chain(cuts(codes, Field::TimeOfDay)).collect();
    let within = |moment: i64| {
        // A stretch of two days holds every time of the day; a shorter one those that follow its beginning.
        let days = [0, 1, 2].map(|day| moment - moment.rem_euclid(DAY_MS) + day * DAY_MS);
        days.into_iter().flat_map(|day| of_day.iter().map(move |time| day + time)).filter(move |time| *time >= moment).collect::<Vec<_>>()
    };
    let all: BTreeSet<i64> = moments.iter().flat_map(|moment| std::iter::once(*moment).chain(within(*moment))).collect();
    let face = |value: &i64| {
        let of = |(code, _): &(&Code, &Index)| {
            [code.row_of(Field::Now, *value).to_vec(), code.row_of(Field::TimeOfDay, value.rem_euclid(DAY_MS)).to_vec()]
        };
        codes.iter().map(of).collect::<Vec<_>>()
    };
    distinct(all, face)
}

fn set(sample: &mut Sample, fact: Fact, value: i64) -> Option<()> {
    let at = usize::try_from(value).ok()?;
    match fact {
        Fact::Status => sample.status = *ConsentStatus::ALL.get(at)?,
        Fact::Explicit => sample.explicit = at == 1,
        Fact::Stage => sample.party.stage = *Stage::ALL.get(at)?,
        Fact::Segment => sample.party.segment = *Segment::ALL.get(at)?,
        Fact::Age => sample.party.age = *Age::ALL.get(at)?,
        Fact::LegalHold => sample.party.legal_hold = at == 1,
        Fact::Environment => sample.environment = *Environment::ALL.get(at)?,
        Fact::Gpc => sample.gpc = at == 1,
        Fact::Purpose | Fact::Basis | Fact::Channel | Fact::Employee | Fact::Behalf | Fact::Task => return None,
    }
    Some(())
}
