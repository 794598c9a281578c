//! What was decided, read back so that it can be decided again: groups of customers with the question that was put about them
//! and its verdicts, in the order of the log. No payload is needed, and no customer is known by more than a number.
//!
//! Heads say who asked what, and parts refer to their head; facts and verdicts stand in dictionary entries. Equal ones of all
//! segments are one here (a number in [`Past`]), so that whoever judges again judges each combination once.
//!
//! What a record does not say is not guessed: a group without [`Grounds`] of this version, without its head or without its
//! dictionary entries is counted and passed over ([`Gap`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::content;
use super::encode::GROUNDS_VERSION;
use super::error::AuditError;
use super::line::{Kind, Line, Reference};
use super::parties;
use super::segment::{self, Cursor, SegmentFile};
use crate::model::{
    Action, Age, Channel, ConsentStatus, Environment, Grounds, LawfulBasis, PartyFacts, PartyNo, Release, Segment, Stage, Task, Whom,
};

/// Heads that wait for their parts and their end; the oldest goes first. Some 200 B each.
const OPEN_MAX: usize = 65_536;

/// Who asked what, as heads say it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PastCaller {
    pub app: String,
    pub department: String,
    pub has_employee: bool,
    pub roles: Vec<String>,
    pub purpose: String,
    pub channel: Channel,
    pub environment: Environment,
    /// Hash of the policy folder that decided.
    pub policies: String,
}

/// The verdicts of a group, with what they were judged on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastVerdicts {
    pub facts: Option<PartyFacts>,
    pub verdicts: Vec<PastVerdict>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastVerdict {
    pub category: String,
    pub release: Release,
    pub policies: Vec<String>,
    pub basis: LawfulBasis,
    pub status: ConsentStatus,
    pub grounds: Grounds,
}

/// A group of customers of one entry.
#[derive(Clone, Copy, Debug)]
pub struct PastGroup<'a> {
    /// The decision's index in the log.
    pub decision: u64,
    /// What policies took for now.
    pub now: Timestamp,
    /// Position in [`Past::callers`] and [`Past::verdicts`].
    pub caller: usize,
    pub verdicts: usize,
    /// Customers in it, known or not; 1 where it is about nobody in particular.
    pub customers: u64,
    parties: Option<&'a str>,
}

impl PastGroup<'_> {
    /// The customers that are known by a number.
    #[must_use]
    pub fn parties(&self) -> Vec<PartyNo> {
        self.parties.and_then(parties::decode).unwrap_or_default()
    }
}

/// Why a group cannot be judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gap {
    /// Without grounds of this version: written by another one, or decided anew by other policies than its head names.
    OtherVersion,
    /// Its head is not among what was read.
    HeadAway,
    /// Not the form that this version writes.
    Unreadable,
}

/// What is being read.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    Group(PastGroup<'a>),
    Gap { why: Gap, decision: u64, customers: u64 },
}

/// What all entries have in common, by number. Grows with the kinds of questions and verdicts, not with entries.
#[derive(Debug, Default)]
pub struct Past {
    pub callers: Vec<PastCaller>,
    pub verdicts: Vec<PastVerdicts>,
    /// Decisions whose head was read.
    pub decisions: u64,
    pub entries: u64,
    caller_numbers: HashMap<PastCaller, usize>,
    verdict_numbers: HashMap<Arc<str>, Result<usize, Gap>>,
    open: BTreeMap<u64, Head>,
}

/// What parts need of their head.
#[derive(Clone, Debug)]
struct Head {
    caller: Result<usize, Gap>,
    now: Timestamp,
    /// What it has already told: verdicts and customers.
    told: Vec<(Result<usize, Gap>, Box<str>)>,
}

/// Of a segment: what its dictionary entries say.
#[derive(Debug, Default)]
struct Dictionary {
    facts: HashMap<u64, Facts>,
    verdicts: HashMap<u64, Result<usize, Gap>>,
    /// The callers that were met with these facts; few, so that nothing is put together to find one.
    callers: HashMap<u64, Vec<usize>>,
}

