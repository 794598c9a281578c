//! Members of answers that no shape maps, as far as they can be told: which, where and how often, never a value. For
//! `GET /v1/drift` and `consentry learn`. It is about the shapes that are active, so a reload begins anew; it is no evidence.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::catalog::{Api, Route};
use crate::model::{ApiName, ResponsePlan, RouteKey};

/// Routes that are told apart, and members of one.
const ROUTES_MAX: usize = 1_000;
const MEMBERS_MAX: usize = 500;
/// Different names in one object, from which they are data if most of them are in few answers.
const NAMES_OF_A_MAP: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Drift(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    generation: u64,
    since: Option<Timestamp>,
    routes: BTreeMap<(ApiName, RouteKey), OfRoute>,
}

#[derive(Debug, Default)]
struct OfRoute {
    shape: String,
    base: String,
    answers: u64,
    members: BTreeMap<String, u64>,
    more: bool,
}

impl Drift {
    /// Takes the members of one answer.
    pub(super) fn note(&self, generation: u64, now: Timestamp, api: &Api, route: &Route, members: &[String]) {
        let mut seen = self.seen(generation, now);
        if generation < seen.generation {
            return;
        }
        let key = (api.name, route.key);
        if seen.routes.len() >= ROUTES_MAX && !seen.routes.contains_key(&key) {
            return;
        }
        let of = seen.routes.entry(key).or_default();
        of.answers += 1;
        (of.shape, of.base) = match &route.response {
            ResponsePlan::Object { at, shape, .. } => (shape.name.to_string(), at.to_string()),
            ResponsePlan::Rows { rows, shape, .. } => (shape.name.to_string(), rows.to_string()),
            ResponsePlan::Stream { shape, .. } => (shape.name.to_string(), String::new()),
            ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Open { .. } => (String::new(), String::new()),
        };
        for member in members {
            let is_full = of.members.len() >= MEMBERS_MAX;
            match of.members.get_mut(member) {
                Some(times) => *times += 1,
                None if is_full => of.more = true,
                None => drop(of.members.insert(member.clone(), 1)),
            }
        }
    }

    /// What was seen of an API under the active configuration.
    pub(super) fn document(&self, generation: u64, now: Timestamp, api: &str) -> Value {
        let seen = self.seen(generation, now);
        let routes: Vec<Value> = seen
            .routes
            .iter()
            .filter(|((of, _), _)| of.as_str() == api)
            .map(|((_, route), of)| {
                let members: Vec<Value> = of.told().into_iter().map(|(path, answers)| json!({ "path": path, "answers": answers })).collect();
                json!({ "route": route.as_str(), "shape": of.shape, "base": of.base, "answers": of.answers, "members": members, "more": of.more })
            })
            .collect();
        json!({ "api": api, "since": seen.since.unwrap_or(now).to_string(), "routes": routes })
    }

    fn seen(&self, generation: u64, now: Timestamp) -> std::sync::MutexGuard<'_, Seen> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was seen by other shapes tells nothing about those of now.
        if seen.generation < generation || seen.since.is_none() {
            *seen = Seen { generation, since: Some(now), routes: BTreeMap::new() };
        }
        seen
    }
}

impl OfRoute {
    /// The members with how many answers had them. Where the names in an object differ from answer to answer they are data: `*`.
    fn told(&self) -> BTreeMap<String, u64> {
        let mut told = self.members.clone();
        // From the inside out: the names below a name that is not told fall together, too.
        let mut depth = told.keys().map(|path| path.split('.').count()).max().unwrap_or_default();
        while depth > 0 {
            depth -= 1;
            let mut below: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
            for (path, answers) in &told {
                let mut pieces = path.split('.');
                let above: Vec<&str> = pieces.by_ref().take(depth).collect();
                if let (true, Some(name)) = (above.len() == depth, pieces.next()) {
                    let times = below.entry(above.join(".")).or_default().entry(name.to_owned()).or_default();
                    *times = (*times).max(*answers);
                }
            }
            below.retain(|_, names| {
                names.len() >= NAMES_OF_A_MAP && names.values().filter(|times| **times * 2 < self.answers).count() * 2 > names.len()
            });
            if below.is_empty() {
                continue;
            }
            let mut next: BTreeMap<String, u64> = BTreeMap::new();
            for (path, answers) in told {
                let pieces: Vec<&str> = path.split('.').collect();
                let above = pieces.get(..depth).map(|above| above.join("."));
                let is_data = pieces.len() > depth && above.as_ref().is_some_and(|above| below.contains_key(above));
                let path = match above {
                    Some(above) if is_data => {
                        if above.is_empty() {
                            "*".to_owned()
                        } else {
                            format!("{above}.*")
                        }
                    }
                    Some(_) | None => path,
                };
                let times = next.entry(path).or_default();
                *times = (*times).max(answers);
            }
            told = next;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::OfRoute;

    fn told(answers: u64, members: &[(&str, u64)]) -> Vec<String> {
        let members = members.iter().map(|(path, times)| ((*path).to_owned(), *times)).collect();
        OfRoute { answers, members, ..OfRoute::default() }.told().into_keys().collect()
    }

    #[test]
    fn names_that_differ_from_answer_to_answer_are_not_told() {
        let people: Vec<String> = (b'a'..=b'p').map(|c| format!("byAgent.anna{}", char::from(c))).collect();
        let people: Vec<(&str, u64)> = people.iter().map(|path| (path.as_str(), 1)).chain([("email", 40), ("nested.a", 40)]).collect();
        assert_eq!(told(40, &people), ["byAgent.*", "email", "nested.a"]);
        let below: Vec<String> = (b'a'..=b'p').map(|c| format!("rows[].visits.anna{}.day", char::from(c))).collect();
        let below: Vec<(&str, u64)> = below.iter().map(|path| (path.as_str(), 1)).collect();
        assert_eq!(told(40, &below), ["rows[].visits.*"]);
    }

    #[test]
    fn members_of_most_answers_are_told_however_many() {
        let fields: Vec<String> = (b'a'..=b'z').map(|c| format!("field{}", char::from(c))).collect();
        let fields: Vec<(&str, u64)> = fields.iter().map(|path| (path.as_str(), 30)).collect();
        assert_eq!(told(40, &fields).len(), 26);
    }
}
