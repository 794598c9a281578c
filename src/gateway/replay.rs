//! Recorded decisions, judged again by a candidate policy folder: what would have been answered otherwise, to whom and why.
//! The record says all that the policies read, so that no payload is needed; where it does not, it is counted, never guessed.
//!
//! Equal questions are judged once: a group of the log is a caller and verdicts by number, and unless a policy in scope looks at
//! the time, its answer is the same wherever both come again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use super::judge::{could_permit, weigh};
use crate::audit::{AuditError, Gap, Item, Past, PastCaller, PastGroup, PastVerdict};
use crate::model::{
    Action, Caller, Category, Channel, Department, Employee, LawfulBasis, NO_CUSTOMER_BASIS, Particulars, PartyFacts, PartyNo, Purpose, Question,
    Release, Whom, Why, closed,
};
use crate::policy::{Policies, Use};

/// Questions of which the answer is remembered; then all are forgotten.
const MEMO_MAX: usize = 1 << 18;
/// Customers told apart in all differences together; beyond, they are only counted as answers.
const CUSTOMERS_MAX: usize = 1 << 20;
/// Decisions named with each difference.
const EXAMPLES_MAX: usize = 3;
/// Stands for a policy where a name of the question is not in the folder.
const NOT_IN_FOLDER: &str = "not in the catalogue";
/// Stands for a policy where no customer's consent could open a category, or now could.
const ENTITLEMENT: &str = "any customer's consent";

closed! {
    /// Towards more or towards less.
    Direction {
        Loses = "loses",
        Gains = "gains",
    }
}

impl Direction {
    pub(super) fn of(before: Release, after: Release) -> Option<Self> {
        match after.cmp(&before) {
            std::cmp::Ordering::Less => Some(Self::Loses),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Self::Gains),
        }
    }
}

/// One kind of difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    pub direction: Direction,
    pub app: String,
    pub department: String,
    pub purpose: String,
    pub category: String,
    /// What decides in the candidate; where nothing there permits, what permitted before.
    pub policies: Vec<String>,
    pub before: Release,
    pub after: Release,
}

/// How often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// One customer and one category of one decision.
    pub answers: u64,
    pub customers: HashSet<PartyNo>,
    /// The first decisions, by index.
    pub decisions: Vec<u64>,
}

/// Why an answer cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skipped {
    Record(Gap),
    /// The candidate matches statements of customers in another way, so that the recorded consent status could be another.
    ConsentReadOtherwise,
    /// A policy may read the grant's ticket; that is not written down.
    Emergency,
}

impl Skipped {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record(Gap::OtherVersion) => "recorded by another version, or decided anew during a reload, without all that was judged on",
            Self::Record(Gap::HeadAway) => "the head of the decision is not in the log that was read",
            Self::Record(Gap::Unreadable) => "recorded in a form that cannot be read",
            Self::ConsentReadOtherwise => "purpose, category or consent rule hang together otherwise, so the consent status may differ",
            Self::Emergency => "decided on a break-glass grant, whose ticket is not in the log",
        }
    }
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    pub decisions: u64,
    pub entries: u64,
    /// Answers judged again.
    pub answers: u64,
    pub unchanged: u64,
    pub differences: BTreeMap<Difference, Extent>,
    pub skipped: BTreeMap<Skipped, u64>,
    /// Answers of the active folder, and those of them that it gives again; only with an active folder.
    pub own: u64,
    pub reproduced: u64,
    /// Decisions that the active folder does not reproduce, the first ones.
    pub unlike: Vec<u64>,
    /// Not all customers of the differences were told apart.
    pub customers_capped: bool,
}

/// Judges the log in `dir` again by `candidate`; with `active`, also by the folder that decided, wherever the record names it.
///
/// # Errors
/// When the log cannot be read.
pub fn replay(
    dir: &Path,
    since: Option<Timestamp>,
    candidate: &Policies,
    active: Option<&Policies>,
    progress: impl FnMut(u64, u64),
) -> Result<Replayed, AuditError> {
    let mut replay = Replay { candidate, active, memo: HashMap::new(), told_apart: 0, out: Replayed::default() };
    let past = Past::read(dir, since, progress, |past, item| replay.item(past, item))?;
    replay.out.decisions = past.decisions;
    replay.out.entries = past.entries;
    Ok(replay.out)
}

