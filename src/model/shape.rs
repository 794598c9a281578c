//! What an answer or a written body contains: the catalogue builds these plans from the governed configuration, the filter
//! cuts by them. Plain data; the rules of release stand in `filter`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::name::{Category, ShapeName, Space};

/// One step of a path into JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// An object member, compared with the unescaped name, exactly.
    Member(String),
    /// Every element of an array: `[]`.
    Items,
    /// One position of an array: `[2]`.
    Index(u32),
    /// Everything below: `**`; only as the last step.
    Rest,
}

impl Step {
    /// Whether some place lies on both: `[2]` is one of `[]`.
    fn meets(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Items, Self::Index(_)) | (Self::Index(_), Self::Items))
    }

    /// Whether a mapped path of these steps says what the values at `path` are: it names some of them, and if not all, it would lose
    /// against `path` where both name one. (`a[0].id` never does, against `a[].id`; `a[0].**` would.)
    #[must_use]
    pub fn cover(steps: &[Self], path: &[Self]) -> bool {
        let (fixed, has_rest) = steps.strip_suffix(&[Self::Rest]).map_or((steps, false), |fixed| (fixed, true));
        let pairs = || fixed.iter().zip(path);
        let is_long_enough = path.len() == fixed.len() || (has_rest && path.len() > fixed.len());
        let wins = !has_rest && pairs().any(|(own, step)| own != step) && pairs().all(|(own, step)| own == step || *step == Self::Items);
        is_long_enough && pairs().all(|(own, step)| own.meets(step)) && !wins
    }
}

/// `a.b`, `a.items[].b`, `rows[][2]`, `a.**`, `"odd.name"` (quoted again inside). Empty = the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathPattern(pub Vec<Step>);

impl PathPattern {
    /// Reads the notation of the configuration file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        if rest.is_empty() {
            return Err("a path must not be empty".to_owned());
        }
        loop {
            if let Some(quoted) = rest.strip_prefix('"') {
                let Some((name, after)) = quoted.split_once('"') else {
                    return Err(format!("`{text}`: a quoted member name does not end"));
                };
                steps.push(Step::Member(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("**") {
                if !after.is_empty() {
                    return Err(format!("`{text}`: `**` can only stand at the end"));
                }
                steps.push(Step::Rest);
                return Ok(Self(steps));
            } else if !rest.starts_with('[') {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if name.is_empty() {
                    return Err(format!("`{text}`: a member name is missing"));
                }
                if name.contains(['"', '*', ']']) {
                    return Err(format!("`{text}`: the member name `{name}` needs quotes"));
                }
                steps.push(Step::Member(name.to_owned()));
                rest = after;
            }
            while let Some(bracket) = rest.strip_prefix('[') {
                let Some((inside, after)) = bracket.split_once(']') else {
                    return Err(format!("`{text}`: `[` is not closed"));
                };
                if inside.is_empty() {
                    steps.push(Step::Items);
                } else {
                    let index = inside.parse().map_err(|_ignored| format!("`{text}`: `[{inside}]` is neither `[]` nor a position"))?;
                    steps.push(Step::Index(index));
                }
                rest = after;
            }
            if rest.is_empty() {
                return Ok(Self(steps));
            }
            rest = rest.strip_prefix('.').ok_or_else(|| format!("`{text}`: expected `.` before `{rest}`"))?;
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match step {
                Step::Member(name) if name.contains(['.', '[', '"', '*', ']']) => write!(f, "{dot}\"{name}\"")?,
                Step::Member(name) => write!(f, "{dot}{name}")?,
                Step::Items => f.write_str("[]")?,
                Step::Index(n) => write!(f, "[{n}]")?,
                Step::Rest => write!(f, "{dot}**")?,
            }
        }
        Ok(())
    }
}

/// A masked form that is released when only `read-reduced` is permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    Last4,
    Year,
    Pseudonym,
    Generalise,
}

/// What stands in the place of a member whose category is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnDeny {
    Remove,
    Null,
    /// The whole answer is refused.
    Error,
    /// The masked form if `read-reduced` is permitted, else removed.
    Mask(Mask),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldRule {
    Category {
        category: Category,
        on_deny: OnDeny,
    },
    /// An object (or array of objects) of another customer, with its own id and verdicts.
    Embed(ShapeName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub path: PathPattern,
    pub rule: FieldRule,
}

/// When one row names several customers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Several {
    /// A refused person's own member is cut.
    Each,
    /// One refusal drops the row.
    #[default]
    All,
}

