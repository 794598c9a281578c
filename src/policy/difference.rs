//! What changes between two policy sets: which decisions open, which close, told by category, action, receiving department and
//! purpose, over every class of questions that either set tells apart. From it follows who must approve ([`Difference::need`]).
//!
//! Both sets are asked by [`Policies::decide`], each with the basis of its own activities; an app, category or purpose that a
//! set lacks, or for which the app is not registered, is a no. Where the compiled form leaves something to Cedar, classes are
//! not known: such a slice counts as changed unless its policies and what they look at are the same texts. The same holds for what
//! reads `context.emergency`; of the other policies each class is also asked as under a grant, whatever those then say.
//!
//! What decides beside the questions (capture rights, conflict rules, what an activity and a category say, the order of purposes,
//! whose an app is) is compared as a whole and never counts as narrowing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Entity, EntityUid};
use serde_json::{Value, json};

use super::bundle::Need;
use super::compiled::{Code, EMERGENCY, Found, Sample, samples};
use super::{Effect, Policies, rules::Rule};
use crate::model::{
    Action, Caller, Category, Channel, Client, Department, Employee, LawfulBasis, NO_CUSTOMER_BASIS, NO_CUSTOMER_DATA, Particulars, Purpose,
    Question, Task, Vocabulary,
};

/// Classes of questions whose answer changes, and one that shows how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub opens: u64,
    pub closes: u64,
    /// Slices of which it cannot be counted what changes.
    pub unclear: u64,
}

impl Changed {
    fn add(&mut self, more: Self) {
        self.opens += more.opens;
        self.closes += more.closes;
        self.unclear += more.unclear;
    }
}

/// What a line of the difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub category: Category,
    pub action: Action,
    /// The department of the apps that ask.
    pub department: Department,
    pub purpose: Purpose,
}

/// Something beside the questions that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beside {
    pub what: String,
    /// Whose categories it reaches; none: everybody's.
    pub categories: Option<BTreeSet<Category>>,
}

/// The difference between two sets.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    pub places: BTreeMap<Place, Changed>,
    pub beside: Vec<Beside>,
    owners: BTreeMap<Category, BTreeSet<Department>>,
}

impl Difference {
    /// Between the set that decides (none: nothing is permitted) and another.
    #[must_use]
    pub fn between(old: Option<&Policies>, new: &Policies) -> Self {
        let empty = Vocabulary::default();
        let (before, after) = (old.map_or(&empty, |old| old.vocabulary()), new.vocabulary());
        let mut found = Self { owners: owners(before, after), ..Self::default() };
        found.beside = old.map_or_else(|| vec![all("there is no set before it")], |old| beside(old, new));
        Comparing::new(old, new).all(before, after, &mut found.places);
        found
    }

    /// What the first set of a gateway needs: the owners of all there is, since all of it opens.
    #[must_use]
    pub fn need_of_first(new: &Policies) -> Need {
        Need { departments: new.vocabulary.categories.values().map(|info| info.owner).collect(), only_narrows: false }
    }

    /// Also the APIs, shapes and id spaces of the configuration are other ones: which categories they give away is not told
    /// by their hash.
    pub fn with_other_routes(&mut self) {
        self.beside.push(all("APIs, shapes or id spaces of the configuration"));
    }

    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.places.is_empty() && self.beside.is_empty()
    }

    /// Nothing opens, and nothing is unclear.
    #[must_use]
    pub fn only_narrows(&self) -> bool {
        self.beside.is_empty() && self.places.values().all(|changed| changed.opens == 0 && changed.unclear == 0)
    }

    /// Who must approve: the owners, before and after, of each category whose decisions change.
    #[must_use]
    pub fn need(&self) -> Need {
        let everybody = self.beside.iter().any(|beside| beside.categories.is_none());
        let named = self.beside.iter().flat_map(|beside| beside.categories.iter().flatten()).copied();
        let touched: BTreeSet<Category> = self.places.keys().map(|place| place.category).chain(named).collect();
        let owners = self.owners.iter().filter(|(category, _)| everybody || touched.contains(category));
        Need { departments: owners.flat_map(|(_, owners)| owners.iter().copied()).collect(), only_narrows: self.only_narrows() }
    }
}

