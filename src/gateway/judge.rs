//! One customer, one category, one verdict: the built-in floor and the Cedar policies must both be open. This is the only
//! place where consent and policy meet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::passed::body_link;
use super::premises::Premises;
use super::route::Routed;
use super::shadow::{Difference, Watch};
use super::state::Shared;
use crate::audit::{Group, Outcome};
use crate::catalog::Catalog;
use crate::consent::{self, Effective, Ledger, Moved, Position, Profile, Standing, Unavailable};
use crate::filter;
use crate::model::{
    Action, Activity, Caller, Category, CategoryVerdict, Channel, ConsentStatus, Environment, EventId, Grounds, Identifier, Judged, LawfulBasis,
    Particulars, PartyFacts, PartyNo, PolicyName, Purpose, Question, Release, Revision, Space, Verdicts, Whom, Why,
};
use crate::policy::{self, Policies, Use};

/// What a request asks, without whom it is about.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) action: Action,
    pub(super) purpose: Purpose,
    pub(super) channel: Channel,
    pub(super) environment: Environment,
    /// `Sec-GPC: 1` on the request.
    pub(super) gpc: bool,
    pub(super) records: Option<u32>,
    pub(super) now: Timestamp,
    pub(super) premises: Premises,
    /// Other policies that are asked beside those that are enforced.
    pub(super) shadow: Option<Arc<Watch>>,
}

impl Asked {
    /// The same question for another action, e.g. reading what a write answers.
    pub(super) fn with_action(&self, action: Action) -> Self {
        Self { action, ..self.clone() }
    }

    /// The activity, unless it is an emergency, and the basis that follows.
    fn activity<'p>(&self, policies: &'p Policies, category: Category) -> (Option<&'p Activity>, LawfulBasis) {
        if self.premises.grant.is_some() {
            return (None, LawfulBasis::VitalInterest);
        }
        let found = policies.activity(self.caller.department, self.purpose, category);
        (found, found.map_or(LawfulBasis::None, |activity| activity.basis))
    }

    /// Whether any customer's state could permit the category.
    pub(super) fn could_permit(&self, policies: &Policies, category: Category, masked: bool) -> bool {
        let usage = Use {
            caller: &self.caller,
            action: self.action,
            category,
            purpose: self.purpose,
            basis: self.activity(policies, category).1,
            channel: self.channel,
            environment: self.environment,
            gpc: self.gpc,
            records: self.records,
            now: self.now,
            particulars: self.premises.about(None),
        };
        could_permit(policies, &usage, masked)
    }

    fn question(&self, category: Category, basis: LawfulBasis, seen: &Seen) -> Question<'_> {
        Question {
            caller: &self.caller,
            action: self.action,
            category,
            purpose: self.purpose,
            basis,
            status: seen.status,
            explicit: seen.explicit,
            party: seen.facts,
            channel: self.channel,
            environment: self.environment,
            gpc: self.gpc || seen.gpc,
            records: self.records,
            now: self.now,
            particulars: self.premises.about(seen.party),
        }
    }
}

/// What one customer's record contributes to a question.
struct Seen {
    status: ConsentStatus,
    explicit: bool,
    facts: PartyFacts,
    gpc: bool,
    party: Option<PartyNo>,
}

/// Whom a verdict is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    Known(&'a Standing),
    /// An id that the crosswalk lacks: judged in the same path as a customer without consent, and refused whatever comes
    /// out, except for the neutral steward.
    Unknown,
    /// A customer who is just being created: no consent, no stops, judged as they are.
    New,
    /// Nobody in particular, of whom nothing is known either: why a use is closed that no customer's state could open.
    Anybody,
}

impl About<'_> {
    const fn party(self) -> Option<PartyNo> {
        match self {
            Self::Known(standing) => Some(standing.party),
            Self::Unknown | Self::New | Self::Anybody => None,
        }
    }

    /// Whether what is asked may be told of them, if it is an emergency: each grant says of whom.
    fn is_granted(self, asked: &Asked) -> bool {
        matches!(self, Self::New | Self::Anybody) || asked.premises.grant.as_ref().is_none_or(|grant| grant.covers(self.party()))
    }
}

/// The verdicts of one customer for some categories; `true` beside a category: a masked form exists.
pub(super) fn verdicts(policies: &Policies, asked: &Asked, about: About<'_>, categories: &[(Category, bool)]) -> Verdicts {
    let made = counted_verdicts(policies, asked, about, categories);
    if let Some(watch) = &asked.shadow {
        watch.count(about.party(), &made.differences);
    }
    made.verdicts
}