/// `[shape.NAME]`: which member is which category, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: ShapeName,
    /// The id space of `customer`.
    pub ids: Option<Space>,
    /// Where the customers' ids stand inside the object; empty when the object does not say whose it is.
    pub customer: Vec<PathPattern>,
    pub several: Several,
    /// No customer data: go with a released object, never alone.
    pub open: Vec<PathPattern>,
    /// URLs of the upstream: go with a released object as URLs of the gateway, or not at all.
    pub links: Vec<PathPattern>,
    /// Asked for by the gateway alone: read, and never released.
    pub hidden: Vec<PathPattern>,
    /// The object is dropped when one of these is refused.
    pub needs: Vec<Category>,
    /// Judged like those of `fields`, though no field of this shape has them.
    pub also: Vec<Category>,
    pub fields: Vec<Field>,
    /// The customers' ids are read and do not go out: the request left them out, and the gateway asked for them.
    pub bare: bool,
    /// Report mode: what no path maps goes with an object of which everything is permitted.
    pub lets_unmapped_pass: bool,
}

impl Shape {
    /// Categories that are judged for the shape itself, without embedded shapes, sorted and unique.
    #[must_use]
    pub fn categories(&self) -> Vec<Category> {
        let mut found: Vec<Category> = self
            .fields
            .iter()
            .filter_map(|field| match field.rule {
                FieldRule::Category { category, .. } => Some(category),
                FieldRule::Embed(_) => None,
            })
            .chain(self.also.iter().copied())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// A customer's place in an embedded object whose shape does not read it, and that shape.
    #[must_use]
    pub fn unread_customer(&self, shapes: &Shapes) -> Option<(&PathPattern, ShapeName)> {
        self.customer.iter().find_map(|path| {
            let mut leads = self.embedded_at(&path.0);
            let unread = leads.find(|(name, rest)| shapes.get(name).is_some_and(|shape| !shape.reads(rest, shapes)));
            unread.map(|(name, _)| (path, name))
        })
    }

    fn reads(&self, path: &[Step], shapes: &Shapes) -> bool {
        let mapped = self.fields.iter().filter(|field| !matches!(field.rule, FieldRule::Embed(_))).map(|field| &field.path);
        self.customer.iter().chain(&self.open).chain(&self.links).chain(mapped).any(|known| known.0 == path)
            || self.embedded_at(path).any(|(name, rest)| shapes.get(&name).is_some_and(|shape| shape.reads(rest, shapes)))
    }

    /// The embedded shapes that a path leads into, and how it goes on there.
    fn embedded_at<'p>(&self, path: &'p [Step]) -> impl Iterator<Item = (ShapeName, &'p [Step])> {
        self.fields.iter().filter_map(move |field| {
            let FieldRule::Embed(name) = field.rule else { return None };
            let (to, rest) = path.split_at_checked(field.path.0.len())?;
            // One object or an array of such.
            let rest = rest.strip_prefix(&[Step::Items]).unwrap_or(rest);
            (!rest.is_empty() && field.path.0.iter().zip(to).all(|(own, step)| own.meets(step))).then_some((name, rest))
        })
    }
}

/// All shapes of a configuration; the filter looks embedded shapes up here. `check` guarantees that every name resolves.
pub type Shapes = BTreeMap<ShapeName, Arc<Shape>>;

/// What happens to a count or link beside the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRule {
    /// Set to the number of released rows when the answer holds the whole list, else removed.
    Rows,
    Remove,
    /// Declared harmless; passes.
    Free,
    /// A URL of the upstream: becomes one of the gateway, or is removed.
    Link,
}

/// Who an answer must be about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// The object names its customer, who must be the one judged if the request named one.
    #[default]
    Answer,
    /// `subject = "request"`: the object need not say; the customer of the request is trusted to be its subject. Others whom it names
    /// are judged beside that one.
    Request,
}