fn all(what: &str) -> Beside {
    Beside { what: what.to_owned(), categories: None }
}

fn owners(before: &Vocabulary, after: &Vocabulary) -> BTreeMap<Category, BTreeSet<Department>> {
    let mut found: BTreeMap<Category, BTreeSet<Department>> = BTreeMap::new();
    for (category, info) in before.categories.iter().chain(&after.categories) {
        found.entry(*category).or_default().insert(info.owner);
    }
    found
}

/// What decides beside the questions.
fn beside(old: &Policies, new: &Policies) -> Vec<Beside> {
    let mut found = Vec::new();
    if old.captures != new.captures {
        found.push(all("who may record consent (captures.toml)"));
    }
    if old.consent_rules != new.consent_rules {
        found.push(all("how statements of customers are weighed (consent.toml)"));
    }
    for (purpose, before) in &old.vocabulary.purposes {
        let Some(after) = new.vocabulary.purposes.get(purpose) else { continue };
        let rights = |info: &crate::model::PurposeInfo| {
            let sorted = |names: &[Purpose]| names.iter().copied().collect::<BTreeSet<_>>();
            (info.channel, sorted(&info.ancestors), sorted(&info.incompatible_with), info.prohibited)
        };
        if rights(before) != rights(after) {
            found.push(all(&format!("purpose `{purpose}`: what it stands below, its channel or what it excludes")));
        }
    }
    for (category, before) in &old.vocabulary.categories {
        let Some(after) = new.vocabulary.categories.get(category) else { continue };
        let rights = |info: &crate::model::CategoryInfo| {
            let sorted = |names: &[Category]| names.iter().copied().collect::<BTreeSet<_>>();
            let contributors: BTreeSet<_> = info.contributors.iter().copied().collect();
            (info.owner, contributors, info.sensitivity, sorted(&info.ancestors))
        };
        if rights(before) != rights(after) {
            let what = format!("category `{category}`: its owner, contributors, sensitivity or what it is part of");
            found.push(Beside { what, categories: Some([*category].into()) });
        }
    }
    for (client, before) in &old.vocabulary.clients {
        if new.vocabulary.clients.get(client).is_some_and(|after| before.department != after.department) {
            found.push(all(&format!("`{client}`: the department that it belongs to")));
        }
    }
    for activity in new.activities().iter().filter(|activity| !old.activities().contains(activity)) {
        let what = format!("activity `{}` (activities.toml)", activity.id.as_str());
        found.push(Beside { what, categories: Some(activity.categories.iter().copied().collect()) });
    }
    found
}

/// A use, as far as answers can depend on it, for each set: the slice, basis and channel, what the slice tells apart of the
/// purpose, and what the agent may be sent to do.
type Key = (Option<Answering>, Option<Answering>);
type Answering = (usize, LawfulBasis, Channel, Vec<u64>, BTreeSet<Task>);

/// The slices of both sets, where they have one.
type Slices = (Option<usize>, Option<usize>);

struct Comparing<'p> {
    old: Option<&'p Policies>,
    new: &'p Policies,
    /// Whether anything that both sets know and that neither calls nor is asked for is not the same: a policy can reach it.
    is_other_around: bool,
    known: HashMap<Key, Changed>,
    /// By the two slices: whether what cannot be compared by classes is the same in both.
    same_texts: HashMap<(usize, usize), bool>,
    /// By the two slices and the tasks of an agent; `None`: too many.
    samples: HashMap<(Slices, BTreeSet<Task>), Option<Vec<Sample>>>,
    /// By the slice of the old and of the new set: its policies that do not look at an emergency.
    calm: [HashMap<usize, Option<Arc<Code>>>; 2],
}

/// One set's side of a use.
#[derive(Clone)]
struct Side<'p> {
    policies: &'p Policies,
    caller: Caller,
    basis: LawfulBasis,
    channel: Channel,
    /// Which slice answers.
    cell: usize,
    face: Vec<u64>,
    /// What an agent may be sent to do for the purpose: with any other task the gateway refuses.
    tasks: BTreeSet<Task>,
}

