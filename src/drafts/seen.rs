//! `consentry learn`: from members that were seen in answers to a draft of their shape. Names and types only, never a value, and no
//! name that could be one: objects may be keyed by e-mail addresses, ids or people's names.
//!
//! A name counts as data when it does not look like a name ([`looks_like_a_name`]), or when it stands in an object whose names differ
//! from answer to answer. Such members are counted and not shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::proposals::proposal;
use super::text::{key, line, names, path, quoted, shown};
use crate::model::{PathPattern, Step};

/// Different names in one object, above which they are data whatever they look like.
const NAMES_MAX: usize = 400;
/// Different names in one place, from which they are data if most of them stand in few of its objects.
const NAMES_OF_A_MAP: usize = 12;
/// Steps of a path.
const STEPS_MAX: usize = 24;

/// One place in the answers.
#[derive(Clone, Debug, Default)]
struct Place {
    /// How often something stood there.
    times: u64,
    /// How often that was an object.
    objects: u64,
    kinds: BTreeSet<&'static str>,
    members: BTreeMap<String, Self>,
    items: Option<Box<Self>>,
    /// Members with names that look like data.
    data: u64,
}

/// Answers of one kind, reduced to what may be told of them.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    root: Place,
    answers: u64,
    /// Where the list stands, while all answers agree.
    rows: Option<Option<PathPattern>>,
    /// Each answer is one object, whatever lists are in it.
    whole: bool,
}

/// Members that the gateway saw and no shape maps, of one shape.
#[derive(Clone, Debug, Default)]
pub struct Unmapped {
    pub shape: String,
    /// Where the shape's objects stand in the answer: `customers[]`, or empty.
    pub base: String,
    /// Paths as the gateway tells them, and in how many answers.
    pub paths: Vec<(String, u64)>,
    pub routes: Vec<String>,
}

impl Seen {
    /// `whole`: each answer is one object, also when it holds a list of objects.
    #[must_use]
    pub fn new(whole: bool) -> Self {
        Self { whole, ..Self::default() }
    }

    /// Takes an answer; its values are looked at for their type only.
    pub fn answer(&mut self, value: &Value) {
        self.answers += 1;
        let rows = if self.whole { None } else { rows_of(value) };
        self.rows = match self.rows.take() {
            None => Some(rows),
            Some(before) if before == rows => Some(before),
            Some(_) => Some(None),
        };
        self.root.take(value, 0);
    }

    #[must_use]
    pub const fn answers(&self) -> u64 {
        self.answers
    }

    /// The draft: a shape, and how a route would name it.
    #[must_use]
    pub fn draft(&self, api: &str, shape: &str) -> String {
        let rows = self.rows.clone().flatten();
        let mut here = &self.root;
        for step in rows.iter().flat_map(|path| &path.0) {
            here = match step {
                Step::Member(name) => here.members.get(name),
                Step::Items => here.items.as_deref(),
                Step::Index(_) | Step::Rest => None,
            }
            .unwrap_or(here);
        }
        let (name, api) = (key(shape), key(api));
        let response = match &rows {
            Some(rows) => format!("{{ rows = {}, shape = {} }}", path(rows), quoted(&name)),
            None => format!("{{ shape = {} }}", quoted(&name)),
        };
        let mut text = line(&format!("# From {}; a route: response = {response}", count(self.answers, "answer")), "");
        if rows.is_some() {
            let beside: Vec<String> = self
                .root
                .members
                .keys()
                .filter(|n| rows.as_ref().and_then(|r| r.0.first()) != Some(&Step::Member((*n).clone())))
                .map(|n| shown(n))
                .collect();
            if !beside.is_empty() && !self.root.is_map() {
                text.push_str(&line(&format!("# beside the rows, for `counts` or `open` of the route: {}", beside.join(", ")), ""));
            }
        }
        text.push_str(&line(&format!("[shape.{name}]"), ""));
        text.push_str(&line(&format!("ids = {}", quoted(&api)), "the id space of its customers, declared in `[ids]`"));
        text.push_str(&line("customer = \"?\"", "where the id of the customer stands in the object"));
        text.push_str(&line(&format!("[shape.{name}.fields]"), ""));
        let mut fields = Vec::new();
        here.fields(&mut Vec::new(), here.times, &mut fields);
        fields.into_iter().for_each(|field| text.push_str(&field));
        text.push('\n');
        text
    }
}

/// The fields that shapes lack, as text to be added to them.
#[must_use]
pub fn unmapped(shapes: &[Unmapped]) -> String {
    let mut text = String::new();
    for shape in shapes {
        let (mut inside, mut beside) = (Vec::new(), Vec::new());
        for (told, answers) in &shape.paths {
            match told.strip_prefix(&shape.base).map(|rest| rest.strip_prefix('.').unwrap_or(rest)) {
                Some(rest) if !rest.is_empty() && (shape.base.is_empty() || told.len() > shape.base.len()) => {
                    inside.push((rest.to_owned(), *answers))
                }
                _ => beside.push(told.clone()),
            }
        }
        text.push_str(&line(&format!("# {}", shape.routes.join(", ")), ""));
        if !beside.is_empty() {
            text.push_str(&line(&format!("# beside the rows, for `counts` or `open` of the route: {}", beside.join(", ")), ""));
        }
        text.push_str(&line(&format!("[shape.{}.fields]", key_of_shape(&shape.shape)), ""));
        let mut written = BTreeSet::new();
        for (told, answers) in inside {
            let (pattern, is_data) = parse(&told);
            if pattern.0.is_empty() {
                text.push_str(&line(&format!("# members named by data, in {}: withheld, not shown", count(answers, "answer")), ""));
                continue;
            }
            if written.insert(pattern.to_string()) {
                let why = if is_data { "; members named by data" } else { "" };
                let proposed = proposal(&names(&pattern), "").map(|p| format!("; {p}")).unwrap_or_default();
                text.push_str(&line(&format!("{} = \"?\"", path(&pattern)), &format!("in {}{why}{proposed}", count(answers, "answer"))));
            }
        }
        text.push('\n');
    }
    text
}

