//! Shadow: a candidate policy folder beside the active one. Each verdict is judged by both, in the same thread and on the same
//! consent; nothing of the candidate is enforced, and nothing waits for it but that one judgement more.
//!
//! Differences are counted: as a metric, by app, purpose, category and policy for `consentry policy shadow diff`, and in the log when
//! a shadow starts and stops and each minute in which something was added. A restart ends a shadow, a reload does not.
//!
//! INVARIANT: whatever the candidate does harms nobody: an error is counted, and after a panic it is asked no more.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::judge::{About, Asked, judge};
use super::replay::Direction;
use crate::audit::{Entry, ShadowRow};
use crate::model::{Action, Caller, Category, CategoryVerdict, Channel, Employee, PartyNo, PolicyName, Purpose, Release, Why};
use crate::policy::Policies;
use crate::telemetry::Metrics;

/// Kinds of differences told apart; further ones are only counted. Some 200 B each.
const ROWS_MAX: usize = 1_024;
/// Of these, as many stand in an entry of the log: the most frequent.
const LOGGED_ROWS_MAX: usize = 64;
/// Customers and categories whose differences one request tells apart; beyond, each is counted as one more.
const SEEN_MAX: usize = 16_384;
/// The log is told of new differences not more often than this, seconds.
const TELL_EVERY_S: i64 = 60;

/// Stands for a policy where the request level would be open.
const ENTITLEMENT: &str = "any-consent";
/// Stands for a policy where a name of the question is not in the candidate's catalogue.
const NOT_IN_CATALOGUE: &str = "not-in-catalogue";

/// A candidate at work.
pub(super) struct Shadow {
    candidate: Policies,
    id: Arc<str>,
    since: Timestamp,
    metrics: Metrics,
    judged: AtomicU64,
    failed: AtomicU64,
    is_broken: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    rows: BTreeMap<Difference, u64>,
    gains: u64,
    loses: u64,
    /// Answers whose kind had no row left.
    further: u64,
    /// Answers beyond the customers that one request tells apart: not among the others, and at most twice each.
    more: u64,
    /// When the log was last told, and of how many.
    told: Option<(Timestamp, u64)>,
}

impl Counts {
    fn all(&self) -> u64 {
        self.gains + self.loses + self.more
    }
}

/// One kind of difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    direction: Direction,
    caller: (crate::model::Client, crate::model::Department),
    action: Action,
    purpose: Purpose,
    category: Category,
    policies: Vec<PolicyName>,
}

impl std::fmt::Debug for Shadow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shadow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shadow {
    pub(super) fn new(candidate: Policies, since: Timestamp, metrics: Metrics) -> Self {
        Self {
            id: candidate.id().into(),
            candidate,
            since,
            metrics,
            judged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            counts: Mutex::default(),
        }
    }

    /// Whether it is that folder that judges, and still does.
    pub(super) fn is_of(&self, candidate: &Policies) -> bool {
        *self.id == *candidate.id() && !self.is_broken.load(Ordering::Relaxed)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.metrics.shadowed("failed");
    }

    /// Runs the candidate so that its panic ends here.
    fn guarded<T>(&self, judge: impl FnOnce(&Policies) -> T) -> Option<T> {
        if self.is_broken.load(Ordering::Relaxed) {
            return None;
        }
        self.judged.fetch_add(1, Ordering::Relaxed);
        let judged = catch_unwind(AssertUnwindSafe(|| judge(&self.candidate)));
        if judged.is_err() {
            self.is_broken.store(true, Ordering::Relaxed);
            self.fail();
            tracing::error!(candidate = &*self.id, "the shadow's policies could not be asked; the shadow judges no more");
        }
        judged.ok()
    }

    fn count(&self, difference: &Difference) {
        self.metrics.shadowed(difference.direction.as_str());
        let mut counts = self.counts();
        match difference.direction {
            Direction::Gains => counts.gains += 1,
            Direction::Loses => counts.loses += 1,
        }
        if let Some(answers) = counts.rows.get_mut(difference) {
            *answers += 1;
        } else if counts.rows.len() < ROWS_MAX {
            counts.rows.insert(difference.clone(), 1);
        } else {
            counts.further += 1;
        }
    }

    /// A difference that may have been counted in the same request already.
    fn count_more(&self) {
        self.metrics.shadowed("more");
        self.counts().more += 1;
    }

