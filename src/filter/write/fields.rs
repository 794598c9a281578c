//! Fields of a form as members of an object. Names with brackets lead into it, as Rails, PHP and most payment APIs read them:
//! `customer[email]` is `customer.email`, `items[0][sku]` is `items[].sku`, `tags[]` is one of `tags[]`; a plain name that stands
//! there repeatedly is a list only where the shape has one.
//!
//! There is no standard for such names, so whatever two frameworks may read differently is refused: one name twice, also in other
//! letter case or by a dot for a bracket; a value and members at one place; `[]` before the end; positions that leave a gap.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::walk::folded;
use crate::filter::Limits;
use crate::filter::compiled::patterns;
use crate::filter::path::{Pattern, Place, through};
use crate::model::{Shape, Step};

/// Why the fields of a form make no object. Never says which: names may be data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("a field has no name")]
    NoName,
    #[error("the brackets in the name of a field cannot be read; write `a[b]`, `a[0][b]` or `a[]`")]
    Brackets,
    #[error("the name of a field has characters that frameworks read differently")]
    Name,
    #[error("two fields have one name, or names that frameworks take for one")]
    Repeated,
    #[error("the positions of a list do not count from 0, one by one")]
    Position,
    #[error("the name of a field leads deeper than {max} levels")]
    TooDeep { max: u16 },
    #[error("the form has more than {FIELDS_MAX} fields; send JSON")]
    TooMany,
}

/// PHP and the most used reader of Node take this many and drop the rest without a word: a write would be done in part.
pub(super) const FIELDS_MAX: usize = 1000;

/// A field as it came.
#[derive(Debug)]
pub(super) struct Field {
    /// Decoded, with its brackets.
    pub(super) name: String,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    /// `media`: its content type, written anew.
    File {
        filename: String,
        media: Option<String>,
        bytes: Bytes,
    },
}

/// Fields that make one object.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Vec<Field>,
    json: Bytes,
    /// The field behind each value of the object, in its order.
    leaves: Vec<usize>,
}

/// A file is judged by its text up to this length, in bytes: ids and masked forms are short.
const FILE_TEXT_BYTES_MAX: usize = 4 * 1024;

impl Fields {
    pub(super) fn new(fields: Vec<Field>, shape: &Shape, limits: &Limits) -> Result<Self, FieldError> {
        if fields.len() > FIELDS_MAX {
            return Err(FieldError::TooMany);
        }
        let tree = Tree::new(&fields, shape, limits)?;
        let (mut json, mut leaves) = (String::new(), Vec::with_capacity(fields.len()));
        tree.write(0, &fields, &mut json, &mut leaves);
        Ok(Self { fields, json: Bytes::from(json), leaves })
    }

    /// The object: all its values are texts, but for files that are none.
    pub(super) fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The fields in the order in which they came, without the values of these numbers.
    pub(super) fn kept(&self, left_out: &[usize]) -> Vec<&Field> {
        let left_out: HashSet<usize> = left_out.iter().filter_map(|leaf| self.leaves.get(*leaf)).copied().collect();
        self.fields.iter().enumerate().filter(|(number, _)| !left_out.contains(number)).map(|(_, field)| field).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Segment<'n> {
    Member(&'n str),
    Position(usize),
    /// `[]`
    Next,
}

/// `a[b][0][]`; `depth_max` counts the object itself.
fn segments<'n>(name: &'n str, odd: &HashSet<&str>, limits: &Limits) -> Result<Vec<Segment<'n>>, FieldError> {
    let head = name.find('[').unwrap_or(name.len());
    let (head, mut rest) = name.split_at(head);
    let member = |name: &'n str| match name {
        "" => Err(FieldError::NoName),
        _ if name.contains(']') => Err(FieldError::Brackets),
        _ if is_plain(name) || odd.contains(name) => Ok(Segment::Member(name)),
        _ => Err(FieldError::Name),
    };
    let mut found = vec![member(head)?];
    while let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner.split_once(']').ok_or(FieldError::Brackets)?;
        found.push(match inside {
            "" if after.is_empty() => Segment::Next,
            "" => return Err(FieldError::Brackets),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let is_canonical = digits == "0" || !digits.starts_with('0');
                Segment::Position(digits.parse().ok().filter(|_| is_canonical).ok_or(FieldError::Position)?)
            }
            name if name.contains('[') => return Err(FieldError::Brackets),
            name => member(name)?,
        });
        if found.len() >= usize::from(limits.depth_max) {
            return Err(FieldError::TooDeep { max: limits.depth_max });
        }
        rest = after;
    }
    if rest.is_empty() { Ok(found) } else { Err(FieldError::Brackets) }
}