/// Verdicts with what else came of judging.
struct Made {
    verdicts: Verdicts,
    /// The grants of limited uses without which less would go out.
    counted: BTreeSet<Position>,
    /// How a shadow's verdicts differ.
    differences: Vec<Difference>,
}

fn counted_verdicts(policies: &Policies, asked: &Asked, about: About<'_>, categories: &[(Category, bool)]) -> Made {
    let mut counted = BTreeSet::new();
    let mut differences = Vec::new();
    let judged = categories.iter().map(|(category, masked)| {
        let (verdict, relied) = judge(policies, asked, about, *category, *masked);
        if verdict.why == Why::PolicyError {
            tracing::error!(policy.ids = ?verdict.policies, "a policy erred; the category is refused");
        }
        differences.extend(asked.shadow.as_ref().and_then(|watch| watch.compare(policies, asked, about, (*category, *masked), &verdict)));
        counted.extend(relied);
        verdict
    });
    Made { verdicts: Verdicts::new(judged.collect()), counted, differences }
}

/// A verdict with the policies' own account of it.
pub(super) fn explained(
    policies: &Policies,
    asked: &Asked,
    about: About<'_>,
    category: Category,
    masked: bool,
) -> (CategoryVerdict, policy::Explanation) {
    let (verdict, _) = judge(policies, asked, about, category, masked);
    let (facts, gpc) = match about {
        About::Known(standing) => (standing.facts, standing.profile.has_gpc()),
        About::Unknown | About::New | About::Anybody => (PartyFacts::unknown(policies.consent_rules().default_segment), false),
    };
    let explicit = match about {
        About::Known(standing) => {
            let (vocabulary, rules) = (policies.vocabulary(), policies.consent_rules());
            standing.status(vocabulary, rules, asked.purpose, category, asked.caller.department, asked.channel).explicit
        }
        About::Unknown | About::New | About::Anybody => false,
    };
    let seen = Seen { status: verdict.status, explicit, facts, gpc, party: about.party() };
    let explanation = policies.explain(&asked.question(category, verdict.basis, &seen));
    (verdict, explanation)
}

/// The verdict, and the grants of limited uses without which it would be another.
pub(super) fn judge(policies: &Policies, asked: &Asked, about: About<'_>, category: Category, masked: bool) -> (CategoryVerdict, Vec<Position>) {
    let vocabulary = policies.vocabulary();
    let rules = policies.consent_rules();
    let (activity, basis) = asked.activity(policies, category);
    let nobody = Profile::default();
    let (profile, facts): (&Profile, PartyFacts) = match about {
        About::Known(standing) => (&standing.profile, standing.facts),
        About::Unknown | About::New | About::Anybody => (&nobody, PartyFacts::unknown(rules.default_segment)),
    };
    let (recipient, channel) = (asked.caller.department, asked.channel);
    let effective = match about {
        About::Known(standing) => consent::status(&standing.profile, vocabulary, rules, asked.purpose, category, recipient, channel),
        About::Unknown | About::New | About::Anybody => Effective::unknown(consent::rule_for(vocabulary, rules, asked.purpose)),
    };
    let event_id = |at: Position| match about {
        About::Known(standing) => standing.event_id(at),
        About::Unknown | About::New | About::Anybody => None,
    };
    let stops = consent::closed_for(profile, vocabulary, rules, asked.purpose, category, asked.channel);
    let stop = stops.iter().find(|(closed, _)| *closed == basis).map(|(_, name)| *name);
    let seen = Seen { status: effective.status, explicit: effective.explicit, facts, gpc: profile.has_gpc(), party: about.party() };
    let question = asked.question(category, basis, &seen);
    let reserved = matches!(about, About::Unknown) && !policies.is_steward(&asked.caller);
    let closed = if reserved {
        Some(Why::UnknownParty)
    } else if !about.is_granted(asked) {
        Some(Why::NotGranted)
    } else {
        stop.map(Why::Stop)
    };
    let Weighed { release, why, policies: determining } = weigh(policies, &question, closed, masked);
    let answer = CategoryVerdict {
        category,
        release,
        why,
        policies: determining,
        basis,
        activity: activity.map(|a| (a.id, a.version)),
        status: effective.status,
        event: effective.event.and_then(event_id),
        overridden: newest(effective.overridden).into_iter().filter_map(event_id).collect(),
        rule: effective.rule,
        conflict: effective.conflict,
        grounds: Some(Grounds {
            whom: match about {
                About::Known(_) => Whom::Known,
                About::Unknown => Whom::Unknown,
                About::New => Whom::New,
                About::Anybody => Whom::Anybody,
            },
            action: asked.action,
            explicit: question.explicit,
            gpc: question.gpc,
            records: question.records,
            masked,
            closed_for: stops.into_iter().map(|(basis, _)| basis).collect(),
            reading: policies.reading(asked.purpose, category),
            task: question.particulars.task,
            for_customer: question.particulars.for_customer,
            customers: question.particulars.customers,
            emergency: asked.premises.grant.is_some(),
        }),
    };
    let action = match answer.release {
        Release::Withheld => return (answer, Vec::new()),
        Release::Reduced => Action::ReadReduced,
        Release::Full => asked.action,
    };
    // Whatever the basis: without them, the stops that they lift would close.
    let mut counted = consent::limited_lifts(profile, vocabulary, rules, asked.purpose, basis, category, asked.channel);
    // Had its last use been taken, the grant would have run out.
    let without = Question { action, status: ConsentStatus::Expired, explicit: false, ..question };
    if !effective.limited.is_empty() && !policies.decide(&without).allow() {
        counted.extend(effective.limited);
    }
    (answer, counted)
}