    /// What the log is told, at a step of the shadow.
    pub(super) fn entry(&self, step: &'static str, now: Timestamp) -> Entry {
        let mut counts = self.counts();
        counts.told = Some((now, counts.all()));
        let mut rows: Vec<(&Difference, u64)> = counts.rows.iter().map(|(difference, answers)| (difference, *answers)).collect();
        rows.sort_by_key(|(difference, answers)| (std::cmp::Reverse(*answers), *difference));
        let row = |(difference, answers): (&Difference, u64)| ShadowRow {
            direction: difference.direction.as_str(),
            app: difference.caller.0,
            department: difference.caller.1,
            action: difference.action,
            purpose: difference.purpose,
            category: difference.category,
            policies: difference.policies.iter().take(LOGGED_POLICIES_MAX).copied().collect(),
            answers,
        };
        let left_out = u64::try_from(rows.len().saturating_sub(LOGGED_ROWS_MAX)).unwrap_or(u64::MAX);
        Entry::Shadow {
            step,
            candidate: Arc::clone(&self.id),
            judged: self.judged.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            gains: counts.gains,
            loses: counts.loses,
            more: counts.more,
            rows: rows.into_iter().take(LOGGED_ROWS_MAX).map(row).collect(),
            left_out,
        }
    }

    /// What the log is told when something was added since it was last told, at most once a minute.
    pub(super) fn news(&self, now: Timestamp) -> Option<Entry> {
        let is_due = {
            let counts = self.counts();
            counts.told.is_none_or(|(at, of)| counts.all() > of && now.as_second() >= at.as_second() + TELL_EVERY_S)
        };
        is_due.then(|| self.entry("counted", now))
    }