impl<'p> Comparing<'p> {
    fn new(old: Option<&'p Policies>, new: &'p Policies) -> Self {
        let is_other_around = old.is_some_and(|old| is_other_around(old, new));
        Self { old, new, is_other_around, known: HashMap::new(), same_texts: HashMap::new(), samples: HashMap::new(), calm: Default::default() }
    }

    fn all(&mut self, before: &Vocabulary, after: &Vocabulary, places: &mut BTreeMap<Place, Changed>) {
        let clients: BTreeSet<Client> = before.clients.keys().chain(after.clients.keys()).copied().collect();
        let categories: BTreeSet<Category> = before.categories.keys().chain(after.categories.keys()).copied().collect();
        let purposes: BTreeSet<Purpose> = before.purposes.keys().chain(after.purposes.keys()).copied().collect();
        for client in clients {
            let department = after.clients.get(&client).or_else(|| before.clients.get(&client)).map(|info| info.department);
            let Some(department) = department else { continue };
            for category in &categories {
                for action in Action::ALL {
                    for purpose in &purposes {
                        let place = Place { category: *category, action: *action, department, purpose: *purpose };
                        let mut changed = self.one(client, &place, None);
                        if category.as_str() == NO_CUSTOMER_DATA {
                            changed.add(self.one(client, &place, Some(NO_CUSTOMER_BASIS)));
                        }
                        if changed != Changed::default() {
                            places.entry(place).or_default().add(changed);
                        }
                    }
                }
            }
        }
    }

    /// With the basis of each set's activity, or with this one.
    fn one(&mut self, client: Client, place: &Place, basis: Option<LawfulBasis>) -> Changed {
        let side = |policies| Side::of(policies, client, place, basis);
        let (old, new) = (self.old.and_then(side), side(self.new));
        let of = |side: &Option<Side<'_>>| side.as_ref().map(|side| (side.cell, side.basis, side.channel, side.face.clone(), side.tasks.clone()));
        let key = (of(&old), of(&new));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let found = self.compare(old.as_ref(), new.as_ref(), place);
        self.known.insert(key, found);
        found
    }

    fn compare(&mut self, old: Option<&Side<'p>>, new: Option<&Side<'p>>, place: &Place) -> Changed {
        let unclear = Changed { unclear: 1, ..Changed::default() };
        if let (Some(old), Some(new)) = (old, new) {
            let is_same = *self.same_texts.entry((old.cell, new.cell)).or_insert_with(|| {
                let (before, after) = (old.texts(new, place), new.texts(old, place));
                before == after && (before.is_empty() || !self.is_other_around)
            });
            let is_left = [old, new].iter().any(|side| side.code().is_none_or(|code| !code.left().is_empty()));
            if is_left && (old.basis, old.channel) != (new.basis, new.channel) {
                return unclear;
            }
            match (is_same, old.answers_as(new)) {
                (false, _) => return unclear,
                (true, true) => return Changed::default(),
                (true, false) => {}
            }
        }
        let sides = [old, new];
        let mut calm = [None, None];
        let mut codes = Vec::new();
        for ((calm, known), side) in calm.iter_mut().zip(&mut self.calm).zip(sides) {
            let Some(side) = side else { continue };
            *calm = side.calm(known);
            let (Some(code), Some(calm)) = (side.code(), calm.as_deref()) else { return unclear };
            codes.extend([code, calm].map(|code| (code, &side.policies.slices.index)));
        }
        let slices = (old.map(|side| side.cell), new.map(|side| side.cell));
        let tasks: BTreeSet<Task> = sides.iter().flatten().flat_map(|side| &side.tasks).copied().collect();
        let Some(samples) = self.samples.entry((slices, tasks)).or_insert_with_key(|(_, tasks)| samples(&codes, tasks)) else { return unclear };
        let may_permit =
            sides.iter().flatten().any(|side| side.rules().iter().any(|rule| rule.effect == Effect::Permit && rule.reads.reads(EMERGENCY)));
        let mut found = Changed::default();
        for sample in samples.iter() {
            let [before, after] = sides.map(|side| side.map(|side| side.answer(place, sample)).unwrap_or_default());
            let granted = |side: Option<&Side<'_>>, calm: &Option<Arc<Code>>| {
                side.zip(calm.as_deref()).map_or(REFUSED, |(side, calm)| side.granted(calm, place, sample))
            };
            let [then, now] = [granted(old, &calm[0]), granted(new, &calm[1])];
            found.opens += u64::from(!before.permits && after.permits || opens(then, now, may_permit));
            found.closes += u64::from(before.permits && !after.permits || opens(now, then, may_permit));
            let is_unsure = (then.unsure || now.unsure) && then != now;
            found.unclear += u64::from(before.left != after.left || is_unsure);
        }
        found
    }
}

