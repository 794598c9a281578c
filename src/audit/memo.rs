//! Dictionary values that were made lately. Nearly every entry refers to ones that another entry has had before; to write them anew
//! each time would be most of what an entry costs.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use super::entry::{DecisionFacts, Group};
use super::error::AuditError;
use super::json::Class;
use super::queue::lock;
use crate::model::{CategoryVerdict, Channel, Environment, PartyFacts, Purpose, Role, Verdicts};

/// Values of one kind in a generation, of which there are two: some 4 KiB each at most, where many verdicts stand in one.
const GENERATION_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Memo {
    facts: Mutex<Recent<Shared>>,
    verdicts: Mutex<Recent<Judged>>,
    paths: Mutex<Recent<Vec<String>>>,
}

impl Memo {
    pub(super) fn facts(&self, facts: &DecisionFacts, make: impl FnOnce(&DecisionFacts) -> Result<Class, AuditError>) -> Result<Class, AuditError> {
        let key = Shared {
            purpose: facts.purpose,
            channel: facts.channel,
            environment: facts.environment,
            gpc: facts.gpc,
            roles: facts.roles.clone(),
            policy_set: Arc::clone(&facts.policy_set),
            policies: Arc::clone(&facts.policies),
        };
        lock(&self.facts).get_or_make(key, |_| make(facts))
    }

    pub(super) fn verdicts(&self, group: &Group, make: impl FnOnce(&Group) -> Class) -> Class {
        let key = Judged { verdicts: Arc::clone(&group.verdicts), facts: group.facts };
        lock(&self.verdicts).get_or_make(key, |_| Ok::<_, std::convert::Infallible>(make(group))).unwrap_or_else(|never| match never {})
    }

    /// `paths` are sorted.
    pub(super) fn paths(&self, paths: Vec<String>, make: impl FnOnce(&[String]) -> Class) -> Class {
        lock(&self.paths).get_or_make(paths, |paths| Ok::<_, std::convert::Infallible>(make(paths))).unwrap_or_else(|never| match never {})
    }
}

/// What was asked for last, and what was asked for before that.
#[derive(Debug)]
struct Recent<K> {
    current: HashMap<K, Class>,
    previous: HashMap<K, Class>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { current: HashMap::new(), previous: HashMap::new() }
    }
}

impl<K: Hash + Eq> Recent<K> {
    fn get_or_make<E>(&mut self, key: K, make: impl FnOnce(&K) -> Result<Class, E>) -> Result<Class, E> {
        if let Some(class) = self.current.get(&key) {
            return Ok(class.clone());
        }
        let class = match self.previous.remove(&key) {
            Some(class) => class,
            None => make(&key)?,
        };
        if self.current.len() >= GENERATION_MAX {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(key, class.clone());
        Ok(class)
    }
}

/// All that the class of facts says.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shared {
    purpose: Option<Purpose>,
    channel: Channel,
    environment: Environment,
    gpc: bool,
    roles: Vec<Role>,
    policy_set: Arc<str>,
    policies: Arc<str>,
}

/// All that the class of verdicts says: everything but the consent events, which are each customer's own.
#[derive(Debug)]
struct Judged {
    verdicts: Arc<Verdicts>,
    facts: Option<PartyFacts>,
}

impl Eq for Judged {}

impl PartialEq for Judged {
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts
            && (Arc::ptr_eq(&self.verdicts, &other.verdicts)
                || self.verdicts.iter().len() == other.verdicts.iter().len()
                    && self.verdicts.iter().zip(other.verdicts.iter()).all(|(one, other)| says_the_same(one, other)))
    }
}

fn says_the_same(one: &CategoryVerdict, other: &CategoryVerdict) -> bool {
    // Spelled out, so that a new member has to be thought of here.
    let CategoryVerdict { category, release, why, policies, basis, activity, status, event: _, overridden: _, rule, conflict, grounds } = one;
    *category == other.category
        && *release == other.release
        && *why == other.why
        && *policies == other.policies
        && *basis == other.basis
        && *activity == other.activity
        && *status == other.status
        && *rule == other.rule
        && *conflict == other.conflict
        && *grounds == other.grounds
}

impl Hash for Judged {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.facts.hash(state);
        for verdict in self.verdicts.iter() {
            // What mostly tells them apart; the comparison looks at all.
            (verdict.category, verdict.release, verdict.status).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;
    use crate::audit::encode;
    use crate::audit::json::Object;
    use crate::audit::tests::judged;
    use crate::model::{EventId, Release, Segment};

    fn group(verdicts: Vec<CategoryVerdict>, facts: Option<PartyFacts>) -> Group {
        Group { parties: Vec::new(), unknown: 1, outcome: Outcome::Redact, verdicts: Arc::new(Verdicts::new(verdicts)), facts }
    }

    #[test]
    fn whatever_the_class_says_makes_another_one_and_events_do_not() {
        let memo = Memo::default();
        let verdicts = vec![judged("contact", Release::Full), judged("identity", Release::Withheld)];
        let facts = Some(PartyFacts::unknown(Segment::Standard));
        let original = memo.verdicts(&group(verdicts.clone(), facts), encode::verdict_class);
        let again = |verdicts: Vec<CategoryVerdict>, facts| {
            let group = group(verdicts, facts);
            let class = memo.verdicts(&group, encode::verdict_class);
            assert_eq!(encode::verdict_class(&group), class, "the memo has made up another text");
            class == original
        };
        assert!(again(verdicts.clone(), facts));
        assert!(!again(verdicts.clone(), None));
        let with = |change: &dyn Fn(&mut CategoryVerdict)| {
            let mut changed = verdicts.clone();
            change(&mut changed[0]);
            again(changed, facts)
        };
        assert!(with(&|v| v.event = Some(EventId(7))));
        assert!(with(&|v| v.overridden.push(EventId(7))));
        assert!(!with(&|v| v.conflict = !v.conflict));
        assert!(!with(&|v| v.grounds = None));
        assert!(!with(&|v| v.policies.clear()));
        assert!(!with(&|v| v.activity = None));
        assert!(!again(verdicts.iter().skip(1).cloned().collect(), facts));
    }

    #[test]
    fn what_is_asked_for_again_survives_and_the_rest_is_forgotten() {
        let mut recent = Recent::default();
        let mut made = 0;
        let mut ask = |key: usize| {
            let make = |_: &usize| {
                made += 1;
                Ok::<_, std::convert::Infallible>(Object::default().class("paths"))
            };
            recent.get_or_make(key, make).unwrap();
            (recent.current.len() + recent.previous.len(), made)
        };
        for key in 0..GENERATION_MAX * 5 {
            ask(key);
            ask(0);
        }
        let (kept, made) = ask(0);
        assert!(kept <= 2 * GENERATION_MAX);
        assert_eq!(GENERATION_MAX * 5, made, "the one that is asked for is made once");
    }
}