/// What may come back from the upstream, and how it is cut.
#[derive(Clone, Debug)]
pub enum ResponsePlan {
    /// No body; one that comes is withheld.
    Empty,
    /// `customer = "none"`: passes when its content type is listed (lower case, without parameters).
    Free { content_types: Vec<String> },
    /// Only these members, which carry no customer data.
    Open { open: Vec<PathPattern> },
    /// One object at `at` (empty path = the whole body); beside it only `open` members pass. `withheld_as`: the member of the whole
    /// body that the gateway adds, which lists the shape's paths that were withheld.
    Object { at: PathPattern, shape: Arc<Shape>, subject: Subject, open: Vec<PathPattern>, withheld_as: Option<String> },
    /// Rows at `rows` (ends with `Items`); beside them only `counts` and `open` members pass.
    Rows {
        rows: PathPattern,
        shape: Arc<Shape>,
        counts: Vec<(PathPattern, CountRule)>,
        open: Vec<PathPattern>,
        rows_max: Option<u32>,
        withheld_as: Option<String>,
    },
    /// Records that come one after the other, each of one customer, for as long as both sides like.
    Stream { framing: Framing, shape: Arc<Shape> },
}

/// How the records of a stream are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON text a line.
    Ndjson,
    /// `text/event-stream`: events of these names (unnamed ones always), with their ids if those are declared free.
    Events { names: Vec<String>, with_ids: bool },
}

impl Framing {
    /// Content types that say so, in lower case and without parameters; the first is ours.
    #[must_use]
    pub const fn content_types(&self) -> &'static [&'static str] {
        match self {
            Self::Ndjson => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
            Self::Events { .. } => &["text/event-stream"],
        }
    }
}

impl ResponsePlan {
    /// The same, of which the customers' ids do not go out.
    #[must_use]
    pub fn bare(&self) -> Self {
        match self.shape() {
            None => self.clone(),
            Some(shape) => self.by_shape(&Arc::new(Shape { bare: true, ..Shape::clone(shape) })),
        }
    }

    /// The same by another shape.
    #[must_use]
    pub fn by_shape(&self, other: &Arc<Shape>) -> Self {
        let mut plan = self.clone();
        match &mut plan {
            Self::Object { shape, .. } | Self::Rows { shape, .. } | Self::Stream { shape, .. } => *shape = Arc::clone(other),
            Self::Empty | Self::Free { .. } | Self::Open { .. } => {}
        }
        plan
    }

    /// The member that lists what was withheld.
    #[must_use]
    pub fn withheld_as(&self) -> Option<&str> {
        match self {
            Self::Object { withheld_as, .. } | Self::Rows { withheld_as, .. } => withheld_as.as_deref(),
            Self::Empty | Self::Free { .. } | Self::Open { .. } | Self::Stream { .. } => None,
        }
    }

    #[must_use]
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        match self {
            Self::Object { shape, .. } | Self::Rows { shape, .. } | Self::Stream { shape, .. } => Some(shape),
            Self::Empty | Self::Free { .. } | Self::Open { .. } => None,
        }
    }
}

/// How a written body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    Json,
    /// RFC 7396
    MergePatch,
    /// RFC 6902
    JsonPatch,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `multipart/form-data`, RFC 7578
    Multipart,
}

/// A content type that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyType {
    /// Lower case, without parameters; the upstream is told the same.
    pub name: String,
    pub kind: BodyKind,
}

impl BodyType {
    /// What a route takes that does not say.
    #[must_use]
    pub fn json() -> Self {
        Self { name: "application/json".to_owned(), kind: BodyKind::Json }
    }

    /// A type by its name as it is declared; `None` when nothing here reads it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        let kind = match name {
            "application/json" => BodyKind::Json,
            "application/merge-patch+json" => BodyKind::MergePatch,
            "application/json-patch+json" => BodyKind::JsonPatch,
            "application/x-www-form-urlencoded" => BodyKind::Form,
            "multipart/form-data" => BodyKind::Multipart,
            other => other.strip_prefix("application/")?.strip_suffix("+json").filter(|name| is_name(name)).map(|_| BodyKind::Json)?,
        };
        Some(Self { name: name.to_owned(), kind })
    }
}

/// A written body.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    pub shape: Arc<Shape>,
    /// At least one, each once; none for a DELETE.
    pub types: Vec<BodyType>,
    /// A masked or withheld value that comes back: refuse the write (`masked-write`), or drop the member.
    pub masked_drop: bool,
    /// `put = "merge"`: a PUT is sent upstream as PATCH.
    pub put_merge: bool,
}