/// What a question gets that the gateway refuses before any policy is asked.
const REFUSED: Found = Found { permits: false, forbids: true, unsure: false };

/// Whether a grant could open what it could not before, by what the policies say that do not look at it; `may_permit`: others,
/// the same in both sets, may permit by themselves.
const fn opens(before: Found, after: Found, may_permit: bool) -> bool {
    !after.forbids && if before.forbids { after.permits || may_permit } else { after.permits && !before.permits }
}

/// Whether an entity that both sets have, no app and no category, is not the same in both.
fn is_other_around(old: &Policies, new: &Policies) -> bool {
    let asked = |set: &Policies| -> HashSet<EntityUid> {
        let (requests, vocabulary) = (&set.requests, &set.vocabulary);
        let clients = vocabulary.clients.keys().filter_map(|client| requests.principal(*client));
        clients.chain(vocabulary.categories.keys().filter_map(|category| requests.category(*category))).cloned().collect()
    };
    let asked = [old, new].map(asked);
    let json = |entity: &Entity| entity.to_json_value().map(in_order).ok();
    let others = old.entities.iter().filter(|entity| !asked.iter().any(|asked| asked.contains(&entity.uid())));
    others.filter_map(|entity| Some((entity, new.entities.get(&entity.uid())?))).any(|(before, after)| json(before) != json(after))
}

/// How one set answers a sample.
#[derive(Clone, Copy, Default)]
struct Answer {
    permits: bool,
    /// Where plain Cedar says: what the other policies say.
    left: Option<Found>,
}

impl<'p> Side<'p> {
    /// `None`: the set does not know one of the names, or the app is not registered for the purpose, so that it refuses.
    fn of(policies: &'p Policies, client: Client, place: &Place, basis: Option<LawfulBasis>) -> Option<Self> {
        let info = policies.vocabulary.clients.get(&client)?;
        info.registered.iter().find(|above| policies.vocabulary.is_within(place.purpose, **above))?;
        let caller = Caller { client, kind: info.kind, department: info.department, employee: None };
        let activity = policies.activity(info.department, place.purpose, place.category);
        let basis = basis.or(activity.map(|activity| activity.basis)).unwrap_or(LawfulBasis::None);
        let channel = policies.vocabulary.channel(place.purpose);
        let seen = policies.slices.index.see(&question(&caller, place, &Sample::default(), basis, channel))?;
        let registered = info.agent.iter().flat_map(|agent| &agent.tasks).copied();
        let (vocabulary, purpose) = (&policies.vocabulary, place.purpose);
        let tasks = registered.filter(|task| vocabulary.may_do(client, *task) && vocabulary.serves(*task, purpose)).collect();
        let side = Self { policies, caller, basis, channel, cell: seen.cell, face: Vec::new(), tasks };
        let face = side.code().map(|code| code.face(&seen)).unwrap_or_default();
        Some(Self { face, ..side })
    }