/// A name that every framework takes as it is.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | ':'))
}

/// Other names are taken only where a path of the shape says them, and never with what could end a header.
fn odd_names(shape: &Shape) -> HashSet<&str> {
    let fields = shape.fields.iter().map(|field| &field.path);
    let steps = fields.chain(&shape.open).chain(&shape.customer).flat_map(|path| &path.0);
    let names = steps.filter_map(|step| match step {
        Step::Member(name) => Some(name.as_str()),
        Step::Items | Step::Index(_) | Step::Rest => None,
    });
    names.filter(|name| !is_plain(name) && !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\' | '[' | ']'))).collect()
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Style {
    /// `a[0]`
    Counted,
    /// `a[]`
    Listed,
    /// `a`, and the shape has a list there.
    Repeated,
}

#[derive(Debug)]
enum Node {
    Leaf(usize),
    Object(Vec<(String, usize)>),
    List(Style, Vec<usize>),
}

/// The object; its first node is the whole.
struct Tree {
    nodes: Vec<Node>,
    /// By node and name in lower case: the name as written, and its node.
    members: HashMap<(usize, String), (String, usize)>,
}

impl Tree {
    fn new(fields: &[Field], shape: &Shape, limits: &Limits) -> Result<Self, FieldError> {
        let odd = odd_names(shape);
        let patterns = patterns(shape);
        let all: Vec<&Pattern<'_, _>> = patterns.iter().collect();
        let mut tree = Self { nodes: vec![Node::Object(Vec::new())], members: HashMap::new() };
        let mut readings = Readings::default();
        for (number, field) in fields.iter().enumerate() {
            let segments = segments(&field.name, &odd, limits)?;
            readings.add(&field.name, &segments);
            tree.insert(number, &segments, &all)?;
        }
        if readings.are_unique() { Ok(tree) } else { Err(FieldError::Repeated) }
    }

    fn insert<R>(&mut self, number: usize, segments: &[Segment<'_>], all: &[&Pattern<'_, R>]) -> Result<(), FieldError> {
        let mut at = 0;
        let mut alive = all.to_vec();
        for (depth, segment) in segments.iter().enumerate() {
            alive = match segment {
                Segment::Member(name) => through(&alive, depth, Place::Member(name)),
                Segment::Position(position) => through(&alive, depth, Place::Item(*position)),
                Segment::Next => through(&alive, depth, Place::Item(0)),
            };
            let holds_list = || {
                let has_list = alive.iter().any(|p| matches!(p.steps.get(depth + 1), Some(Step::Items | Step::Index(_))));
                has_list && !alive.iter().any(|p| p.names(depth + 1))
            };
            let wanted = match segments.get(depth + 1) {
                None if matches!(segment, Segment::Member(_)) && holds_list() => Node::List(Style::Repeated, Vec::new()),
                None => Node::Leaf(number),
                Some(Segment::Member(_)) => Node::Object(Vec::new()),
                Some(Segment::Position(_)) => Node::List(Style::Counted, Vec::new()),
                Some(Segment::Next) => Node::List(Style::Listed, Vec::new()),
            };
            at = self.child(at, segment, wanted)?;
        }
        if matches!(self.nodes.get(at), Some(Node::List(..))) {
            let leaf = self.add(Node::Leaf(number));
            if let Some(Node::List(_, items)) = self.nodes.get_mut(at) {
                items.push(leaf);
            }
        }
        Ok(())
    }

    /// The node below another one: the one that is there, if it is of the same kind, else a new one.
    fn child(&mut self, at: usize, segment: &Segment<'_>, wanted: Node) -> Result<usize, FieldError> {
        let known = match (segment, self.nodes.get(at)) {
            (Segment::Member(name), _) => match self.members.get(&(at, folded(name))) {
                Some((written, _)) if written != name => return Err(FieldError::Repeated),
                Some((_, child)) => Some(*child),
                None => None,
            },
            (Segment::Position(position), Some(Node::List(_, items))) if *position <= items.len() => items.get(*position).copied(),
            (Segment::Position(_), _) => return Err(FieldError::Position),
            (Segment::Next, _) => None,
        };
        if let Some(child) = known {
            let is_same = match (self.nodes.get(child), &wanted) {
                (Some(Node::Object(_)), Node::Object(_)) => true,
                (Some(Node::List(one, _)), Node::List(other, _)) => one == other,
                (Some(Node::Leaf(_) | Node::Object(_) | Node::List(..)) | None, _) => false,
            };
            return if is_same { Ok(child) } else { Err(FieldError::Repeated) };
        }
        let child = self.add(wanted);
        match (self.nodes.get_mut(at), segment) {
            (Some(Node::Object(members)), Segment::Member(name)) => {
                members.push(((*name).to_owned(), child));
                self.members.insert((at, folded(name)), ((*name).to_owned(), child));
            }
            (Some(Node::List(_, items)), Segment::Position(_) | Segment::Next) => items.push(child),
            (Some(Node::Leaf(_) | Node::Object(_) | Node::List(..)) | None, _) => return Err(FieldError::Repeated),
        }
        Ok(child)
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// As deep as the deepest name, which is bounded.
    fn write(&self, at: usize, fields: &[Field], out: &mut String, leaves: &mut Vec<usize>) {
        match self.nodes.get(at) {
            Some(Node::Leaf(number)) => {
                leaves.push(*number);
                if let Some(field) = fields.get(*number) {
                    out.push_str(&leaf(&field.content));
                }
            }
            Some(Node::Object(members)) => {
                out.push('{');
                for (n, (name, child)) in members.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { "," });
                    out.push_str(&text(name));
                    out.push(':');
                    self.write(*child, fields, out, leaves);
                }
                out.push('}');
            }
            Some(Node::List(_, items)) => {
                out.push('[');
                for (n, child) in items.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { "," });
                    self.write(*child, fields, out, leaves);
                }
                out.push(']');
            }
            None => {}
        }
    }
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A file whose content is a short text is that text: no masked form and no id comes in as a file.
fn leaf(content: &Content) -> String {
    match content {
        Content::Text(value) => text(value),
        Content::File { bytes, .. } => {
            let short = bytes.get(..).filter(|bytes| bytes.len() <= FILE_TEXT_BYTES_MAX).and_then(|bytes| std::str::from_utf8(bytes).ok());
            short.map_or_else(|| "true".to_owned(), text)
        }
    }
}