/// INVARIANT: the one answer to whether any customer's state could permit a use, at the request level and in a replay of it.
pub(super) fn could_permit(policies: &Policies, usage: &Use<'_>, masked: bool) -> bool {
    // Whether it turns out to be about the customer for whom an agent calls, or another one.
    let own = usage.particulars.for_customer.map(|_| Particulars { for_customer: Some(true), ..usage.particulars });
    let ask = |action| {
        policies.could_permit(&Use { action, ..*usage })
            || own.is_some_and(|particulars| policies.could_permit(&Use { action, particulars, ..*usage }))
    };
    ask(usage.action) || (masked && usage.action == Action::Read && ask(Action::ReadReduced))
}

/// What comes of a question.
pub(super) struct Weighed {
    pub(super) release: Release,
    pub(super) why: Why,
    /// Determining, or erring.
    pub(super) policies: Vec<PolicyName>,
}

/// INVARIANT: the one order in which reasons are looked at, for whatever is enforced, and for whatever another policy set would
/// have made of it. The policies are asked also where `closed` has decided, so that the work is the same.
pub(super) fn weigh(policies: &Policies, question: &Question<'_>, closed: Option<Why>, masked: bool) -> Weighed {
    let decided = policies.decide(question);
    if let Some(why) = closed {
        return Weighed { release: Release::Withheld, why, policies: Vec::new() };
    }
    if !decided.errors().is_empty() {
        return Weighed { release: Release::Withheld, why: Why::PolicyError, policies: decided.errors().to_vec() };
    }
    if decided.allow() {
        return Weighed { release: Release::Full, why: Why::Permitted, policies: decided.policies() };
    }
    let why = if decided.is_determined() { Why::Forbidden } else { Why::NoPermit };
    if masked && question.action == Action::Read {
        let reduced = policies.decide(&Question { action: Action::ReadReduced, ..question.clone() });
        if reduced.allow() && reduced.errors().is_empty() {
            return Weighed { release: Release::Reduced, why, policies: reduced.policies() };
        }
    }
    Weighed { release: Release::Withheld, why, policies: decided.policies() }
}

/// Events that lost, told with one verdict at most. A customer who has changed their mind a thousand times would otherwise
/// make an entry that the log does not take; the ledger knows them all.
const OVERRIDDEN_MAX: usize = 8;

/// The last of a list that is ordered by time.
fn newest<E>(mut events: Vec<E>) -> Vec<E> {
    events.split_off(events.len().saturating_sub(OVERRIDDEN_MAX))
}

/// What makes two customers equal to a decision: address of the interned profile, facts, whether events are told, whether an
/// agent calls for them, and whether a grant is for them.
type Same = (usize, PartyFacts, bool, Option<bool>, bool);