    fn code(&self) -> Option<&'p Code> {
        let (policies, source) = (self.policies, self.policies.source());
        policies.slices.code(policies.slices.find(self.cell, source)?, source)
    }

    fn rules(&self) -> Vec<&'p Rule> {
        let policies = self.policies;
        let members = policies.slices.find(self.cell, policies.source()).map(|slice| &slice.members.rules);
        members.into_iter().flatten().filter_map(|at| policies.rules.get(*at)).collect()
    }

    /// Whether both are the same tables, so that nothing needs to be asked.
    fn answers_as(&self, other: &Self) -> bool {
        let is_same = self.code().zip(other.code()).is_some_and(|(one, other)| one == other);
        let numbers = self.policies.slices.index.numbers_as(&other.policies.slices.index);
        is_same && numbers && (self.basis, self.channel, &self.tasks) == (other.basis, other.channel, &other.tasks)
    }

    /// The policies that look at an emergency, and those that either set leaves to Cedar, with the entities that they look at.
    fn texts(&self, other: &Self, place: &Place) -> BTreeSet<String> {
        let left: Vec<_> = [self, other].iter().filter_map(|side| side.code()).flat_map(Code::left).collect();
        let rules = self.rules().into_iter().filter(|rule| rule.reads.reads(EMERGENCY) || left.contains(&&rule.name));
        rules.map(|rule| self.text(rule, place)).collect()
    }

    /// Its policies that do not look at an emergency, by themselves.
    fn calm(&self, known: &mut HashMap<usize, Option<Arc<Code>>>) -> Option<Arc<Code>> {
        let (policies, source) = (self.policies, self.policies.source());
        let compile = || policies.slices.compile(policies.slices.find(self.cell, source)?, source, |rule| !rule.reads.reads(EMERGENCY));
        known.entry(self.cell).or_insert_with(compile).clone()
    }

    fn answer(&self, place: &Place, sample: &Sample) -> Answer {
        let answer = self.ask(place, sample, self.basis, |question| {
            let left = self.code().filter(|code| !code.left().is_empty());
            let left = left.and_then(|code| Some(code.says(&self.policies.slices.index.see(question)?)).filter(|said| said.unsure));
            Answer { permits: self.policies.decide(question).allow(), left }
        });
        answer.unwrap_or_default()
    }

    /// What the policies that do not look at an emergency say under a grant.
    fn granted(&self, calm: &Code, place: &Place, sample: &Sample) -> Found {
        let said = self.ask(place, sample, LawfulBasis::VitalInterest, |question| Some(calm.says(&self.policies.slices.index.see(question)?)));
        said.flatten().unwrap_or(REFUSED)
    }

    /// `None`: the gateway refuses before any policy is asked.
    fn ask<T>(&self, place: &Place, sample: &Sample, basis: LawfulBasis, ask: impl FnOnce(&Question<'_>) -> T) -> Option<T> {
        if sample.task.is_some_and(|task| !self.tasks.contains(&task)) {
            return None;
        }
        let employee = |roles: &Vec<crate::model::Role>| {
            // As the gateway does: a role that the catalogue lacks is dropped.
            let known = roles.iter().copied().filter(|role| self.policies.vocabulary.roles.contains(role)).collect();
            Employee { pseudonym: String::new(), roles: known }
        };
        let caller = Caller { employee: sample.roles.as_ref().map(employee), ..self.caller.clone() };
        Some(ask(&question(&caller, place, sample, basis, self.channel)))
    }

    /// A policy, and the entities of the question if it looks at them, in one form.
    fn text(&self, rule: &Rule, place: &Place) -> String {
        let requests = &self.policies.requests;
        let mut parts: Vec<Value> = rule.policy.to_json().into_iter().collect();
        parts.extend(rule.policy.template_links().into_iter().flatten().map(|(slot, uid)| json!([slot.to_string(), uid.to_string()])));
        if rule.reads.reads("principal") || rule.reads.reads("resource") {
            let named = [requests.principal(self.caller.client), requests.category(place.category)];
            parts.extend(named.into_iter().flatten().filter_map(|uid| self.policies.entities.get(uid)?.to_json_value().ok().map(in_order)));
        }
        Value::Array(parts).to_string()
    }
}

/// An entity in one form: its lists are sets.
fn in_order(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(in_order).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, value)| (name, in_order(value))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn question<'a>(caller: &'a Caller, place: &Place, sample: &Sample, basis: LawfulBasis, channel: Channel) -> Question<'a> {
    let Sample { status, explicit, party, environment, gpc, records, now, task, for_customer, customers, .. } = *sample;
    Question {
        caller,
        action: place.action,
        category: place.category,
        purpose: place.purpose,
        basis,
        status,
        explicit,
        party,
        channel,
        environment,
        gpc,
        records: (place.action == Action::Export).then_some(records),
        now,
        particulars: Particulars { task, for_customer, customers, emergency: None },
    }
}
