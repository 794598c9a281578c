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
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: ShapeName,
    /// The id space of `customer`.
    pub ids: Option<Space>,
    /// Where the customers' ids stand inside the object; empty when the object does not say whose it is.
    pub customer: Vec<PathPattern>,
    pub several: Several,
    /// No customer data: go with a released object, never alone.
    pub open: Vec<PathPattern>,
    /// The object is dropped when one of these is refused.
    pub needs: Vec<Category>,
    pub fields: Vec<Field>,
    /// The customers' ids are read and do not go out: the request left them out, and the gateway asked for them.
    pub bare: bool,
}

impl Shape {
    /// Categories of the shape's own fields, without embedded shapes, sorted and unique.
    #[must_use]
    pub fn categories(&self) -> Vec<Category> {
        let mut found: Vec<Category> = self
            .fields
            .iter()
            .filter_map(|field| match field.rule {
                FieldRule::Category { category, .. } => Some(category),
                FieldRule::Embed(_) => None,
            })
            .collect();
        found.sort();
        found.dedup();
        found
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
}

/// Who an answer must be about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// The object names its customer, who must be the one judged if the request named one.
    #[default]
    Answer,
    /// `subject = "request"`: the object does not say; the customer of the request is trusted to be its subject.
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
    /// One object at `at` (empty path = the whole body); beside it only `open` members pass.
    Object { at: PathPattern, shape: Arc<Shape>, subject: Subject, open: Vec<PathPattern> },
    /// Rows at `rows` (ends with `Items`); beside them only `counts` and `open` members pass.
    Rows { rows: PathPattern, shape: Arc<Shape>, counts: Vec<(PathPattern, CountRule)>, open: Vec<PathPattern>, rows_max: Option<u32> },
}

impl ResponsePlan {
    /// The same, of which the customers' ids do not go out.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut plan = self.clone();
        if let Self::Object { shape, .. } | Self::Rows { shape, .. } = &mut plan {
            *shape = Arc::new(Shape { bare: true, ..Shape::clone(shape) });
        }
        plan
    }

    #[must_use]
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        match self {
            Self::Object { shape, .. } | Self::Rows { shape, .. } => Some(shape),
            Self::Empty | Self::Free { .. } | Self::Open { .. } => None,
        }
    }
}

/// A written body.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    pub shape: Arc<Shape>,
    /// A masked or withheld value that comes back: refuse the write (`masked-write`), or drop the member.
    pub masked_drop: bool,
    /// `put = "merge"`: a PUT is sent upstream as PATCH.
    pub put_merge: bool,
}
