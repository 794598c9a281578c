//! Which members a body has: a schema with all that it refers to, as paths. `allOf` is all of them together, `oneOf` and `anyOf` the
//! union: a body may have any of these members. Where a schema leads back into itself the path ends in `**`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::Document;
use super::tree::{Node, below};
use super::{BadDocument, shown};
use crate::model::{PathPattern, Step};

/// Members of one body.
const MEMBERS_MAX: usize = 4_000;
/// Steps of one path; fewer where a body would have too many members.
const DEPTHS: [usize; 6] = [16, 8, 5, 3, 2, 1];
/// References and combinations within each other.
const STEPS_MAX: usize = 32;

/// `x-data-classification`: what the author of the document holds a member to be. It is their vocabulary, not the catalogue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    pub category: String,
    pub sensitivity: Option<String>,
    /// `masking.strategy`
    pub masking: Option<String>,
}

/// `x-consentry-customer-id`: this member is the id of a customer, perhaps with its id space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub space: Option<String>,
    /// The schema of the id.
    pub schema: Arc<Node>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A value, with its type and format as far as they are said.
    Value(String),
    /// Whatever stands below: the path ends in `**`. With the reason.
    Rest(&'static str),
    /// An object (or list of objects) of another customer, by the place of its schema.
    Other(Elsewhere),
}

/// The place of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub schema: Arc<Node>,
    pub pointer: String,
}

/// One path of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub path: PathPattern,
    pub what: What,
    /// Where it is declared first.
    pub pointer: String,
    /// `x-consentry-category`, here or around it.
    pub category: Option<String>,
    /// `x-consentry-on-deny`, here or around it.
    pub on_deny: Option<String>,
    pub class: Option<Classification>,
    pub identity: Option<Identity>,
    /// Two places say different things of it; then `category` is none of them.
    pub contradicted: bool,
}

/// All of a body, in the order of the document.
#[derive(Clone, Debug, Default)]
pub struct Members(pub Vec<Member>);

/// What holds for what stands below, and whether it was said just here.
#[derive(Clone, Debug, Default)]
struct Marks {
    category: Option<String>,
    on_deny: Option<String>,
    class: Option<Classification>,
    identity: Option<Option<String>>,
    category_here: bool,
    on_deny_here: bool,
}

struct Walk<'d> {
    document: &'d Document,
    /// Places of the references that are open.
    open: Vec<String>,
    steps: Vec<Step>,
    found: Vec<Member>,
    at: BTreeMap<String, usize>,
    /// Objects with an own id of a customer belong to that one.
    tells_others: bool,
    depth_max: usize,
    /// There were too many members.
    over: bool,
}

impl Document {
    /// All members of a schema.
    #[must_use]
    pub fn members(&self, schema: &Arc<Node>, pointer: &str) -> Members {
        for depth_max in DEPTHS {
            let mut walk = Walk::new(self, depth_max);
            walk.tells_others = walk.names_a_customer(schema, pointer);
            walk.schema(schema, pointer, &Marks::default());
            if !walk.over {
                return Members(walk.found);
            }
        }
        self.is_bad(BadDocument::TooMuch { at: pointer.to_owned(), what: "the body has too many members" });
        Members::default()
    }

    /// The list of objects in a body: the body itself, or the only one in the object that wraps it. `None` when there is none, or more.
    #[must_use]
    pub fn rows(&self, schema: &Arc<Node>, pointer: &str) -> Option<(PathPattern, Arc<Node>, String)> {
        let walk = Walk::new(self, 1);
        if let Some((items, at)) = walk.items(schema, pointer) {
            return Some((PathPattern(vec![Step::Items]), items, at));
        }
        walk.wrapped(schema, pointer, 2)
    }

    /// The name of a schema: what the last reference to it calls it.
    #[must_use]
    pub fn schema_name(&self, schema: &Arc<Node>, pointer: &str) -> (String, Option<String>) {
        let (mut pointer, mut node, mut name) = (pointer.to_owned(), Arc::clone(schema), None);
        for _ in 0..STEPS_MAX {
            if let Some(found) = pointer.strip_prefix("#/components/schemas/") {
                name = Some(found.replace("~1", "/").replace("~0", "~"));
            }
            let Some((target, at)) = self.target(&node, &pointer) else { break };
            (node, pointer) = (Arc::clone(target), at);
        }
        (pointer, name)
    }
}

impl<'d> Walk<'d> {
    const fn new(document: &'d Document, depth_max: usize) -> Self {
        Self { document, open: Vec::new(), steps: Vec::new(), found: Vec::new(), at: BTreeMap::new(), tells_others: false, depth_max, over: false }
    }
}

