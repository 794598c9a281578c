//! The result of `consentry policy replay --format json`, read back by whoever is to approve.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::check::short;
use super::replay::{ROWS_MAX, counted, grouped, numbers};
use crate::gateway::replay::Direction;
use crate::model::Release;

/// As it was written: nothing is taken for a replay that is none, and nothing in one is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    ok: bool,
    candidate: String,
    #[serde(deserialize_with = "Option::deserialize")]
    active: Option<String>,
    decisions: u64,
    answers: u64,
    unchanged: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    reproduced: Option<ShownReproduced>,
    differences: Vec<ShownDifference>,
    customers_capped: bool,
    skipped: Vec<ShownSkipped>,
    allow_unused: Vec<String>,
    owners: Vec<String>,
    #[serde(rename = "took_ms")]
    _took_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownReproduced {
    of: u64,
    answers: u64,
    unlike: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownDifference {
    #[serde(deserialize_with = "direction")]
    direction: Direction,
    answers: u64,
    customers: u64,
    app: String,
    department: String,
    purpose: String,
    category: String,
    policies: Vec<String>,
    #[serde(deserialize_with = "release")]
    before: Release,
    #[serde(deserialize_with = "release")]
    after: Release,
    decisions: Vec<u64>,
    #[serde(deserialize_with = "Option::deserialize")]
    allowed: Option<ShownAllowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownAllowed {
    at: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownSkipped {
    why: String,
    answers: u64,
}

fn direction<'de, D: Deserializer<'de>>(words: D) -> Result<Direction, D::Error> {
    Direction::parse(&String::deserialize(words)?).ok_or_else(|| D::Error::custom("a difference neither gains nor loses"))
}

fn release<'de, D: Deserializer<'de>>(words: D) -> Result<Release, D::Error> {
    Release::parse(&String::deserialize(words)?).ok_or_else(|| D::Error::custom("an answer that is not withheld, reduced or full"))
}

impl Shown {
    /// A replay of the set `candidate`.
    ///
    /// # Errors
    /// What is none, or one of another set, or whose figures contradict each other.
    pub(super) fn read(document: &Value, candidate: &str) -> Result<Self, String> {
        if !is_plain(document) {
            return Err("has line breaks or control characters in its texts; keep reasons of `--allow` to one line and replay again".to_owned());
        }
        let shown = Self::deserialize(document).map_err(|error| format!("is no result of `consentry policy replay --format json`: {error}"))?;
        if shown.candidate != candidate {
            return Err(format!("replays the set {}, and the bundle is {}", short(&shown.candidate), short(candidate)));
        }
        let changed = shown.differences.iter().try_fold(shown.unchanged, |sum, difference| sum.checked_add(difference.answers));
        let is_turned = |difference: &ShownDifference| match difference.direction {
            Direction::Loses => difference.after < difference.before,
            Direction::Gains => difference.after > difference.before,
        };
        let is_reproduced = shown.reproduced.as_ref().is_none_or(|reproduced| reproduced.of == reproduced.answers);
        let is_good = shown.unnamed().next().is_none() && is_reproduced && shown.answers > 0;
        if changed != Some(shown.answers) || !shown.differences.iter().all(is_turned) || (shown.ok && !is_good) {
            return Err("contradicts itself: it is not as `consentry policy replay` wrote it".to_owned());
        }
        Ok(shown)
    }

    fn unnamed(&self) -> impl Iterator<Item = &ShownDifference> {
        self.differences.iter().filter(|difference| difference.direction == Direction::Gains && difference.allowed.is_none())
    }

    /// As an approver is told; `replaces` is the set that the bundle replaces.
    pub(super) fn text(&self, replaces: Option<&str>) -> String {
        let of = |direction| self.differences.iter().filter(move |difference| difference.direction == direction).map(|difference| difference.answers);
        let skipped = self.skipped.iter().fold(0_u64, |sum, skipped| sum.saturating_add(skipped.answers));
        let mut lines = vec![format!(
            "replay of {} in {}: {} would gain, {} would lose, {} unchanged, {} skipped",
            counted(self.answers, "answer"),
            counted(self.decisions, "decision"),
            grouped(of(Direction::Gains).sum()),
            grouped(of(Direction::Loses).sum()),
            grouped(self.unchanged),
            grouped(skipped),
        )];
        lines.push(match (&self.reproduced, self.active.as_deref()) {
            (Some(ShownReproduced { of, answers, unlike }), active) if active == replaces => {
                let unlike = if unlike.is_empty() { String::new() } else { format!(" · not {}", numbers(unlike)) };
                format!("reproduced {} of {} with the set that the bundle replaces{unlike}", grouped(*answers), grouped(*of))
            }
            (Some(_) | None, active) => {
                let with = active.map_or_else(|| "without".to_owned(), |active| format!("with {} and not with", short(active)));
                format!("replayed {with} the set that the bundle replaces: whether the log is that set's is not shown")
            }
        });
        let mut rows: Vec<&ShownDifference> = self.differences.iter().collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.direction), std::cmp::Reverse(row.answers)));
        lines.extend(rows.iter().take(ROWS_MAX).map(|row| row.line()));
        if rows.len() > ROWS_MAX {
            lines.push(format!("and {} more kinds of differences", rows.len() - ROWS_MAX));
        }
        if self.customers_capped {
            lines.push("not all customers were told apart".to_owned());
        }
        lines.extend(self.skipped.iter().map(|skipped| format!("skipped {}: {}", grouped(skipped.answers), skipped.why)));
        lines.extend(self.allow_unused.iter().map(|line| format!("{line}: allows nothing that happened")));
        if !self.owners.is_empty() {
            lines.push(format!("owners of what changes: {}", self.owners.join(", ")));
        }
        if !self.ok {
            lines.push("the replay did NOT pass".to_owned());
        }
        lines.join("\n")
    }
}

