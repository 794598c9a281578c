//! From an [`Entry`] to its canonical JSON. What is written is decided here and nowhere else.
//!
//! Every entry has `v` (1), `kind` and `t` (microseconds since 1970, UTC). Members that are empty are left out. The class of
//! facts (purpose, channel, environment, gpc, roles, policy set), the verdicts of a group and lists of paths stand in
//! dictionary entries: `{"class":"facts","kind":"dict","t":…,"v":1,"value":…}`.
//!
//! Free text (`justification`, `reason`) is an object of its own form: `free_text.rs`.
//!
//! A verdict says by which `rule` consent events were weighed (e.g. `customer-last-word/v1`) and, with `"conflict":true`, that
//! formerly separate customers disagree. Its `grounds` are all else that it was judged on (`past.rs` reads them back), and
//! `lag_us` of a head is how much earlier than `t` the time was that policies took for now. Which event decided and which lost stands in `events`, beside the groups.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::entry::{DecisionFacts, Entry, GROUP_PARTIES_MAX, Group, PrunedClass, ShadowRow, StepText};
use super::error::AuditError;
use super::free_text::Written;
use super::json::{Class, Draft, Json, Object};
use super::log::Bounds;
use super::memo::Memo;
use super::segment::ENTRY_BYTES_MAX;
use super::{parties, tree};
use crate::model::{CategoryVerdict, Department, Grounds, PartyFacts, PartyNo, Why};

/// The entry with holes for its dictionary entries, and the decision it must belong to. None that holds free text.
pub(super) fn draft(entry: Entry, now: Timestamp) -> Result<(Draft, Option<u64>), AuditError> {
    draft_with(entry, now, &Memo::default(), |text| Err(AuditError::TextKey { id: text.class.as_str().to_owned(), why: "is not at hand".to_owned() }))
}