impl Past {
    /// Reads the log in `dir` from `since` on. Holds one segment in memory. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// When there is no log, or it cannot be read, or is damaged.
    pub fn read(
        dir: &Path,
        since: Option<Timestamp>,
        mut progress: impl FnMut(u64, u64),
        mut each: impl FnMut(&Self, Item<'_>),
    ) -> Result<Self, AuditError> {
        let segments = segment::of_log(dir)?;
        let bytes = |file: &SegmentFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        let total: u64 = segments.iter().map(bytes).sum();
        let mut past = Self::default();
        let mut done = 0;
        for (at, file) in segments.iter().enumerate() {
            let limit = segments.get(at + 1).map(|next| next.name.first);
            past.segment(file, limit, since, &mut each)?;
            done += bytes(file);
            progress(done, total);
        }
        Ok(past)
    }

    fn segment(
        &mut self,
        file: &SegmentFile,
        limit: Option<u64>,
        since: Option<Timestamp>,
        each: &mut impl FnMut(&Self, Item<'_>),
    ) -> Result<(), AuditError> {
        let data = content::read(file)?;
        let mut cursor = Cursor::open(file, &data, limit)?;
        let mut dictionary = Dictionary::default();
        let since = since.map(|since| since.as_microsecond());
        let mut entries = Vec::new();
        let damage = loop {
            match cursor.next(&data) {
                Ok(Some(placed)) => entries.push(placed),
                Ok(None) => break None,
                Err(damage) => break Some(damage),
            }
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let mut parts = entries.chunks(ENTRIES_AT_ONCE).map(|part| scope.spawn(move || part.iter().map(read_line).collect::<Vec<_>>()));
            // While one part is looked at, the next ones are read.
            let mut ahead: VecDeque<_> = parts.by_ref().take(workers).collect();
            while let Some(part) = ahead.pop_front() {
                let lines = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                ahead.extend(parts.next());
                for (index, line) in lines {
                    self.entries += 1;
                    if let Some(line) = line {
                        self.entry(index, &line, since, &mut dictionary, each);
                    }
                }
            }
        });
        damage.map_or(Ok(()), Err)
    }

    fn entry(&mut self, index: u64, line: &Line<'_>, since: Option<i64>, dictionary: &mut Dictionary, each: &mut impl FnMut(&Self, Item<'_>)) {
        match line.kind {
            Kind::Dict => self.learn(index, line, dictionary),
            Kind::End => {
                if let Some(of) = line.of {
                    self.open.remove(&of);
                }
            }
            Kind::Deny | Kind::Permit | Kind::Intent | Kind::Part => self.decision(index, line, since, dictionary, each),
            Kind::Other => {}
        }
    }

    fn learn(&mut self, index: u64, line: &Line<'_>, dictionary: &mut Dictionary) {
        let (Some(class), Some(value)) = (line.class.as_deref(), line.value) else { return };
        match class {
            "facts" => {
                let facts = serde_json::from_str(value.get()).unwrap_or_default();
                dictionary.facts.insert(index, facts);
            }
            "verdicts" => {
                let number = match self.verdict_numbers.get(value.get()) {
                    Some(known) => *known,
                    None => {
                        let read = read_verdicts(value.get()).map(|verdicts| {
                            self.verdicts.push(verdicts);
                            self.verdicts.len() - 1
                        });
                        self.verdict_numbers.insert(value.get().into(), read);
                        read
                    }
                };
                dictionary.verdicts.insert(index, number);
            }
            _ => {}
        }
    }

    fn decision(&mut self, index: u64, line: &Line<'_>, since: Option<i64>, dictionary: &mut Dictionary, each: &mut impl FnMut(&Self, Item<'_>)) {
        let head = match line.of {
            None => {
                let head = self.head(line, dictionary);
                if since.is_none_or(|since| line.t >= since) {
                    self.decisions += 1;
                }
                head
            }
            Some(of) => match self.open.get(&of) {
                Some(head) => head.clone(),
                None => Head { caller: Err(Gap::HeadAway), now: Timestamp::UNIX_EPOCH, told: Vec::new() },
            },
        };
        let decision = line.of.unwrap_or(index);
        let mut told = Vec::new();
        for group in &line.groups {
            let verdicts = match group.verdicts {
                Some(Reference { dict }) => dictionary.verdicts.get(&dict).copied().unwrap_or(Err(Gap::Unreadable)),
                None => Err(Gap::Unreadable),
            };
            let known = group.parties.as_deref();
            let same = (verdicts, Box::from(known.unwrap_or_default()));
            // What the head said of these customers is not a further answer.
            if line.of.is_some() && head.told.contains(&same) {
                continue;
            }
            told.push(same);
            let customers = (group.n + group.unknown).max(1);
            if since.is_some_and(|since| line.t < since) {
                continue;
            }
            let item = match (head.caller, verdicts) {
                (Ok(caller), Ok(verdicts)) => Item::Group(PastGroup { decision, now: head.now, caller, verdicts, customers, parties: known }),
                (Err(why), _) | (Ok(_), Err(why)) => Item::Gap { why, decision, customers },
            };
            each(self, item);
        }
        let is_over = line.kind == Kind::Deny;
        match line.of {
            None if !is_over => {
                self.open.insert(index, Head { told, ..head });
                if self.open.len() > OPEN_MAX {
                    self.open.pop_first();
                }
            }
            Some(of) if is_over => drop(self.open.remove(&of)),
            None | Some(_) => {}
        }
    }

    fn head(&mut self, line: &Line<'_>, dictionary: &mut Dictionary) -> Head {
        let lag = line.lag_us.unwrap_or_default();
        let now = line.t.checked_sub(lag).and_then(|us| Timestamp::from_microsecond(us).ok());
        let caller = match (now, line.lag_us, line.facts) {
            (Some(_), Some(_), Some(Reference { dict })) => self.caller(line, dict, dictionary),
            (_, None, _) => Err(Gap::OtherVersion),
            (None, Some(_), _) | (_, Some(_), None) => Err(Gap::Unreadable),
        };
        Head { caller, now: now.unwrap_or_default(), told: Vec::new() }
    }

    fn caller(&mut self, line: &Line<'_>, dict: u64, dictionary: &mut Dictionary) -> Result<usize, Gap> {
        let (app, department) = (line.app.as_deref().unwrap_or_default(), line.department.as_deref().unwrap_or_default());
        let is_met = |number: &&usize| {
            let known = self.callers.get(**number);
            known.is_some_and(|known| known.app == app && known.department == department && known.has_employee == line.actor.is_some())
        };
        if let Some(known) = dictionary.callers.get(&dict).and_then(|met| met.iter().find(is_met)) {
            return Ok(*known);
        }
        let facts = dictionary.facts.get(&dict).ok_or(Gap::Unreadable)?;
        let caller = PastCaller {
            app: app.to_owned(),
            department: department.to_owned(),
            has_employee: line.actor.is_some(),
            roles: facts.roles.clone(),
            // A decision without a purpose asked nothing of any policy.
            purpose: facts.purpose.clone().unwrap_or_default(),
            channel: Channel::parse(&facts.channel).ok_or(Gap::Unreadable)?,
            environment: Environment::parse(&facts.environment).ok_or(Gap::Unreadable)?,
            policies: facts.policies.clone().ok_or(Gap::OtherVersion)?,
        };
        let number = *self.caller_numbers.entry(caller).or_insert_with_key(|caller| {
            self.callers.push(caller.clone());
            self.callers.len() - 1
        });
        dictionary.callers.entry(dict).or_default().push(number);
        Ok(number)
    }
}