/// No text of it could forge a line of a terminal.
fn is_plain(document: &Value) -> bool {
    match document {
        Value::String(text) => !text.chars().any(char::is_control),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

impl ShownDifference {
    fn line(&self) -> String {
        let Self { app, department, purpose, category, before, after, .. } = self;
        let why = match &self.allowed {
            Some(ShownAllowed { at, reason }) => format!("allowed by {at}: {reason}"),
            None => self.policies.join(" "),
        };
        let customers = counted(self.customers, "customer");
        let answers = counted(self.answers, "answer");
        let what = format!("{app} of {department}, {purpose}: {category} {before} -> {after}");
        format!("{}  {answers}, {customers}: {what} · {why} · {}", self.direction, numbers(&self.decisions))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;

    use super::super::replay::Verdict;
    use super::*;
    use crate::gateway::replay::{Difference, Extent, Replayed};
    use crate::model::PartyNo;
    use crate::policy::Policies;

    fn replayed() -> Replayed {
        let difference = |direction, before, after| Difference {
            direction,
            app: "campaign-manager".to_owned(),
            department: "marketing".to_owned(),
            purpose: "marketing.email".to_owned(),
            category: "health".to_owned(),
            policies: vec!["leads-health".to_owned()],
            before,
            after,
        };
        let extent = |answers| Extent { answers, customers: [PartyNo(1)].into(), decisions: vec![44] };
        let gains = (difference(Direction::Gains, Release::Withheld, Release::Full), extent(2));
        let loses = (difference(Direction::Loses, Release::Full, Release::Reduced), extent(3));
        let skipped = [(crate::gateway::replay::Skipped::Emergency, 7)].into();
        let differences = [gains, loses].into();
        Replayed { decisions: 90, answers: 1_205, unchanged: 1_200, differences, skipped, own: 9, reproduced: 9, ..Replayed::default() }
    }

    fn document(replayed: &Replayed, accept: bool) -> (Value, String) {
        let policies = Policies::load(Path::new("policies")).unwrap();
        let verdict = Verdict { replayed, candidate: &policies, active: Some(&policies), allowed: &[], accept_skipped: accept, took: Duration::ZERO };
        (verdict.json(), policies.id().to_owned())
    }

    #[test]
    fn an_approver_is_shown_what_was_replayed() {
        let (document, set) = document(&replayed(), false);
        let shown = Shown::read(&document, &set).unwrap();
        insta::assert_snapshot!(shown.text(Some(&set)), @r"
        replay of 1,205 answers in 90 decisions: 2 would gain, 3 would lose, 1,200 unchanged, 7 skipped
        reproduced 9 of 9 with the set that the bundle replaces
        gains  2 answers, 1 customer: campaign-manager of marketing, marketing.email: health withheld -> full · leads-health · #44
        loses  3 answers, 1 customer: campaign-manager of marketing, marketing.email: health full -> reduced · leads-health · #44
        skipped 7: decided on a break-glass grant, whose ticket is not in the log
        owners of what changes: service
        the replay did NOT pass
        ");
        assert!(shown.text(None).contains("and not with the set that the bundle replaces"), "{}", shown.text(None));
    }

    #[test]
    fn what_is_no_replay_of_this_set_is_refused() {
        let (fine, set) = document(&replayed(), false);
        let but = |change: &dyn Fn(&mut Value)| {
            let mut other = fine.clone();
            change(&mut other);
            Shown::read(&other, &set).unwrap_err()
        };
        assert!(but(&|v| *v = json!({ "everything": "fine" })).starts_with("is no result of"));
        assert!(but(&|v| *v = json!([])).starts_with("is no result of"));
        assert!(but(&|v| v["more"] = json!(1)).contains("unknown field `more`"));
        for member in fine.as_object().unwrap().keys() {
            assert!(but(&|v| drop(v.as_object_mut().unwrap().remove(member))).contains("missing field"), "{member}");
        }
        assert!(but(&|v| v["differences"][0]["direction"] = json!("widens")).starts_with("is no result of"));
        assert!(but(&|v| v["owners"] = json!(["service\u{1b}[2K"])).starts_with("has line breaks"));
        assert!(but(&|v| v["candidate"] = json!("81c07d55aa")).starts_with("replays the set 81c07d"));
        for contradiction in [
            but(&|v| v["differences"] = json!([])),
            but(&|v| v["unchanged"] = json!(u64::MAX)),
            but(&|v| v["differences"][0]["direction"] = json!("gains")),
            but(&|v| v["ok"] = json!(true)),
        ] {
            assert!(contradiction.starts_with("contradicts itself"), "{contradiction}");
        }
    }
}