struct Replay<'a> {
    candidate: &'a Policies,
    active: Option<&'a Policies>,
    memo: HashMap<(usize, usize), Remembered>,
    told_apart: usize,
    out: Replayed,
}

/// What comes of one group, for each of its customers.
#[derive(Clone, Debug, Default)]
struct Outcome {
    judged: u64,
    differences: Vec<Difference>,
    skipped: Vec<Skipped>,
    own: u64,
    reproduced: u64,
}

#[derive(Clone, Debug)]
enum Remembered {
    /// Whenever it is asked.
    Always(Outcome),
    /// A policy looks at the time.
    Timed,
}

impl Replay<'_> {
    fn item(&mut self, past: &Past, item: Item<'_>) {
        match item {
            Item::Group(group) => self.group(past, &group),
            Item::Gap { why, customers, .. } => *self.out.skipped.entry(Skipped::Record(why)).or_default() += customers,
        }
    }

    fn group(&mut self, past: &Past, group: &PastGroup<'_>) {
        let key = (group.caller, group.verdicts);
        if let Some(Remembered::Always(known)) = self.memo.get(&key) {
            // Nearly all come here, and change nothing.
            if known.differences.is_empty() && known.skipped.is_empty() && known.own == known.reproduced {
                let (judged, own) = (known.judged, known.own);
                self.same(group.customers, judged, own);
                return;
            }
            let known = known.clone();
            self.add(group, known);
            return;
        }
        let (outcome, is_timed) = self.judge(past, group);
        if self.memo.len() >= MEMO_MAX {
            self.memo.clear();
        }
        self.memo.insert(key, if is_timed { Remembered::Timed } else { Remembered::Always(outcome.clone()) });
        self.add(group, outcome);
    }

    fn same(&mut self, customers: u64, judged: u64, own: u64) {
        self.out.answers += judged * customers;
        self.out.unchanged += judged * customers;
        self.out.own += own * customers;
        self.out.reproduced += own * customers;
    }

    fn add(&mut self, group: &PastGroup<'_>, outcome: Outcome) {
        let customers = group.customers;
        let changed = u64::try_from(outcome.differences.len()).unwrap_or(u64::MAX);
        self.out.answers += outcome.judged * customers;
        self.out.unchanged += outcome.judged.saturating_sub(changed) * customers;
        self.out.own += outcome.own * customers;
        self.out.reproduced += outcome.reproduced * customers;
        if outcome.own != outcome.reproduced && self.out.unlike.len() < EXAMPLES_MAX {
            self.out.unlike.push(group.decision);
        }
        for skipped in outcome.skipped {
            *self.out.skipped.entry(skipped).or_default() += customers;
        }
        let parties = if outcome.differences.is_empty() { Vec::new() } else { group.parties() };
        for difference in outcome.differences {
            let extent = self.out.differences.entry(difference).or_default();
            extent.answers += customers;
            if extent.decisions.len() < EXAMPLES_MAX && extent.decisions.last() != Some(&group.decision) {
                extent.decisions.push(group.decision);
            }
            for party in &parties {
                if self.told_apart >= CUSTOMERS_MAX {
                    self.out.customers_capped = true;
                    break;
                }
                self.told_apart += usize::from(extent.customers.insert(*party));
            }
        }
    }

    /// What comes of a group, and whether it may be otherwise at another time.
    fn judge(&self, past: &Past, group: &PastGroup<'_>) -> (Outcome, bool) {
        let (Some(caller), Some(known)) = (past.callers.get(group.caller), past.verdicts.get(group.verdicts)) else {
            return (Outcome { skipped: vec![Skipped::Record(Gap::Unreadable)], ..Outcome::default() }, false);
        };
        let own = self.active.filter(|active| active.id() == caller.policies);
        let mut outcome = Outcome::default();
        let mut is_timed = false;
        for verdict in &known.verdicts {
            let again = Again { caller, verdict, facts: known.facts, now: group.now };
            let before = verdict.release;
            match again.judge(self.candidate) {
                Ok(answer) => {
                    outcome.judged += 1;
                    is_timed |= answer.is_timed;
                    outcome.differences.extend(again.difference(before, answer));
                }
                Err(skipped) => outcome.skipped.push(skipped),
            }
            if let Some(own) = own {
                let answer = again.judge(own);
                outcome.own += 1;
                is_timed |= answer.as_ref().is_ok_and(|answer| answer.is_timed);
                outcome.reproduced += u64::from(answer.is_ok_and(|answer| answer.release == before));
            }
        }
        (outcome, is_timed)
    }
}