/// How else the names could be read, once one of them has a character over which frameworks differ: a dot as a step (`a.b` for
/// `a[b]`), dots and spaces as underscores.
#[derive(Default)]
struct Readings {
    names: HashMap<String, HashSet<String>>,
    has_odd: bool,
}

impl Readings {
    fn add(&mut self, name: &str, segments: &[Segment<'_>]) {
        self.has_odd |= segments.iter().any(|segment| matches!(segment, Segment::Member(name) if !is_plain(name)));
        let steps = segments.iter().map(|segment| match segment {
            Segment::Member(name) => folded(name),
            Segment::Position(position) => position.to_string(),
            Segment::Next => String::new(),
        });
        let dotted = steps.collect::<Vec<_>>().join(".");
        let mut underscored = segments.iter().take(1).map(|s| if let Segment::Member(name) = s { folded(name) } else { String::new() });
        let head = underscored.next().unwrap_or_default();
        let flat = format!("{}{}", head.replace(['.', ' '], "_"), dotted.get(head.len()..).unwrap_or_default());
        for reading in [dotted, flat] {
            self.names.entry(reading).or_default().insert(name.to_owned());
        }
    }

    fn are_unique(&self) -> bool {
        !self.has_odd || self.names.values().all(|names| names.len() < 2)
    }
}