/// Entries that one thread reads in one go; they are looked at in their order. Reading takes most of the time.
const ENTRIES_AT_ONCE: usize = 2_048;

/// `None`: of another version or kind, no decision that this version could judge.
fn read_line<'a>((index, entry): &(u64, &'a [u8])) -> (u64, Option<Line<'a>>) {
    (*index, Line::read(entry))
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Facts {
    purpose: Option<String>,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    roles: Vec<String>,
    policies: Option<String>,
}

#[derive(Debug, Deserialize)]
struct VerdictsLine {
    verdicts: Vec<VerdictLine>,
    facts: Option<PartyLine>,
}

#[derive(Debug, Deserialize)]
struct PartyLine {
    stage: String,
    segment: String,
    age: String,
    hold: bool,
}

#[derive(Debug, Deserialize)]
struct VerdictLine {
    category: String,
    release: String,
    #[serde(default)]
    policies: Vec<String>,
    basis: String,
    status: String,
    grounds: Option<GroundsLine>,
}

/// A member that is not known here was read by a policy that decided: guessing it would be wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroundsLine {
    v: u64,
    whom: String,
    action: String,
    #[serde(default)]
    explicit: bool,
    #[serde(default)]
    gpc: bool,
    records: Option<u32>,
    #[serde(default)]
    masked: bool,
    #[serde(default)]
    closed_for: Vec<String>,
    reading: String,
    task: Option<String>,
    for_customer: Option<bool>,
    customers: Option<u32>,
    #[serde(default)]
    emergency: bool,
}

fn read_verdicts(text: &str) -> Result<PastVerdicts, Gap> {
    let line: VerdictsLine = serde_json::from_str(text).map_err(|_other_form| Gap::OtherVersion)?;
    let facts = line.facts.map(|facts| {
        let stage = Stage::parse(&facts.stage)?;
        Some(PartyFacts { stage, segment: Segment::parse(&facts.segment)?, age: Age::parse(&facts.age)?, legal_hold: facts.hold })
    });
    let facts = match facts {
        None => None,
        Some(read) => Some(read.ok_or(Gap::Unreadable)?),
    };
    let verdicts = line.verdicts.into_iter().map(read_verdict).collect::<Result<_, _>>()?;
    Ok(PastVerdicts { facts, verdicts })
}

fn read_verdict(line: VerdictLine) -> Result<PastVerdict, Gap> {
    let grounds = line.grounds.filter(|grounds| grounds.v == GROUNDS_VERSION).ok_or(Gap::OtherVersion)?;
    let release = Release::parse(&line.release).ok_or(Gap::Unreadable)?;
    let words = || {
        Some(Grounds {
            whom: Whom::parse(&grounds.whom)?,
            action: Action::parse(&grounds.action)?,
            explicit: grounds.explicit,
            gpc: grounds.gpc,
            records: grounds.records,
            masked: grounds.masked,
            closed_for: grounds.closed_for.iter().map(|basis| LawfulBasis::parse(basis)).collect::<Option<_>>()?,
            reading: u64::from_str_radix(&grounds.reading, 16).ok()?,
            task: grounds.task.as_deref().map(Task::intern),
            for_customer: grounds.for_customer,
            customers: grounds.customers,
            emergency: grounds.emergency,
        })
    };
    Ok(PastVerdict {
        category: line.category,
        release,
        policies: line.policies,
        basis: LawfulBasis::parse(&line.basis).ok_or(Gap::Unreadable)?,
        status: ConsentStatus::parse(&line.status).ok_or(Gap::Unreadable)?,
        grounds: words().ok_or(Gap::Unreadable)?,
    })
}