/// One recorded verdict, to be made again.
struct Again<'a> {
    caller: &'a PastCaller,
    verdict: &'a PastVerdict,
    facts: Option<PartyFacts>,
    now: Timestamp,
}

struct Answer {
    release: Release,
    policies: Vec<String>,
    is_timed: bool,
}

/// A recorded question in the words of a folder.
struct Named {
    caller: Caller,
    purpose: Purpose,
    category: Category,
}

impl Again<'_> {
    fn difference(&self, before: Release, after: Answer) -> Option<Difference> {
        let direction = Direction::of(before, after.release)?;
        let policies = if after.policies.is_empty() { self.verdict.policies.clone() } else { after.policies };
        let PastCaller { app, department, purpose, .. } = self.caller.clone();
        Some(Difference { direction, app, department, purpose, category: self.verdict.category.clone(), policies, before, after: after.release })
    }

    /// What a folder makes of the same question. Its own catalogue says who the app is and on which basis it asks.
    fn judge(&self, policies: &Policies) -> Result<Answer, Skipped> {
        // The gateway refuses what its catalogue does not know.
        let Some(named) = self.named(policies) else {
            return Ok(Answer { release: Release::Withheld, policies: vec![NOT_IN_FOLDER.to_owned()], is_timed: false });
        };
        let grounds = &self.verdict.grounds;
        if grounds.emergency {
            return Err(Skipped::Emergency);
        }
        let Named { caller, purpose, category } = &named;
        let is_read_alike = policies.reading(*purpose, *category) == grounds.reading;
        if grounds.whom == Whom::Known && !(is_read_alike && caller.department.as_str() == self.caller.department) {
            return Err(Skipped::ConsentReadOtherwise);
        }
        let activity = policies.activity(caller.department, *purpose, *category);
        let basis = match grounds.whom {
            Whom::Nobody => NO_CUSTOMER_BASIS,
            Whom::Known | Whom::Unknown | Whom::New | Whom::Anybody => activity.map_or(LawfulBasis::None, |activity| activity.basis),
        };
        let party = match (grounds.whom, self.facts) {
            (Whom::Known, Some(facts)) => facts,
            (Whom::Known, None) => return Err(Skipped::Record(Gap::Unreadable)),
            (Whom::Unknown | Whom::New | Whom::Anybody | Whom::Nobody, _) => PartyFacts::unknown(policies.consent_rules().default_segment),
        };
        let question = Question {
            caller,
            action: grounds.action,
            category: *category,
            purpose: *purpose,
            basis,
            status: self.verdict.status,
            explicit: grounds.explicit,
            party,
            channel: self.channel(policies, *purpose, is_read_alike)?,
            environment: self.caller.environment,
            gpc: grounds.gpc,
            records: grounds.records,
            now: self.now,
            particulars: Particulars { task: grounds.task, for_customer: grounds.for_customer, customers: grounds.customers, emergency: None },
        };
        let reduced = Question { action: Action::ReadReduced, ..question.clone() };
        let is_timed = policies.reads_time(&question) || (grounds.masked && policies.reads_time(&reduced));
        if grounds.whom == Whom::Anybody {
            let release = if could_permit(policies, &Use::of(&question), grounds.masked) { Release::Full } else { Release::Withheld };
            return Ok(Answer { release, policies: vec![ENTITLEMENT.to_owned()], is_timed });
        }
        let is_reserved = grounds.whom == Whom::Unknown && !policies.is_steward(caller);
        // Which stop it was makes no difference here.
        let is_stopped = grounds.closed_for.contains(&basis);
        let closed = if is_reserved { Some(Why::UnknownParty) } else { is_stopped.then_some(Why::Stop("recorded")) };
        let weighed = weigh(policies, &question, closed, grounds.masked);
        let policies = match weighed.why {
            Why::Stop(_) => vec!["a hard stop".to_owned()],
            Why::UnknownParty => vec!["the customer is not in the crosswalk".to_owned()],
            Why::NotGranted => vec!["the break-glass grant is for another customer".to_owned()],
            Why::Permitted | Why::Forbidden | Why::NoPermit | Why::PolicyError => weighed.policies.iter().map(ToString::to_string).collect(),
        };
        Ok(Answer { release: weighed.release, policies, is_timed })
    }

    /// That of the purpose; the record's where the purpose has none, there and here.
    fn channel(&self, policies: &Policies, purpose: Purpose, is_read_alike: bool) -> Result<Channel, Skipped> {
        let own = policies.vocabulary().purposes.get(&purpose).and_then(|info| info.channel);
        match (own, self.caller.channel) {
            (Some(own), _) => Ok(own),
            (None, Channel::System) => Ok(Channel::System),
            (None, other) if is_read_alike => Ok(other),
            // Whether it was the purpose's own or the caller's word is not in the record.
            (None, _) => Err(Skipped::ConsentReadOtherwise),
        }
    }

    fn named(&self, policies: &Policies) -> Option<Named> {
        let vocabulary = policies.vocabulary();
        let client = vocabulary.client(&self.caller.app)?;
        let info = vocabulary.clients.get(&client)?;
        // Roles that a catalogue does not know are dropped where tokens are read.
        let roles = || self.caller.roles.iter().filter_map(|role| vocabulary.role(role)).collect();
        let employee = self.caller.has_employee.then(|| Employee { pseudonym: String::new(), roles: roles() });
        Some(Named {
            caller: Caller { client, kind: info.kind, department: info.department, employee },
            purpose: vocabulary.purpose(&self.caller.purpose)?,
            category: vocabulary.category(&self.verdict.category)?,
        })
    }
}