/// Looks customers up for the filter and remembers what was decided on, so that it can be compared before release.
pub(super) struct Judging<'a> {
    pub(super) policies: &'a Policies,
    pub(super) catalog: &'a Catalog,
    pub(super) ledger: &'a Ledger,
    pub(super) asked: &'a Asked,
    pub(super) categories: &'a [(Category, bool)],
    pub(super) requested: Option<(Identifier, Option<Standing>)>,
    pub(super) pseudonym_key: &'a [u8; 32],
    /// Where links in the body may lead; without it nowhere.
    pub(super) links: Option<(&'a Shared, &'a Routed)>,
    /// Of the head entry, as long as it is judged by the same policies about the same question.
    pub(super) covered: Option<&'a Covered>,
    /// Of the customer whom the request named.
    decided_on: Vec<DecidedOn>,
    /// Equal consent and facts have equal verdicts: decided once for each request.
    memo: HashMap<Same, Known>,
    /// Most rows are like the one before.
    last: Option<(Same, Known)>,
    unknown: Option<Arc<Verdicts>>,
    /// The filter asks more than once for an id; the first answer holds for the whole body.
    asked_for: HashMap<Identifier, (Judged, Decided)>,
    facts: HashMap<PartyNo, PartyFacts>,
    uses: HashMap<PartyNo, Vec<EventId>>,
    failed: Option<Unavailable>,
}

/// What the head entry already says of the one customer whom the request names: an answer about nobody else needs no entry of its own,
/// and while they are as they were, they need not be judged again.
pub(super) struct Covered {
    pub(super) verdicts: Arc<Verdicts>,
    categories: Vec<(Category, bool)>,
    /// As of which change, with which facts, and what was known; `None` for an unknown customer.
    known: Option<(PartyNo, Revision, PartyFacts, Known)>,
}

impl Covered {
    pub(super) fn judge(policies: &Policies, asked: &Asked, standing: Option<&Standing>, categories: Vec<(Category, bool)>) -> Self {
        let Some(standing) = standing else {
            return Self { verdicts: Arc::new(verdicts(policies, asked, About::Unknown, &categories)), categories, known: None };
        };
        let made = counted_verdicts(policies, asked, About::Known(standing), &categories);
        if let Some(watch) = &asked.shadow {
            watch.count(Some(standing.party), &made.differences);
        }
        let known = Known::new(standing, made);
        Self { verdicts: Arc::clone(&known.verdicts), categories, known: Some((standing.party, standing.revision, standing.facts, known)) }
    }

    pub(super) fn party(&self) -> Option<PartyNo> {
        self.known.as_ref().map(|(party, ..)| *party)
    }

    /// What would be judged again, if nothing has changed.
    fn still_known(&self, standing: &Standing, categories: &[(Category, bool)]) -> Option<&Known> {
        let (party, revision, facts, known) = self.known.as_ref()?;
        let is_same =
            (*party, *revision, *facts) == (standing.party, standing.revision, standing.facts) && Arc::ptr_eq(&known.profile, &standing.profile);
        (is_same && self.categories == categories).then_some(known)
    }
}

impl Known {
    fn new(standing: &Standing, Made { verdicts, counted, differences }: Made) -> Self {
        Self { profile: Arc::clone(&standing.profile), verdicts: Arc::new(verdicts), counted: Arc::new(counted), differences: differences.into() }
    }
}

/// Verdicts, and the grants of limited uses behind them.
#[derive(Clone)]
struct Known {
    /// Profiles are interned; each one is held, so that its address stays its own.
    profile: Arc<Profile>,
    verdicts: Arc<Verdicts>,
    counted: Arc<BTreeSet<Position>>,
    differences: Arc<[Difference]>,
}

/// What a body was judged on.
#[derive(Debug, Default)]
pub(super) struct Basis {
    pub(super) decided_on: Vec<DecidedOn>,
    /// What the policies saw of each customer, for the log.
    pub(super) facts: HashMap<PartyNo, PartyFacts>,
    /// Of each customer, the grants of limited uses without which less of them would go out.
    uses: HashMap<PartyNo, Vec<EventId>>,
}

impl Basis {
    /// What this request did itself does not overtake it.
    pub(super) fn follow(&mut self, moved: &[Moved]) {
        self.decided_on.iter_mut().for_each(|decided| moved.iter().for_each(|moved| decided.moved(moved)));
    }

    /// The grants of limited uses on which what goes out relies, each once.
    pub(super) fn uses(&self, groups: &[filter::Group]) -> BTreeSet<EventId> {
        let released = groups.iter().filter(|group| group.released).flat_map(|group| &group.parties);
        released.filter_map(|party| self.uses.get(party)).flatten().copied().collect()
    }
}