    /// As the admin API shows it.
    pub(super) fn report(&self) -> Value {
        let counts = self.counts();
        let mut rows: Vec<(&Difference, &u64)> = counts.rows.iter().collect();
        rows.sort_by_key(|(difference, answers)| (difference.direction, std::cmp::Reverse(**answers), *difference));
        let row = |(difference, answers): (&Difference, &u64)| {
            let policies: Vec<&str> = difference.policies.iter().map(|policy| policy.as_str()).collect();
            json!({
                "direction": difference.direction.as_str(), "answers": answers, "app": difference.caller.0.as_str(),
                "department": difference.caller.1.as_str(), "action": difference.action.as_str(), "purpose": difference.purpose.as_str(),
                "category": difference.category.as_str(), "policies": policies,
            })
        };
        json!({
            "candidate": &*self.id, "since": self.since.to_string(), "judged": self.judged.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed), "broken": self.is_broken.load(Ordering::Relaxed),
            "gains": counts.gains, "loses": counts.loses, "further": counts.further, "more": counts.more,
            "differences": rows.into_iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// Names of policies in a row of the log.
const LOGGED_POLICIES_MAX: usize = 4;

/// A shadow as one request sees it, from its first verdict to its last.
pub(super) struct Watch {
    shadow: Arc<Shadow>,
    /// The caller as the candidate's catalogue registers it; `None` when it does not.
    caller: OnceLock<Option<Caller>>,
    /// What was counted already: a customer of a request is judged before and after the upstream.
    seen: Mutex<HashSet<(Option<PartyNo>, Category, Action)>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("shadow", &self.shadow).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(shadow: Arc<Shadow>) -> Arc<Self> {
        Arc::new(Self { shadow, caller: OnceLock::new(), seen: Mutex::default() })
    }

    /// How the candidate's verdict differs from the one that `active` has enforced; `true` beside the category: a masked form
    /// exists. Of a use that no consent could open: whether one could, by the candidate.
    pub(super) fn compare(
        &self,
        active: &Policies,
        asked: &Asked,
        about: About<'_>,
        (category, masked): (Category, bool),
        enforced: &CategoryVerdict,
    ) -> Option<Difference> {
        let (release, policies) = self.shadow.guarded(|candidate| match self.asked(candidate, active, asked, category) {
            Some(other) if matches!(about, About::Anybody) => {
                let release = if other.could_permit(candidate, category, masked) { Release::Full } else { Release::Withheld };
                (release, vec![PolicyName::intern(ENTITLEMENT)])
            }
            Some(other) => {
                let (verdict, _) = judge(candidate, &other, about, category, masked);
                if verdict.why == Why::PolicyError {
                    self.shadow.fail();
                }
                let told = match verdict.why {
                    Why::Stop(stop) => vec![PolicyName::intern(stop)],
                    Why::Permitted | Why::UnknownParty | Why::NotGranted | Why::Forbidden | Why::NoPermit | Why::PolicyError => verdict.policies,
                };
                (verdict.release, told)
            }
            None => (Release::Withheld, vec![PolicyName::intern(NOT_IN_CATALOGUE)]),
        })?;
        let direction = Direction::of(enforced.release, release)?;
        // Where nothing permits any more, what permitted before says more.
        let policies = if policies.is_empty() { enforced.policies.clone() } else { policies };
        Some(self.difference(direction, asked, category, policies))
    }

    /// A route without customer data.
    pub(super) fn compare_nobody(&self, active: &Policies, asked: &Asked, enforced: &CategoryVerdict) {
        let category = enforced.category;
        let judged = self.shadow.guarded(|candidate| {
            let Some(other) = self.asked(candidate, active, asked, category) else { return (false, vec![PolicyName::intern(NOT_IN_CATALOGUE)]) };
            let decided = candidate.decide(&super::none::question(candidate, &other, category));
            (decided.allow(), decided.policies())
        });
        let Some((allow, policies)) = judged else { return };
        let release = if allow { Release::Full } else { Release::Withheld };
        if let Some(direction) = Direction::of(enforced.release, release) {
            self.count(None, &[self.difference(direction, asked, category, policies)]);
        }
    }

    /// Counts differences of one customer, each once a request.
    pub(super) fn count(&self, party: Option<PartyNo>, differences: &[Difference]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for difference in differences {
            let key = (party, difference.category, difference.action);
            if seen.len() < SEEN_MAX {
                if seen.insert(key) {
                    self.shadow.count(difference);
                }
            } else if !seen.contains(&key) {
                self.shadow.count_more();
            }
        }
    }

    fn difference(&self, direction: Direction, asked: &Asked, category: Category, policies: Vec<PolicyName>) -> Difference {
        let caller = (asked.caller.client, asked.caller.department);
        Difference { direction, caller, action: asked.action, purpose: asked.purpose, category, policies }
    }

    /// The question in the candidate's words: `None` when its catalogue lacks one of them, which the gateway would refuse.
    fn asked(&self, candidate: &Policies, active: &Policies, asked: &Asked, category: Category) -> Option<Asked> {
        let vocabulary = candidate.vocabulary();
        let caller = self.caller.get_or_init(|| {
            let info = vocabulary.clients.get(&asked.caller.client)?;
            let known = |employee: &Employee| Employee {
                pseudonym: String::new(),
                roles: employee.roles.iter().copied().filter(|role| vocabulary.roles.contains(role)).collect(),
            };
            let employee = asked.caller.employee.as_ref().map(known);
            Some(Caller { client: asked.caller.client, kind: info.kind, department: info.department, employee })
        });
        if !vocabulary.purposes.contains_key(&asked.purpose) || !vocabulary.categories.contains_key(&category) {
            return None;
        }
        let caller = caller.clone()?;
        let channel = |policies: &Policies| policies.vocabulary().purposes.get(&asked.purpose).and_then(|info| info.channel);
        let channel = match (channel(candidate), channel(active)) {
            (Some(own), _) => own,
            // What was asked was the purpose's own.
            (None, Some(_)) => Channel::System,
            (None, None) => asked.channel,
        };
        Some(Asked { caller, channel, shadow: None, ..asked.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Client, Department};

    fn shadow() -> Shadow {
        Shadow::new(Policies::load(Path::new("policies")).unwrap(), Timestamp::UNIX_EPOCH, Metrics::new())
    }

    fn difference(category: &str) -> Difference {
        Difference {
            direction: Direction::Gains,
            caller: (Client::intern("crm"), Department::intern("sales")),
            action: Action::Read,
            purpose: Purpose::intern("sales.outreach"),
            category: Category::intern(category),
            policies: vec![PolicyName::intern("planted")],
        }
    }

    #[test]
    fn panic_of_a_candidate_ends_its_judging_and_nothing_else() {
        let shadow = shadow();
        assert_eq!(Some(1), shadow.guarded(|_| 1));
        assert_eq!(None, shadow.guarded(|_| -> u8 { panic!("a candidate breaks down") }));
        assert_eq!(None, shadow.guarded(|_| 1), "it is asked no more");
        let report = shadow.report();
        assert_eq!((&json!(2), &json!(1), &json!(true)), (&report["judged"], &report["failed"], &report["broken"]));
    }

    #[test]
    fn rows_are_bounded_and_what_has_none_is_still_counted() {
        let shadow = shadow();
        for n in 0..ROWS_MAX + 5 {
            shadow.count(&difference(&format!("made-up-{n}")));
        }
        shadow.count(&difference("made-up-0"));
        let report = shadow.report();
        assert_eq!(
            (ROWS_MAX, &json!(5), &json!(ROWS_MAX + 6)),
            (report["differences"].as_array().unwrap().len(), &report["further"], &report["gains"])
        );
        assert_eq!(json!(2), report["differences"][0]["answers"], "the most frequent first");
        let Entry::Shadow { rows, left_out, .. } = shadow.entry("counted", Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!((LOGGED_ROWS_MAX, u64::try_from(ROWS_MAX - LOGGED_ROWS_MAX).unwrap()), (rows.len(), left_out));
    }

    #[test]
    fn the_log_is_told_once_a_minute_and_only_of_news() {
        let shadow = shadow();
        let at = |second| Timestamp::from_second(second).unwrap();
        shadow.entry("started", at(0));
        assert!(shadow.news(at(120)).is_none(), "nothing happened");
        shadow.count(&difference("contact"));
        assert!(shadow.news(at(59)).is_none());
        assert!(shadow.news(at(60)).is_some());
        assert!(shadow.news(at(600)).is_none());
    }

    #[test]
    fn a_customer_counts_once_a_request() {
        let shadow = Arc::new(shadow());
        let watch = Watch::new(Arc::clone(&shadow));
        for party in [Some(PartyNo(1)), Some(PartyNo(1)), Some(PartyNo(2)), None, None] {
            watch.count(party, &[difference("contact")]);
        }
        Watch::new(Arc::clone(&shadow)).count(Some(PartyNo(1)), &[difference("contact")]);
        assert_eq!(json!(4), shadow.report()["gains"]);
    }

    #[test]
    fn what_a_request_cannot_tell_apart_is_counted_apart() {
        let shadow = Arc::new(shadow());
        let watch = Watch::new(Arc::clone(&shadow));
        let told = u64::try_from(SEEN_MAX).unwrap();
        for party in (0..told + 3).chain([0, told + 2]) {
            watch.count(Some(PartyNo(party)), &[difference("contact")]);
        }
        let report = shadow.report();
        assert_eq!((json!(told), json!(4)), (report["gains"].clone(), report["more"].clone()), "the last one perhaps twice, the first one never");
        let Entry::Shadow { more, .. } = shadow.entry("counted", Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!(4, more);
        watch.count(Some(PartyNo(told + 9)), &[difference("contact")]);
        assert!(shadow.news(Timestamp::from_second(60).unwrap()).is_some(), "the log is told of these, too");
    }

    #[test]
    fn the_channel_is_that_of_the_candidates_purpose() {
        let by_post = || {
            let mut files = crate::policy::files(Path::new("policies")).unwrap();
            let catalogue = files.get_mut("catalogue.cedarentities.json").unwrap();
            let label = "\"label\":\"Contact by sales\"";
            assert!(catalogue.contains(label));
            *catalogue = catalogue.replacen(label, &format!("\"channel\":{{\"type\":\"Channel\",\"id\":\"post\"}},{label}"), 1);
            Policies::of_files(&files).unwrap_or_else(|findings| panic!("{findings}"))
        };
        let shipped = || Policies::load(Path::new("policies")).unwrap();
        let asked = |channel| {
            let (client, info) =
                shipped().vocabulary().clients.get_key_value(&Client::intern("crm")).map(|(client, info)| (*client, info.clone())).unwrap();
            Asked {
                caller: Caller { client, kind: info.kind, department: info.department, employee: None },
                action: Action::Read,
                purpose: Purpose::intern("sales.outreach"),
                channel,
                environment: crate::model::Environment::Production,
                gpc: false,
                records: None,
                now: Timestamp::UNIX_EPOCH,
                premises: super::super::premises::Premises::default(),
                shadow: None,
            }
        };
        for (active, channel, candidate, expected) in [
            (shipped(), Channel::System, by_post(), Channel::Post),
            (by_post(), Channel::Post, shipped(), Channel::System),
            // A caller named it, where the purpose has none.
            (shipped(), Channel::Phone, shipped(), Channel::Phone),
        ] {
            let watch = Watch::new(Arc::new(Shadow::new(shipped(), Timestamp::UNIX_EPOCH, Metrics::new())));
            let other = watch.asked(&candidate, &active, &asked(channel), Category::intern("contact")).unwrap();
            assert_eq!(expected, other.channel);
        }
    }
}