/// The departments that own what changes, sorted.
#[must_use]
pub fn owners(replayed: &Replayed, candidate: &Policies) -> Vec<Department> {
    let vocabulary = candidate.vocabulary();
    let owner = |category: &str| vocabulary.categories.get(&vocabulary.category(category)?).map(|info| info.owner);
    let mut owners: Vec<Department> = replayed.differences.keys().filter_map(|difference| owner(&difference.category)).collect();
    owners.sort();
    owners.dedup();
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Age, ConsentStatus, Environment, Grounds, Segment, Stage};

    /// The shipped folder with one text replaced.
    fn with(file: &str, from: &str, to: &str) -> Policies {
        changed(&[(file, from, to)])
    }

    fn changed(changes: &[(&str, &str, &str)]) -> Policies {
        let mut files = crate::policy::files(Path::new("policies")).unwrap();
        for (file, from, to) in changes {
            let text = files.get_mut(*file).unwrap();
            assert!(text.contains(from), "{file} has no `{from}`");
            *text = text.replacen(from, to, 1);
        }
        Policies::of_files(&files).unwrap_or_else(|findings| panic!("{findings}"))
    }

    fn shipped() -> Policies {
        Policies::load(Path::new("policies")).unwrap()
    }

    fn caller() -> PastCaller {
        PastCaller {
            app: "crm".to_owned(),
            department: "sales".to_owned(),
            has_employee: false,
            roles: Vec::new(),
            purpose: "sales.outreach".to_owned(),
            channel: shipped().vocabulary().channel(Purpose::intern("sales.outreach")),
            environment: Environment::Production,
            policies: shipped().id().to_owned(),
        }
    }

    /// `crm` reads a contact of a lead who agreed.
    fn verdict() -> PastVerdict {
        PastVerdict {
            category: "contact".to_owned(),
            release: Release::Full,
            policies: vec!["share-with-consent".to_owned()],
            basis: LawfulBasis::Consent,
            status: ConsentStatus::Given,
            grounds: Grounds {
                whom: Whom::Known,
                action: Action::Read,
                explicit: false,
                gpc: false,
                records: None,
                masked: false,
                closed_for: Vec::new(),
                reading: shipped().reading(Purpose::intern("sales.outreach"), Category::intern("contact")),
                task: None,
                for_customer: None,
                customers: Some(1),
                emergency: false,
            },
        }
    }

    fn judge(policies: &Policies, caller: &PastCaller, verdict: &PastVerdict) -> Result<Release, Skipped> {
        let facts = PartyFacts { stage: Stage::Lead, segment: Segment::Standard, age: Age::Adult, legal_hold: false };
        let now = Timestamp::from_second(1_780_000_000).unwrap();
        Again { caller, verdict, facts: Some(facts), now }.judge(policies).map(|answer| answer.release)
    }

    #[test]
    fn each_fact_of_the_record_counts() {
        let policies = shipped();
        let base = verdict();
        assert_eq!(Ok(Release::Full), judge(&policies, &caller(), &base));
        let but = |change: &dyn Fn(&mut PastVerdict)| {
            let mut other = base.clone();
            change(&mut other);
            judge(&policies, &caller(), &other)
        };
        assert_eq!(Ok(Release::Withheld), but(&|v| v.status = ConsentStatus::Withdrawn));
        assert_eq!(Ok(Release::Withheld), but(&|v| v.grounds.closed_for = vec![LawfulBasis::Consent]));
        assert_eq!(Ok(Release::Full), but(&|v| v.grounds.closed_for = vec![LawfulBasis::LegitimateInterest]), "a stop for another basis");
        assert_eq!(Ok(Release::Withheld), but(&|v| v.grounds.whom = Whom::Unknown), "not the steward");
        let test = PastCaller { environment: Environment::Test, ..caller() };
        assert_eq!(Ok(Release::Withheld), judge(&policies, &test, &base));
    }

    #[test]
    fn what_the_candidate_does_not_know_is_refused_there() {
        let policies = shipped();
        let app = PastCaller { app: "gone".to_owned(), ..caller() };
        assert_eq!(Ok(Release::Withheld), judge(&policies, &app, &verdict()));
        let purpose = PastCaller { purpose: "sales.gone".to_owned(), ..caller() };
        assert_eq!(Ok(Release::Withheld), judge(&policies, &purpose, &verdict()));
    }

    #[test]
    fn consent_that_would_be_read_otherwise_is_passed_over() {
        let mut other = verdict();
        other.grounds.reading ^= 1;
        assert_eq!(Err(Skipped::ConsentReadOtherwise), judge(&shipped(), &caller(), &other));
        let moved = PastCaller { department: "service".to_owned(), ..caller() };
        assert_eq!(Err(Skipped::ConsentReadOtherwise), judge(&shipped(), &moved, &verdict()));
        let stricter = with("consent.toml", "customer-last-word/v1", "most-restrictive/v1");
        assert_eq!(Err(Skipped::ConsentReadOtherwise), judge(&stricter, &caller(), &verdict()));
        // Of somebody unknown nothing was said that could be read otherwise.
        let mut unknown = verdict();
        unknown.grounds.whom = Whom::Unknown;
        assert_eq!(Ok(Release::Withheld), judge(&stricter, &caller(), &unknown));
    }

    #[test]
    fn another_basis_is_judged_with_the_stops_of_that_basis() {
        let from = "categories = [\"identity\", \"contact\", \"behaviour\", \"opportunity\", \"order\"]\nbasis = \"consent\"";
        let interest = with("activities.toml", from, &from.replace("\"consent\"", "\"legitimate-interest\""));
        let mut own = verdict();
        own.category = "opportunity".to_owned();
        own.grounds.reading = shipped().reading(Purpose::intern("sales.outreach"), Category::intern("opportunity"));
        own.status = ConsentStatus::Unknown;
        assert_eq!(Ok(Release::Withheld), judge(&shipped(), &caller(), &own), "rests on consent");
        assert_eq!(Ok(Release::Full), judge(&interest, &caller(), &own), "rests on an interest");
        own.grounds.closed_for = vec![LawfulBasis::LegitimateInterest];
        assert_eq!(Ok(Release::Withheld), judge(&interest, &caller(), &own), "to which the customer objected");
    }

    #[test]
    fn who_was_refused_for_everybody_is_asked_for_everybody_again() {
        let mut anybody = verdict();
        anybody.release = Release::Withheld;
        anybody.grounds.whom = Whom::New;
        anybody.status = ConsentStatus::Unknown;
        assert_eq!(Ok(Release::Withheld), judge(&shipped(), &caller(), &anybody), "who is just being created has not agreed");
        anybody.grounds.whom = Whom::Anybody;
        assert_eq!(Ok(Release::Full), judge(&shipped(), &caller(), &anybody), "but somebody could have");
        anybody.category = "health".to_owned();
        assert_eq!(Ok(Release::Withheld), judge(&shipped(), &caller(), &anybody));
    }

    #[test]
    fn an_agent_that_acts_for_a_customer_could_have_asked_about_that_one() {
        let copilot = PastCaller { app: "sales-copilot".to_owned(), ..caller() };
        let mut anybody = verdict();
        (anybody.release, anybody.grounds.whom, anybody.grounds.for_customer) = (Release::Withheld, Whom::Anybody, Some(false));
        assert_eq!(Ok(Release::Full), judge(&shipped(), &copilot, &anybody));
        anybody.grounds.whom = Whom::New;
        assert_eq!(Ok(Release::Withheld), judge(&shipped(), &copilot, &anybody), "not about another one");
    }

    #[test]
    fn a_masked_form_counts_for_reading_only() {
        let masked_only = "\n@id(\"masked-only\")\nforbid (principal, action == Action::\"read\", resource == Category::\"contact\")\nwhen { context.purpose in Purpose::\"sales\" };\n@id(\"legal-hold\")";
        let planted = with("40-prohibitions.cedar", "@id(\"legal-hold\")", masked_only);
        let opens = |action, masked| {
            let mut anybody = verdict();
            anybody.grounds = Grounds { whom: Whom::Anybody, action, masked, ..anybody.grounds };
            judge(&planted, &caller(), &anybody)
        };
        assert_eq!((Ok(Release::Withheld), Ok(Release::Full)), (opens(Action::Read, false), opens(Action::Read, true)));
        assert_eq!(Ok(Release::Withheld), opens(Action::Delete, true), "a masked form is for no writer");
    }

    #[test]
    fn the_channel_is_that_of_the_candidates_purpose() {
        let mut anybody = verdict();
        anybody.grounds.whom = Whom::Anybody;
        let to_post = ("\"label\":\"Contact by sales\"", "\"channel\":{\"type\":\"Channel\",\"id\":\"post\"},\"label\":\"Contact by sales\"");
        let no_post = (
            "@id(\"legal-hold\")",
            "@id(\"no-post\")\nforbid (principal, action, resource)\nwhen { context.channel == Channel::\"post\" };\n\n@id(\"legal-hold\")",
        );
        let (catalogue, prohibitions) = ("catalogue.cedarentities.json", "40-prohibitions.cedar");
        let by_post = changed(&[(catalogue, to_post.0, to_post.1), (prohibitions, no_post.0, no_post.1)]);
        let forbidden = changed(&[(prohibitions, no_post.0, no_post.1)]);
        assert_eq!(Ok(Release::Withheld), judge(&by_post, &caller(), &anybody));
        assert_eq!(Ok(Release::Full), judge(&forbidden, &caller(), &anybody));
        // A caller may have named it, or the purpose have had it: where nothing else changed it was the caller.
        let posted = PastCaller { channel: Channel::Post, ..caller() };
        assert_eq!(Ok(Release::Withheld), judge(&forbidden, &posted, &anybody));
        anybody.grounds.reading ^= 1;
        assert_eq!(Err(Skipped::ConsentReadOtherwise), judge(&forbidden, &posted, &anybody));
    }
}