/// One id and what stood behind it when it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DecidedOn {
    id: Identifier,
    party: Decided,
}

/// The customer who stood behind an id, as of their last change.
type Decided = Option<(PartyNo, Revision)>;

fn decided(standing: Option<&Standing>) -> Decided {
    standing.map(|s| (s.party, s.revision))
}

impl DecidedOn {
    pub(super) fn new(id: &Identifier, standing: Option<&Standing>) -> Self {
        Self { id: id.clone(), party: decided(standing) }
    }

    /// The customer's revision became another by what this request did itself.
    fn moved(&mut self, moved: &Moved) {
        if self.party == Some((moved.party, moved.from)) {
            self.party = Some((moved.party, moved.to));
        }
    }
}

/// Whether the ledger still says what was decided on.
pub(super) fn still_hold(decided_on: &[DecidedOn], ledger: &Ledger) -> bool {
    ledger.still_says(decided_on.iter().map(|decided| (&decided.id, decided.party))).unwrap_or(false)
}

impl std::fmt::Debug for Judging<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without ids and the key for pseudonyms.
        f.debug_struct("Judging").field("asked", &self.asked).field("decided_on", &self.asked_for.len()).finish_non_exhaustive()
    }
}

impl<'a> Judging<'a> {
    pub(super) fn new(
        policies: &'a Policies,
        catalog: &'a Catalog,
        ledger: &'a Ledger,
        asked: &'a Asked,
        categories: &'a [(Category, bool)],
        requested: Option<(Identifier, Option<Standing>)>,
        pseudonym_key: &'a [u8; 32],
    ) -> Self {
        Self {
            policies,
            catalog,
            ledger,
            asked,
            categories,
            requested,
            pseudonym_key,
            links: None,
            covered: None,
            decided_on: Vec::new(),
            memo: HashMap::new(),
            last: None,
            unknown: None,
            asked_for: HashMap::new(),
            facts: HashMap::new(),
            uses: HashMap::new(),
            failed: None,
        }
    }

    /// Ends the judging: what was decided on, or the reason why a look-up could not be answered.
    pub(super) fn finish(self) -> Result<Basis, Unavailable> {
        match self.failed {
            Some(error) => Err(error),
            None => {
                let asked_for = self.asked_for.into_iter().map(|(id, (_, party))| DecidedOn { id, party });
                Ok(Basis { decided_on: self.decided_on.into_iter().chain(asked_for).collect(), facts: self.facts, uses: self.uses })
            }
        }
    }

    fn judged(&mut self, standing: Option<&Standing>, is_requested: Option<bool>) -> Judged {
        let Some(standing) = standing else {
            let verdicts = match &self.unknown {
                Some(known) => Arc::clone(known),
                None => Arc::new(verdicts(self.policies, self.asked, About::Unknown, self.categories)),
            };
            self.unknown = Some(Arc::clone(&verdicts));
            return Judged { party: None, is_requested, verdicts };
        };
        self.facts.insert(standing.party, standing.facts);
        let for_them = self.asked.premises.about(Some(standing.party)).for_customer;
        let is_granted = About::Known(standing).is_granted(self.asked);
        let key = (Arc::as_ptr(&standing.profile).addr(), standing.facts, is_requested == Some(true), for_them, is_granted);
        let last = match self.last.take().filter(|(same, _)| *same == key) {
            Some(last) => last,
            None => {
                let known = match self.memo.get(&key) {
                    Some(known) => known.clone(),
                    None => {
                        let fresh = self.known(standing, is_requested);
                        self.memo.insert(key, fresh.clone());
                        fresh
                    }
                };
                (key, known)
            }
        };
        let (_, Known { verdicts, counted, differences, .. }) = &last;
        let verdicts = Arc::clone(verdicts);
        if let Some(watch) = &self.asked.shadow {
            watch.count(Some(standing.party), differences);
        }
        if !counted.is_empty() {
            self.uses.insert(standing.party, counted.iter().filter_map(|at| standing.event_id(*at)).collect());
        }
        self.last = Some(last);
        Judged { party: Some(standing.party), is_requested, verdicts }
    }