/// A name of the configuration: bare where TOML lets it.
fn key_of_shape(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A path as the gateway tells it: `a.b[].c`, where `*` is a name that is not told. `@odata.count` is one name.
fn parse(told: &str) -> (PathPattern, bool) {
    let mut steps = Vec::new();
    let mut pieces = told.split('.').peekable();
    while let Some(piece) = pieces.next() {
        let name = piece.trim_end_matches("[]");
        let lists = (piece.len() - name.len()) / 2;
        if name == "*" || !(name.is_empty() || looks_like_a_name(name)) {
            if !steps.is_empty() {
                steps.push(Step::Rest);
            }
            return (PathPattern(steps), true);
        }
        if name.starts_with('@')
            && lists == 0
            && let Some(next) = pieces.next()
        {
            steps.push(Step::Member(format!("{name}.{next}")));
            continue;
        }
        if !name.is_empty() {
            steps.push(Step::Member(name.to_owned()));
        }
        steps.extend(std::iter::repeat_n(Step::Items, lists));
    }
    (PathPattern(steps), false)
}

impl Place {
    fn take(&mut self, value: &Value, depth: usize) {
        self.times += 1;
        self.kinds.insert(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "list",
            Value::Object(_) => "object",
        });
        if depth >= STEPS_MAX {
            return;
        }
        match value {
            Value::Array(items) => {
                let place = self.items.get_or_insert_default();
                items.iter().for_each(|item| place.take(item, depth + 1));
            }
            Value::Object(members) => {
                self.objects += 1;
                for (name, value) in members {
                    if !looks_like_a_name(name) {
                        self.data += 1;
                    } else if self.members.contains_key(name) || self.members.len() <= NAMES_MAX {
                        self.members.entry(name.clone()).or_default().take(value, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether the names of this object's members are data.
    fn is_map(&self) -> bool {
        let names = self.members.len();
        let rare = self.members.values().filter(|member| member.times * 2 < self.objects).count();
        let told: u64 = self.members.values().map(|member| member.times).sum();
        names > NAMES_MAX || (names >= NAMES_OF_A_MAP && rare * 2 > names) || self.data >= told.max(1)
    }

    fn fields(&self, steps: &mut Vec<Step>, of: u64, out: &mut Vec<String>) {
        if steps.len() > STEPS_MAX {
            return;
        }
        let is_map = self.objects > 0 && self.is_map() && (self.data > 0 || !self.members.is_empty());
        let has_own = self.kinds.iter().any(|kind| !["list", "object", "null"].contains(kind));
        let leads_on = (!self.members.is_empty() && !is_map) || self.items.as_ref().is_some_and(|items| items.times > 0);
        if is_map {
            let pattern = PathPattern(steps.iter().cloned().chain([Step::Rest]).collect());
            if steps.is_empty() {
                out.push(line("# members named by data: withheld, not shown", ""));
            } else {
                out.push(line(&format!("{} = \"?\"", path(&pattern)), "members named by data: how many and which is not shown"));
            }
        } else if (has_own || !leads_on) && !steps.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().copied().filter(|kind| *kind != "null").collect();
            let kinds = if kinds.is_empty() { "always null".to_owned() } else { kinds.join(" or ") };
            let pattern = PathPattern(steps.clone());
            let proposed = proposal(&names(&pattern), "").map(|p| format!("; {p}")).unwrap_or_default();
            out.push(line(&format!("{} = \"?\"", path(&pattern)), &format!("{kinds}, in {} of {of}{proposed}", self.times)));
        }
        if !is_map {
            if self.data > 0 {
                out.push(line(&format!("# beside these, members named by data: withheld, not shown{}", below(steps)), ""));
            }
            for (name, member) in &self.members {
                steps.push(Step::Member(name.clone()));
                member.fields(steps, self.objects, out);
                steps.pop();
            }
        }
        if let Some(items) = self.items.as_ref().filter(|items| items.times > 0) {
            steps.push(Step::Items);
            items.fields(steps, items.times, out);
            steps.pop();
        }
    }
}

fn below(steps: &[Step]) -> String {
    if steps.is_empty() { String::new() } else { format!(" (in `{}`)", PathPattern(steps.to_vec())) }
}

/// The list in an answer: the answer itself, or the only list of objects in it.
fn rows_of(value: &Value) -> Option<PathPattern> {
    let is_list = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_object));
    if is_list(value) {
        return Some(PathPattern(vec![Step::Items]));
    }
    let mut lists = value.as_object()?.iter().filter(|(name, value)| looks_like_a_name(name) && is_list(value));
    let (name, _) = lists.next()?;
    let objects = value.as_object()?.values().filter(|value| value.is_object()).count();
    (lists.next().is_none() && objects == 0).then(|| PathPattern(vec![Step::Member(name.clone()), Step::Items]))
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Members may be named by data (`{"ann@example.com": …}`): such a name must not be told. As the cutter's drift report judges.
fn looks_like_a_name(name: &str) -> bool {
    let shown = name.strip_prefix(['@', '$', '_']).unwrap_or(name);
    (1..=48).contains(&shown.len())
        && shown.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$".contains(&b))
        && shown.bytes().filter(u8::is_ascii_digit).count() <= 2
}