impl Walk<'_> {
    fn schema(&mut self, node: &Arc<Node>, pointer: &str, marks: &Marks) {
        if self.over || !self.document.may_visit(pointer) {
            return;
        }
        if let Node::Bool(any) = &**node {
            if *any {
                self.emit(What::Rest("anything may stand here"), node, pointer, marks);
            }
            return;
        }
        let marks = self.marked(node, pointer, marks);
        if self.tells_others && !self.steps.is_empty() && self.open.len() < STEPS_MAX && self.names_a_customer(node, pointer) {
            let body = Elsewhere { schema: Arc::clone(node), pointer: pointer.to_owned() };
            self.emit(What::Other(body), node, pointer, &marks);
            return;
        }
        if self.steps.len() >= self.depth_max && self.leads_on(node, pointer) {
            self.emit(What::Rest("nested deeper than is written out here"), node, pointer, &marks);
            return;
        }
        let mut went = self.referred(node, pointer, &marks);
        went |= self.combined(node, pointer, &marks);
        went |= self.object(node, pointer, &marks);
        went |= self.list(node, pointer, &marks);
        if went {
            return;
        }
        match kind(node).as_deref() {
            Some("object") => self.emit(What::Rest("the document does not say which members it has"), node, pointer, &marks),
            Some("array") => self.emit(What::Rest("the document does not say what the list holds"), node, pointer, &marks),
            Some(kind) => self.emit(What::Value(kind.to_owned()), node, pointer, &marks),
            None => self.emit(What::Rest("the document does not say what it is"), node, pointer, &marks),
        }
    }

    fn referred(&mut self, node: &Arc<Node>, pointer: &str, marks: &Marks) -> bool {
        if node.get("$ref").is_none() {
            for dynamic in ["$dynamicRef", "$recursiveRef"] {
                if node.get(dynamic).is_some() {
                    self.document
                        .leave_out(&below(pointer, dynamic), "a dynamic reference is not followed: what stands there is withheld until it is mapped");
                }
            }
            return false;
        }
        let Some((target, at)) = self.document.target(node, pointer) else { return true };
        if self.open.contains(&at) {
            self.emit(What::Rest("this leads back to a schema around it"), node, pointer, marks);
            return true;
        }
        let target = Arc::clone(target);
        self.open.push(at.clone());
        self.schema(&target, &at, marks);
        self.open.pop();
        true
    }

    /// Schemas that say something of the same place.
    fn combined(&mut self, node: &Node, pointer: &str, marks: &Marks) -> bool {
        let mut went = false;
        for key in ["allOf", "oneOf", "anyOf"] {
            for (n, part) in node.get(key).map_or(&[][..], |list| list.items()).iter().enumerate() {
                // A part that only says more of what stands beside it (`required`, `nullable`, `type: null`) is no member.
                if says_members(part) {
                    went = true;
                    self.schema(part, &format!("{}/{n}", below(pointer, key)), marks);
                }
            }
        }
        for key in ["then", "else"] {
            if let Some(part) = node.get(key).filter(|part| says_members(part)) {
                went = true;
                self.schema(part, &below(pointer, key), marks);
            }
        }
        for (name, part) in node.get("dependentSchemas").map_or(&[][..], |parts| parts.members()) {
            went = true;
            self.schema(part, &below(&below(pointer, "dependentSchemas"), name), marks);
        }
        went
    }

    fn object(&mut self, node: &Node, pointer: &str, marks: &Marks) -> bool {
        let mut went = false;
        let inside = marks.inside();
        let properties = below(pointer, "properties");
        for (name, property) in node.get("properties").map_or(&[][..], |all| all.members()) {
            went = true;
            if name.contains('"') || name.is_empty() || name.chars().any(char::is_control) {
                self.document.leave_out(&below(&properties, name), "a path cannot hold this member name: it is withheld");
                continue;
            }
            self.steps.push(Step::Member(name.clone()));
            self.schema(property, &below(&properties, name), &inside);
            self.steps.pop();
        }
        let open = node.get("additionalProperties").filter(|any| !matches!(&***any, Node::Bool(false)));
        for (key, value) in [("additionalProperties", open), ("patternProperties", node.get("patternProperties"))] {
            if let Some(value) = value {
                went = true;
                // What its schema says of a value holds for all that stands below.
                let marks = if key == "additionalProperties" { self.marked(value, &below(pointer, key), &inside) } else { inside.clone() };
                self.emit(What::Rest("members of any name, perhaps named by data"), value, &below(pointer, key), &marks);
            }
        }
        went
    }

    fn list(&mut self, node: &Node, pointer: &str, marks: &Marks) -> bool {
        let mut went = false;
        let inside = marks.inside();
        for (n, item) in node.get("prefixItems").map_or(&[][..], |list| list.items()).iter().enumerate() {
            went = true;
            self.steps.push(Step::Index(u32::try_from(n).unwrap_or(u32::MAX)));
            self.schema(item, &format!("{}/{n}", below(pointer, "prefixItems")), &inside);
            self.steps.pop();
        }
        if let Some(items) = node.get("items") {
            went = true;
            self.steps.push(Step::Items);
            self.schema(items, &below(pointer, "items"), &inside);
            self.steps.pop();
        }
        went
    }

    /// What a schema itself says beyond what came from around it. Where a reference stands, what is said beside it goes first.
    fn marked(&self, node: &Node, pointer: &str, around: &Marks) -> Marks {
        let mut marks = around.clone();
        if let (Some(category), false) = (self.word(node, pointer, "x-consentry-category"), marks.category_here) {
            (marks.category, marks.category_here) = (Some(category), true);
        }
        if let (Some(on_deny), false) = (self.word(node, pointer, "x-consentry-on-deny"), marks.on_deny_here) {
            (marks.on_deny, marks.on_deny_here) = (Some(on_deny), true);
        }
        if let Some(class) = node.get("x-data-classification") {
            match class.get("category").and_then(|c| c.text()) {
                Some(category) => {
                    marks.class = Some(Classification {
                        category: category.to_owned(),
                        sensitivity: class.get("sensitivity").and_then(|s| s.text()).map(str::to_owned),
                        masking: class.get("masking").and_then(|m| m.get("strategy")).and_then(|s| s.text()).map(str::to_owned),
                    });
                }
                None => self.document.leave_out(&below(pointer, "x-data-classification"), "without a `category` it says nothing"),
            }
        }
        if let Some(identity) = node.get("x-consentry-customer-id") {
            match &**identity {
                Node::Bool(true) => marks.identity = Some(None),
                Node::Text(space) if !space.is_empty() => marks.identity = Some(Some(space.clone())),
                Node::Bool(false) => {}
                Node::Null | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => {
                    self.document.leave_out(&below(pointer, "x-consentry-customer-id"), "this is neither `true` nor an id space");
                }
            }
        }
        marks
    }

    fn word(&self, node: &Node, pointer: &str, key: &str) -> Option<String> {
        let value = node.get(key)?;
        let text = value.text().filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.document.leave_out(&below(pointer, key), "this is not a word");
        }
        text
    }

    fn emit(&mut self, what: What, node: &Arc<Node>, pointer: &str, marks: &Marks) {
        let mut steps = self.steps.clone();
        if matches!(what, What::Rest(_)) {
            steps.push(Step::Rest);
        }
        if matches!(what, What::Other(_)) && steps.last() == Some(&Step::Items) {
            steps.pop();
        }
        let path = PathPattern(steps);
        if path.0.is_empty() {
            return;
        }
        let identity = marks.identity.clone().filter(|_| matches!(what, What::Value(_))).map(|space| Identity { space, schema: Arc::clone(node) });
        let (category, on_deny, class) = (marks.category.clone(), marks.on_deny.clone(), marks.class.clone());
        let member = Member { path, what, pointer: pointer.to_owned(), category, on_deny, class, identity, contradicted: false };
        let count = self.found.len();
        match self.at.get(&member.path.to_string()).and_then(|n| self.found.get_mut(*n)) {
            Some(known) => known.join(&member),
            None if count >= MEMBERS_MAX => self.over = true,
            None => {
                self.at.insert(member.path.to_string(), count);
                self.found.push(member);
            }
        }
    }

    /// Whether a schema has members or items at all.
    fn leads_on(&self, node: &Arc<Node>, pointer: &str) -> bool {
        !self.properties(node, pointer, STEPS_MAX).is_empty() || self.items(node, pointer).is_some()
    }

    /// Whether an object has a member of its own that is marked as the id of a customer.
    fn names_a_customer(&self, node: &Arc<Node>, pointer: &str) -> bool {
        let property = |(_, node, at): &(String, Arc<Node>, String)| self.is_marked_id(node, at);
        self.properties(node, pointer, STEPS_MAX).iter().any(property)
    }

    fn is_marked_id(&self, node: &Arc<Node>, pointer: &str) -> bool {
        let own = |node: &Node| node.get("x-consentry-customer-id").is_some_and(|mark| !matches!(&**mark, Node::Bool(false)));
        own(node) || self.document.target(node, pointer).is_some_and(|(target, _)| own(target))
    }

    /// Properties of an object, with those of all that it is combined from.
    fn properties(&self, node: &Arc<Node>, pointer: &str, depth: usize) -> Vec<(String, Arc<Node>, String)> {
        if depth == 0 || !self.document.may_visit(pointer) {
            return Vec::new();
        }
        let at = below(pointer, "properties");
        let own = node.get("properties").map_or(&[][..], |all| all.members());
        let mut found: Vec<_> = own.iter().map(|(name, node)| (name.clone(), Arc::clone(node), below(&at, name))).collect();
        if let Some((target, at)) = self.document.target(node, pointer) {
            found.extend(self.properties(target, &at, depth - 1));
        }
        for key in ["allOf", "oneOf", "anyOf"] {
            for (n, part) in node.get(key).map_or(&[][..], |list| list.items()).iter().enumerate() {
                found.extend(self.properties(part, &format!("{}/{n}", below(pointer, key)), depth - 1));
            }
        }
        found
    }

    /// What a list holds, when it is a list of objects.
    fn items(&self, node: &Arc<Node>, pointer: &str) -> Option<(Arc<Node>, String)> {
        let (mut node, mut pointer) = (Arc::clone(node), pointer.to_owned());
        for _ in 0..STEPS_MAX {
            if let Some(items) = node.get("items") {
                let at = below(&pointer, "items");
                return (!self.properties(items, &at, STEPS_MAX).is_empty()).then(|| (Arc::clone(items), at));
            }
            let (target, at) = match self.document.target(&node, &pointer) {
                Some((target, at)) => (Arc::clone(target), at),
                // A list with one more word about it.
                None => match node.get("allOf").map(|all| all.items()) {
                    Some([one]) => (Arc::clone(one), format!("{}/0", below(&pointer, "allOf"))),
                    _ => return None,
                },
            };
            (node, pointer) = (target, at);
        }
        None
    }

    fn wrapped(&self, node: &Arc<Node>, pointer: &str, levels: usize) -> Option<(PathPattern, Arc<Node>, String)> {
        let properties = self.properties(node, pointer, STEPS_MAX);
        let lists: Vec<_> = properties.iter().filter_map(|(name, node, at)| Some((name, self.items(node, at)?))).collect();
        match lists.as_slice() {
            [(name, (items, at))] => Some((PathPattern(vec![Step::Member((*name).clone()), Step::Items]), Arc::clone(items), at.clone())),
            [] if levels > 1 => {
                let mut deeper = properties.iter().filter_map(|(name, node, at)| Some((name, self.wrapped(node, at, levels - 1)?)));
                let (name, (path, items, at)) = deeper.next()?;
                let path = PathPattern(std::iter::once(Step::Member(name.clone())).chain(path.0).collect());
                deeper.next().is_none().then_some((path, items, at))
            }
            _ => None,
        }
    }
}