/// `memo` has what many entries share; `encrypt` makes of free text what stands in the entry.
pub(super) fn draft_with(
    entry: Entry,
    now: Timestamp,
    memo: &Memo,
    encrypt: impl FnOnce(&Written<'_>) -> Result<Object, AuditError>,
) -> Result<(Draft, Option<u64>), AuditError> {
    let locked = Written::of(&entry).map(|text| Ok::<_, AuditError>((text.member, encrypt(&text)?))).transpose()?;
    let mut of_decision = None;
    let mut part_of = |object: Object, of: u64| {
        of_decision = Some(of);
        object.with("of", of)
    };
    let object = match entry {
        Entry::Deny { facts, of, status, code, groups, paths } => {
            let object = head("deny", now).with("status", status).with("code", code).with_some("paths", path_list(paths, memo));
            let object = match of {
                Some(of) => part_of(object, of),
                None => decision(object, &facts, now, memo)?,
            };
            with_groups(object, groups, memo)?
        }
        Entry::Permit { facts, groups } => with_groups(decision(head("permit", now), &facts, now, memo)?, groups, memo)?,
        Entry::Intent { facts, groups } => with_groups(decision(head("intent", now), &facts, now, memo)?, groups, memo)?,
        Entry::Part { of, rows, dropped, groups, withheld } => {
            let object = part_of(head("part", now), of).with("rows", rows).with("dropped", dropped);
            with_groups(object.with_some("withheld", path_list(withheld, memo)), groups, memo)?
        }
        Entry::End { of, status, bytes, rows, complete, latency_us } => part_of(head("end", now), of)
            .with("status", status)
            .with("bytes", bytes)
            .with("rows", rows)
            .with("complete", complete)
            .with("latency_us", latency_us),
        Entry::Admin { actor, role, operation, party, revision, status } => head("admin", now)
            .with("actor", token("actor", actor)?)
            .with("role", role)
            .with("operation", operation)
            .with_some("party", party.map(|p| p.0))
            .with_some("revision", revision.map(|r| r.0))
            .with("status", status),
        Entry::Query { actor, role, operation, party, found } => head("query", now)
            .with("actor", token("actor", actor)?)
            .with("role", role)
            .with("operation", operation)
            .with_some("party", party.map(|p| p.0))
            .with("found", found),
        Entry::ConsentChanged { event, party, revision, state, purpose } => head("consent_changed", now)
            .with_some("event", event.map(|e| e.to_string()))
            .with_some("party", party.map(|p| p.0))
            .with("revision", revision.0)
            .with("state", state)
            .with_some("purpose", purpose.map(|p| p.as_str())),
        Entry::BreakGlass { grant, step, actor, party, revision, text } => head("break_glass", now)
            .with("grant", token("grant", grant)?)
            .with("step", step)
            .with_some("actor", actor.map(|a| token("actor", a)).transpose()?)
            .with_some("party", party.map(|p| p.0))
            .with("revision", revision.0)
            .with_some("text_not_kept", (text == StepText::NotKept).then_some(true)),
        Entry::PolicyLoaded { id, generation } => {
            head("policy_loaded", now).with("policy_set", token("policy_set", id.as_ref().to_owned())?).with("generation", generation)
        }
        Entry::Shadow { step, candidate, judged, failed, gains, loses, more, rows, left_out } => {
            let rows: Vec<Json> = rows.into_iter().map(|row| shadow_row(&row).into()).collect();
            head("shadow", now)
                .with("step", step)
                .with("candidate", token("candidate", candidate.as_ref().to_owned())?)
                .with("judged", judged)
                .with("failed", failed)
                .with("gains", gains)
                .with("loses", loses)
                .with_some("more", Some(more).filter(|&n| n > 0))
                .with_some("rows", Some(rows).filter(|rows| !rows.is_empty()))
                .with_some("left_out", Some(left_out).filter(|&n| n > 0))
        }
        Entry::PolicyRejected { findings, reason, version } => {
            head("policy_rejected", now).with("findings", findings).with("reason", reason).with_some("version", version)
        }
        Entry::PolicyActivated { version, bundle, set, needed, only_narrows, approved } => head("policy_activated", now)
            .with("version", version)
            .with("bundle", token("bundle", bundle)?)
            .with("set", token("set", set)?)
            .with_some("needed", names(&needed))
            .with("only_narrows", only_narrows)
            .with_some("approved", names(&approved)),
        Entry::ConfigLoaded { hash, generation } => head("config_loaded", now).with("hash", token("hash", hash)?).with("generation", generation),
        Entry::ConfigRejected { findings } => head("config_rejected", now).with("findings", findings),
        Entry::Rejects { count, listener, code, network } => {
            let network = network.map(|n| token("network", n)).transpose()?;
            head("rejects", now).with("count", count).with("listener", listener.as_ref().to_owned()).with("code", code).with_some("network", network)
        }
        Entry::Prune { before_index, classes, dictionary, remains, keys } => {
            let classes: Vec<Json> = classes.into_iter().map(|class| pruned_class(class).into()).collect();
            let keys: Vec<Json> = keys.into_iter().map(|key| key.to_string().into()).collect();
            head("prune", now)
                .with("before_index", before_index)
                .with("classes", classes)
                .with("dictionary", dictionary)
                .with_some("remains", Some(remains).filter(|&n| n > 0))
                .with_some("keys", Some(keys).filter(|keys| !keys.is_empty()))
        }
        Entry::KeyRotated { old_key, new_key, reason, signature } => {
            head("key_rotated", now).with("old_key", old_key).with("new_key", new_key).with("reason", reason).with_some("signature", signature)
        }
        Entry::Clock { step_ms } => head("clock", now).with("step_ms", step_ms),
        Entry::Start { torn_bytes, clean, origin, bounded } => head("start", now)
            .with("torn_bytes", torn_bytes)
            .with("clean", clean)
            .with("origin", origin.as_ref().to_owned())
            .with("software", concat!("consentry/", env!("CARGO_PKG_VERSION")))
            .with_some("bounded", bounded.map(bounds)),
        Entry::Gap { from, bounds: of } => head("gap", now).with("from", from).with("bounds", bounds(of)),
        Entry::Stop { reason } => head("stop", now).with("reason", reason),
    };
    let object = match locked {
        Some((member, locked)) => object.with(member, locked),
        None => object,
    };
    let draft = object.draft();
    let lengths: Vec<usize> = draft.classes().map(|c| c.value.len() + DICT_FRAME_BYTES_MAX).chain([draft.bytes_max()]).collect();
    let together: usize = lengths.iter().sum();
    match lengths.into_iter().find(|&bytes| bytes > ENTRY_BYTES_MAX) {
        Some(bytes) => Err(AuditError::EntryTooLarge { bytes }),
        None if together > TOGETHER_BYTES_MAX => Err(AuditError::EntryTooLarge { bytes: together }),
        None => Ok((draft, of_decision)),
    }
}

/// The dictionary entry for a class.
pub(super) fn dictionary(class: &Class, now: Timestamp) -> String {
    // `value` sorts last, and is canonical already.
    let mut text = head("dict", now).with("class", class.name).draft().fill(|_| 0);
    text.truncate(text.len().saturating_sub(1));
    text + ",\"value\":" + &class.value + "}"
}

/// An entry and its dictionary entries: they fit into the smallest segment (262,144) beside its header (4,096) and the
/// frames' headers.
const TOGETHER_BYTES_MAX: usize = 200_000;
/// Everything in a dictionary entry but its value, with the frame's header: some 70 bytes.
const DICT_FRAME_BYTES_MAX: usize = 128;

fn head(kind: &'static str, now: Timestamp) -> Object {
    Object::default().with("v", 1u64).with("kind", kind).with("t", now.as_microsecond())
}

fn decision(object: Object, facts: &DecisionFacts, now: Timestamp, memo: &Memo) -> Result<Object, AuditError> {
    let actor = facts.actor.clone().map(|a| token("actor", a)).transpose()?;
    let grant = facts.grant.as_deref().map(|g| token("grant", g.to_owned())).transpose()?;
    let class = memo.facts(facts, facts_class)?;
    Ok(object
        .with("lag_us", now.as_microsecond() - facts.now.as_microsecond())
        .with("rid", facts.rid)
        .with_some("traceparent", facts.traceparent.map(|id| tree::hex(&id)))
        .with("app", facts.app.as_str())
        .with("department", facts.department.as_str())
        .with_some("actor", actor)
        .with_some("agent", facts.agent.map(|a| a.as_str()))
        .with_some("operator", facts.mandate.map(|m| m.operator.as_str()))
        .with_some("model", facts.mandate.map(|m| m.model.as_str()))
        .with_some("task", facts.mandate.and_then(|m| m.task).map(|t| t.as_str()))
        .with_some("behalf", facts.mandate.map(|m| m.behalf.as_str()))
        .with_some("grant", grant)
        .with("action", facts.action.as_str())
        .with("api", facts.api.as_str())
        .with("route", facts.route.as_str())
        .with("generation", facts.generation)
        .with("revision", facts.consent_revision.0)
        .with("facts", class))
}

/// What the decisions for one purpose share while one configuration is in force.
fn facts_class(facts: &DecisionFacts) -> Result<Class, AuditError> {
    let mut roles = facts.roles.clone();
    roles.sort();
    roles.dedup();
    let roles: Vec<Json> = roles.iter().map(|r| r.as_str().into()).collect();
    Ok(Object::default()
        .with_some("purpose", facts.purpose.map(|p| p.as_str()))
        .with("channel", facts.channel.as_str())
        .with("environment", facts.environment.as_str())
        .with("gpc", facts.gpc)
        .with_some("roles", Some(roles).filter(|r| !r.is_empty()))
        .with("policy_set", token("policy_set", facts.policy_set.as_ref().to_owned())?)
        .with("policies", token("policies", facts.policies.as_ref().to_owned())?)
        .class("facts"))
}

fn names(departments: &[Department]) -> Option<Vec<Json>> {
    (!departments.is_empty()).then(|| departments.iter().map(|department| department.as_str().into()).collect())
}

fn path_list(mut paths: Vec<String>, memo: &Memo) -> Option<Class> {
    paths.sort();
    paths.dedup();
    let class = |paths: &[String]| Json::List(paths.iter().cloned().map(Json::from).collect()).class("paths");
    (!paths.is_empty()).then(|| memo.paths(paths, class))
}

fn with_groups(object: Object, groups: Vec<Group>, memo: &Memo) -> Result<Object, AuditError> {
    let single = single_event_verdicts(&groups);
    let mut merged: BTreeMap<(&'static str, Class), (Vec<PartyNo>, u64)> = BTreeMap::new();
    for group in groups {
        let key = (group.outcome.as_str(), memo.verdicts(&group, verdict_class));
        let (parties, unknown) = merged.entry(key).or_default();
        parties.extend(group.parties);
        *unknown += u64::from(group.unknown);
    }
    let mut named = 0;
    let mut list = Vec::with_capacity(merged.len());
    for ((outcome, class), (mut parties, unknown)) in merged {
        parties.sort();
        parties.dedup();
        named += parties.len();
        let members = Object::default()
            .with("outcome", outcome)
            .with("verdicts", class)
            .with_some("parties", (!parties.is_empty()).then(|| parties::encode(&parties)))
            .with_some("n", Some(u64::try_from(parties.len()).unwrap_or(u64::MAX)).filter(|&n| n > 0))
            .with_some("unknown", Some(unknown).filter(|&n| n > 0));
        list.push(Json::from(members));
    }
    if named > GROUP_PARTIES_MAX {
        return Err(AuditError::TooManyParties { parties: named });
    }
    let events = single.map(|verdicts| events(&verdicts));
    Ok(object.with_some("groups", Some(list).filter(|l| !l.is_empty())).with_some("events", events.filter(|e| !e.is_empty())))
}

/// The verdicts, when the entry is about one customer only.
fn single_event_verdicts(groups: &[Group]) -> Option<std::sync::Arc<crate::model::Verdicts>> {
    let mut named = groups.iter().filter(|g| !g.parties.is_empty());
    let group = named.next().filter(|g| g.parties.len() == 1)?;
    named.next().is_none().then(|| group.verdicts.clone())
}

/// `[{"category":…,"event":…,"overridden":[…]}]`
fn events(verdicts: &crate::model::Verdicts) -> Vec<Json> {
    let relevant = verdicts.iter().filter(|v| v.event.is_some() || !v.overridden.is_empty());
    relevant
        .map(|v| {
            let overridden: Vec<Json> = v.overridden.iter().map(|e| e.to_string().into()).collect();
            let object = Object::default().with("category", v.category.as_str()).with_some("event", v.event.map(|e| e.to_string()));
            object.with_some("overridden", Some(overridden).filter(|o| !o.is_empty())).into()
        })
        .collect()
}

/// What a group shares: the verdicts without events, and the facts of its customers.
pub(super) fn verdict_class(group: &Group) -> Class {
    let verdicts: Vec<Json> = group.verdicts.iter().map(|v| verdict(v).into()).collect();
    Object::default().with("verdicts", verdicts).with_some("facts", group.facts.as_ref().map(party_facts)).class("verdicts")
}

fn verdict(v: &CategoryVerdict) -> Object {
    let (why, stop) = match v.why {
        Why::Permitted => ("permitted", None),
        Why::UnknownParty => ("unknown-party", None),
        Why::NotGranted => ("not-granted", None),
        Why::Stop(name) => ("stop", Some(name)),
        Why::Forbidden => ("forbidden", None),
        Why::NoPermit => ("no-permit", None),
        Why::PolicyError => ("policy-error", None),
    };
    let policies: Vec<Json> = v.policies.iter().map(|p| p.as_str().into()).collect();
    Object::default()
        .with("category", v.category.as_str())
        .with("release", v.release.as_str())
        .with("why", why)
        .with_some("stop", stop)
        .with_some("policies", Some(policies).filter(|p| !p.is_empty()))
        .with("basis", v.basis.as_str())
        .with_some("activity", v.activity.map(|(key, _)| key.as_str()))
        .with_some("activity_version", v.activity.map(|(_, version)| version))
        .with("status", v.status.as_str())
        .with("rule", v.rule.as_str())
        .with_some("conflict", v.conflict.then_some(true))
        .with_some("grounds", v.grounds.as_ref().map(grounds))
}

/// Members that are false or empty are left out.
fn grounds(p: &Grounds) -> Object {
    let closed_for: Vec<Json> = p.closed_for.iter().map(|basis| basis.as_str().into()).collect();
    Object::default()
        .with("v", GROUNDS_VERSION)
        .with("whom", p.whom.as_str())
        .with("action", p.action.as_str())
        .with_some("explicit", p.explicit.then_some(true))
        .with_some("gpc", p.gpc.then_some(true))
        .with_some("records", p.records)
        .with_some("masked", p.masked.then_some(true))
        .with_some("closed_for", Some(closed_for).filter(|c| !c.is_empty()))
        .with("reading", format!("{:016x}", p.reading))
        .with_some("task", p.task.map(|task| task.as_str()))
        .with_some("for_customer", p.for_customer)
        .with_some("customers", p.customers)
        .with_some("emergency", p.emergency.then_some(true))
}

/// Counts up with every fact that policies can read and grounds gain: a replay takes no older ones, since it would have to
/// guess what is not in them.
pub(super) const GROUNDS_VERSION: u64 = 2;

fn shadow_row(row: &ShadowRow) -> Object {
    let policies: Vec<Json> = row.policies.iter().map(|p| p.as_str().into()).collect();
    Object::default()
        .with("direction", row.direction)
        .with("app", row.app.as_str())
        .with("department", row.department.as_str())
        .with("action", row.action.as_str())
        .with("purpose", row.purpose.as_str())
        .with("category", row.category.as_str())
        .with_some("policies", Some(policies).filter(|p| !p.is_empty()))
        .with("answers", row.answers)
}

fn pruned_class(class: PrunedClass) -> Object {
    Object::default().with("class", class.class.as_str()).with("before", class.before.as_microsecond()).with("entries", class.entries)
}

fn bounds(bounds: Bounds) -> Object {
    Object::default().with("max_ms", bounds.max_ms).with("max_records", bounds.max_records)
}

fn party_facts(facts: &PartyFacts) -> Object {
    Object::default()
        .with("stage", facts.stage.as_str())
        .with("segment", facts.segment.as_str())
        .with("age", facts.age.as_str())
        .with("hold", facts.legal_hold)
}

/// Pseudonyms, hashes and networks: nothing that could be a sentence.
fn token(field: &'static str, text: String) -> Result<String, AuditError> {
    let plain = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/+=".contains(&b));
    if plain { Ok(text) } else { Err(AuditError::NotAToken { field }) }
}