    /// Rows share verdicts by profile, so they carry no event; the customer whom the request named carries the events.
    fn known(&self, standing: &Standing, is_requested: Option<bool>) -> Known {
        if is_requested == Some(true)
            && let Some(known) = self.covered.and_then(|covered| covered.still_known(standing, self.categories))
        {
            return known.clone();
        }
        let mut made = counted_verdicts(self.policies, self.asked, About::Known(standing), self.categories);
        if is_requested != Some(true) {
            made.verdicts =
                Verdicts::new(made.verdicts.iter().map(|v| CategoryVerdict { event: None, overridden: Vec::new(), ..v.clone() }).collect());
        }
        Known::new(standing, made)
    }

    fn withhold(&self, is_requested: Option<bool>) -> Judged {
        Judged { party: None, is_requested, verdicts: Arc::new(Verdicts::default()) }
    }
}

impl Judging<'_> {
    /// The verdicts for whoever has this id.
    pub(super) fn judge_id(&mut self, id: &Identifier) -> Judged {
        if let Some((known, _)) = self.asked_for.get(id) {
            return known.clone();
        }
        let standing = match self.ledger.standing(id) {
            Ok(standing) => standing,
            Err(error) => {
                self.failed = Some(error);
                return self.withhold(None);
            }
        };
        let is_requested = self.requested.as_ref().map(|(asked_id, asked)| match (asked, &standing) {
            // One customer has ids in several systems: the party decides, an unknown one only by the very same id.
            (Some(a), Some(b)) => a.party == b.party,
            (None, None) => asked_id == id,
            (Some(_), None) | (None, Some(_)) => false,
        });
        let judged = self.judged(standing.as_ref(), is_requested);
        self.asked_for.insert(id.clone(), (judged.clone(), decided(standing.as_ref())));
        judged
    }
}

impl filter::Judge for Judging<'_> {
    fn judge(&mut self, space: Space, raw_id: &str) -> Judged {
        match self.catalog.space(space).and_then(|s| s.identify(raw_id).ok()) {
            Some(id) => self.judge_id(&id),
            // Not an id of its space: nobody's, so nothing of it goes out, and not the customer that was asked for.
            None => self.withhold(self.requested.as_ref().map(|_| false)),
        }
    }

    fn requested(&mut self) -> Option<Judged> {
        let (id, standing) = self.requested.clone()?;
        self.decided_on.push(DecidedOn::new(&id, standing.as_ref()));
        Some(self.judged(standing.as_ref(), Some(true)))
    }

    fn pseudonym(&mut self, text: &str) -> Option<String> {
        let recipient = self.asked.caller.department;
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, self.pseudonym_key);
        let mut context = aws_lc_rs::hmac::Context::with_key(&key);
        // Lengths keep (recipient, purpose, value) apart.
        for part in [recipient.as_str(), self.asked.purpose.as_str(), text] {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign().as_ref().get(..12).map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    fn link(&mut self, url: &str, party: Option<PartyNo>) -> Option<String> {
        let (shared, routed) = self.links?;
        body_link(shared, routed, party, url)
    }
}

/// A group of the filter's report as the log keeps it. Customers of one group may differ in stage or segment; they are
/// told apart there, since replay needs the facts that policies saw.
pub(super) fn log_groups(groups: &[filter::Group], facts: &HashMap<PartyNo, PartyFacts>) -> Vec<Group> {
    let mut out = Vec::new();
    for group in groups {
        let outcome = outcome(&group.verdicts, group.released);
        let mut by_facts: Vec<(Option<PartyFacts>, Vec<PartyNo>)> = Vec::new();
        for party in &group.parties {
            let seen = facts.get(party).copied();
            match by_facts.iter_mut().find(|(f, _)| *f == seen) {
                Some((_, parties)) => parties.push(*party),
                None => by_facts.push((seen, vec![*party])),
            }
        }
        if group.unknown > 0 {
            out.push(Group { parties: Vec::new(), unknown: group.unknown, outcome, verdicts: Arc::clone(&group.verdicts), facts: None });
        }
        for (facts, parties) in by_facts {
            out.push(Group { parties, unknown: 0, outcome, verdicts: Arc::clone(&group.verdicts), facts });
        }
    }
    out
}

/// How the decision ended for one customer.
pub(super) fn outcome(verdicts: &Verdicts, released: bool) -> Outcome {
    if !released {
        Outcome::Deny
    } else if verdicts.iter().all(|v| v.release == Release::Full) {
        Outcome::Permit
    } else {
        Outcome::Redact
    }
}

#[cfg(test)]
mod tests;