impl Marks {
    /// For what stands below: an id is one member, and what was said above may be said otherwise there.
    fn inside(&self) -> Self {
        Self { identity: None, category_here: false, on_deny_here: false, ..self.clone() }
    }
}

impl Member {
    /// The same path from another part of the document.
    fn join(&mut self, other: &Self) {
        if self.category != other.category {
            self.contradicted |= self.category.is_some() && other.category.is_some();
            self.category = if self.contradicted { None } else { self.category.take().or_else(|| other.category.clone()) };
        }
        self.on_deny = self.on_deny.take().or_else(|| other.on_deny.clone());
        self.class = self.class.take().or_else(|| other.class.clone());
        self.identity = self.identity.take().or_else(|| other.identity.clone());
        if let (What::Value(own), What::Value(theirs)) = (&mut self.what, &other.what)
            && !own.split(" or ").any(|kind| kind == theirs)
        {
            *own = format!("{own} or {theirs}");
        }
    }
}

/// `string (email)`, `integer`; `None` when nothing is said.
fn kind(node: &Node) -> Option<String> {
    let named = |node: &Node| match node {
        Node::List(types) => types.iter().filter_map(|t| t.text()).find(|t| *t != "null").map(str::to_owned),
        Node::Text(text) => Some(text.clone()),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_) => None,
    };
    let kind = node.get("type").and_then(|kind| named(kind));
    let by_content = || (node.get("enum").is_some() || node.get("const").is_some() || node.get("format").is_some()).then(|| "string".to_owned());
    let kind = kind.or_else(by_content)?;
    match node.get("format").and_then(|format| format.text()) {
        Some(format) if kind != "object" && kind != "array" => Some(format!("{} ({})", shown(&kind), shown(format))),
        _ => Some(shown(&kind)),
    }
}

/// Whether a part of a combination is about members or a value, not only a condition on what stands beside it.
fn says_members(part: &Node) -> bool {
    let is_null = part.get("type").and_then(|t| t.text()) == Some("null");
    let words = [
        "$ref",
        "$dynamicRef",
        "allOf",
        "oneOf",
        "anyOf",
        "properties",
        "additionalProperties",
        "patternProperties",
        "items",
        "prefixItems",
        "type",
        "enum",
        "const",
        "format",
    ];
    !is_null && words.iter().any(|word| part.get(word).is_some())
}

pub(super) fn is_schema_of_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
