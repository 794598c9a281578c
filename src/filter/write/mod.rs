//! Written bodies: every member needs its category, one refused member refuses the write, nothing is partly written.
//!
//! A form is its members as JSON texts, so that the same walk judges it (`fields.rs`, `form.rs`, `multipart.rs`), and a merge patch
//! (RFC 7396, <https://www.rfc-editor.org/rfc/rfc7396>) is JSON in which `null` deletes; a JSON patch has its own rules (`patch.rs`).
//!
//! A body names one customer at most, whom the caller of this room compares with the one judged ([`Written::references`]).
//! Embedded objects belong to others, about whom this write was not judged: they refuse it. A masked value that comes back
//! refuses the write (`masked-write`) or, if the plan says so, is left out; never where leaving it out would itself overwrite
//! (a replacing PUT, inside a list, the only member of an object). What wipes needs every category that it wipes: `null` or a text
//! in the place of an object, a list in the place of a list.

mod fields;
mod form;
mod media;
mod multipart;
mod patch;
mod pointer;
mod walk;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use self::fields::Fields;
use self::walk::{Here, Reference as Mark, Walk};
use super::Limits;
use super::compiled::patterns;
use super::json::{Kind, Sender, Unreadable, Value, Whole, parse};
use super::object::collect_ids;
use super::path::{Pattern, find};
use crate::model::{BodyKind, BodyType, FieldRule, PathPattern, Release, RequestPlan, Several, Shape, Space, Step, Verdicts};

pub use self::fields::FieldError;
pub use self::form::FormError;
pub use self::media::MediaType;
pub use self::multipart::PartError;
pub use self::patch::PatchError;
pub use self::walk::Effect;

/// A written body that could be read, not yet judged.
pub struct Written {
    /// The body as JSON; of a form its members.
    members: Bytes,
    carrier: Carrier,
    type_name: String,
    shape: Arc<Shape>,
    masked_drop: bool,
    limits: Limits,
    references: Vec<Reference>,
}

/// How the members are sent on.
enum Carrier {
    Json,
    Patch,
    Form(Fields),
    Multipart(Fields),
}

/// A customer whom a body names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub space: Space,
    pub id: String,
    /// Whoever stands there is whose record it is: another one than before takes it over whole.
    pub moves: bool,
}

/// The exact bytes to send upstream, and their content type.
pub struct Writable {
    body: Bytes,
    content_type: String,
}

/// Why a written body cannot be read. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Json(#[from] Unreadable),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// The write is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRefused {
    /// Paths that refuse it, sorted: of the shape, or of the body for members that no path of the shape names.
    pub paths: Vec<String>,
    /// The write would destroy or store withheld values: 409 `masked-write` instead of 403 `field-not-permitted`.
    pub masked: bool,
}

/// Reads a written body by the shape of its route. `boundary`: of a multipart body, from its content type.
///
/// # Errors
/// [`BodyError`]: not in the strict form of its type, not an object, or a customer stands in it without a readable id.
pub fn read_write(body: &Bytes, body_type: &BodyType, boundary: Option<&str>, plan: &RequestPlan, limits: &Limits) -> Result<Written, BodyError> {
    let (members, carrier) = match body_type.kind {
        BodyKind::Json | BodyKind::MergePatch => (body.clone(), Carrier::Json),
        BodyKind::JsonPatch => (body.clone(), Carrier::Patch),
        BodyKind::Form => {
            let fields = form::read(body, &plan.shape, limits)?;
            (fields.json(), Carrier::Form(fields))
        }
        BodyKind::Multipart => {
            let fields = multipart::read(body, boundary.unwrap_or_default(), &plan.shape, limits)?;
            (fields.json(), Carrier::Multipart(fields))
        }
    };
    let limits = match carrier {
        Carrier::Json | Carrier::Patch => *limits,
        // The body was held against the limit before; as JSON it may have become longer.
        Carrier::Form(_) | Carrier::Multipart(_) => Limits { body_bytes_max: usize::MAX, ..*limits },
    };
    let tape = parse(&members, &limits, Sender::Caller)?;
    let named = match carrier {
        Carrier::Patch => patch::references(&tape, &plan.shape, &limits)?,
        Carrier::Json | Carrier::Form(_) | Carrier::Multipart(_) => {
            let root = object(&tape)?;
            named(root, &plan.shape)?
        }
    };
    // Without an id space nobody could compare the reference.
    let references = match plan.shape.ids {
        Some(space) => merged(space, named),
        None if named.is_empty() => Vec::new(),
        None => return Err(Unreadable::Id.into()),
    };
    drop(tape);
    let (type_name, shape) = (body_type.name.clone(), Arc::clone(&plan.shape));
    Ok(Written { members, carrier, type_name, shape, masked_drop: plan.masked_drop, limits, references })
}

fn object<'t>(tape: &'t Whole<'_>) -> Result<Value<'t>, Unreadable> {
    tape.root().and_then(|root| if root.kind() == Kind::Object { Ok(root) } else { Err(Unreadable::TopLevel) })
}

/// The customers' ids in an object, each with whether it says whose the record is.
fn named<'t>(root: Value<'t>, shape: &Shape) -> Result<Vec<(Cow<'t, str>, bool)>, Unreadable> {
    // A partial write about the customer of the request may leave the id out, and nobody else can stand there.
    if let [path] = shape.customer.as_slice()
        && !path.0.contains(&Step::Items)
    {
        return find(root, &path.0).into_iter().map(|value| Ok((value.id().ok_or(Unreadable::Id)?, true))).collect();
    }
    let mut found = Vec::new();
    for (number, path) in shape.customer.iter().enumerate() {
        let mut ids = Vec::new();
        collect_ids(root, &path.0, true, &mut ids).map_err(|_unidentified| Unreadable::Id)?;
        found.extend(ids.into_iter().map(|id| (id, moves(shape, number))));
    }
    Ok(found)
}

/// Whether the customer at this path of the shape is whose record it is, not only somebody in it.
fn moves(shape: &Shape, number: usize) -> bool {
    number == 0 || shape.several == Several::All
}

/// Each customer once, in the order of the body.
fn merged(space: Space, named: Vec<(Cow<'_, str>, bool)>) -> Vec<Reference> {
    let mut known = std::collections::HashMap::new();
    let mut found: Vec<Reference> = Vec::new();
    for (id, moves) in named {
        let at = *known.entry(id.clone()).or_insert(found.len());
        match found.get_mut(at) {
            Some(reference) => reference.moves |= moves,
            None => found.push(Reference { space, id: id.into_owned(), moves }),
        }
    }
    found
}

impl Written {
    /// The customers that the body names, each once. They must be compared with the customer judged before [`Written::judge`].
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The body as JSON, of a form its members: where [`find_id`] finds them. Of a JSON patch, its operations.
    #[must_use]
    pub const fn members(&self) -> &Bytes {
        &self.members
    }

    /// Judges the write member by member. `verdicts`: for `update` or `create`; `readable`: for `read`, of the same customer.
    ///
    /// # Errors
    /// [`WriteRefused`] with everything that refuses it.
    pub fn judge(&self, verdicts: &Verdicts, readable: &Verdicts, effect: Effect) -> Result<Writable, WriteRefused> {
        let replace = effect == Effect::Replace;
        if replace {
            refuse_unless_all(&self.shape, verdicts, true)?;
        }
        // It was read before by the same rules.
        let unreadable = || WriteRefused { paths: Vec::new(), masked: false };
        let tape = parse(&self.members, &self.limits, Sender::Caller).map_err(|_read_before| unreadable())?;
        let mut walk = Walk::new(verdicts, readable, effect);
        if self.references.len() > 1 {
            walk.forbidden.extend(self.shape.customer.iter().map(PathPattern::to_string));
        }
        let patterns = patterns(&self.shape);
        let references: Vec<Pattern<'_, Mark>> = self.marks();
        let (alive, marks): (Vec<_>, Vec<_>) = (patterns.iter().collect(), references.iter().collect());
        let here = Here { alive: &alive, references: &marks, depth: 0 };
        let body = if matches!(self.carrier, Carrier::Patch) {
            let operations = patch::read(&tape, &self.limits).map_err(|_read_before| unreadable())?;
            patch::judge(&operations, &self.shape, &here, walk, self.masked_drop)?
        } else {
            walk.may_drop = self.masked_drop && !replace;
            walk.has_no_null = matches!(self.carrier, Carrier::Form(_) | Carrier::Multipart(_));
            let mut out = String::with_capacity(self.members.len());
            walk.members(tape.root().map_err(|_read_before| unreadable())?, &here, &mut out);
            let left_out = walk.finish()?;
            match &self.carrier {
                Carrier::Form(fields) => Bytes::from(form::write(fields.kept(&left_out))),
                Carrier::Multipart(fields) => return Ok(multipart::write(fields, &left_out)),
                Carrier::Json | Carrier::Patch if left_out.is_empty() => self.members.clone(),
                Carrier::Json | Carrier::Patch => Bytes::from(out),
            }
        };
        Ok(Writable { body, content_type: self.type_name.clone() })
    }

    fn marks(&self) -> Vec<Pattern<'_, Mark>> {
        let paths = self.shape.customer.iter().enumerate();
        paths.map(|(number, path)| Pattern { steps: path.0.as_slice().into(), rule: Mark { moves: moves(&self.shape, number) } }).collect()
    }

    /// What a body needs that hands the record to another customer: all of it changes hands, so every category must be permitted
    /// for the old customer and for the new one.
    ///
    /// # Errors
    /// [`WriteRefused`] with the paths whose category is refused.
    pub fn judge_move(&self, verdicts: &Verdicts) -> Result<(), WriteRefused> {
        refuse_unless_all(&self.shape, verdicts, false)
    }
}

impl Writable {
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.body
    }
}

/// A DELETE needs `delete` on every category of its shape.
///
/// # Errors
/// [`WriteRefused`] with the paths whose category is refused.
pub fn judge_delete(shape: &Shape, verdicts: &Verdicts) -> Result<(), WriteRefused> {
    refuse_unless_all(shape, verdicts, false)
}

/// Everything that the shape maps would be wiped: every category must be permitted. An embedded customer's data is wiped by a
/// replacing write, but not by a deletion, which takes the reference only.
fn refuse_unless_all(shape: &Shape, verdicts: &Verdicts, replace: bool) -> Result<(), WriteRefused> {
    let refused = shape.fields.iter().filter(|field| match field.rule {
        FieldRule::Category { category, .. } => verdicts.release(category) != Release::Full,
        FieldRule::Embed(_) => replace,
    });
    let paths: BTreeSet<String> = refused.map(|field| field.path.to_string()).collect();
    if paths.is_empty() && !shape.categories().is_empty() {
        return Ok(());
    }
    Err(WriteRefused { paths: paths.into_iter().collect(), masked: replace })
}

/// The customer's id at a place of a request's or an answer's body. `None`: the place is not there.
///
/// # Errors
/// [`Unreadable`]: not strict JSON, or not exactly one string or integer there.
pub fn find_id(body: &Bytes, path: &PathPattern, limits: &Limits, sender: Sender) -> Result<Option<String>, Unreadable> {
    let tape = parse(body, limits, sender)?;
    if path.0.contains(&Step::Rest) {
        return Err(Unreadable::Id);
    }
    match find(tape.root()?, &path.0).as_slice() {
        [] => Ok(None),
        [one] => one.id().map(|id| Some(id.into_owned())).ok_or(Unreadable::Id),
        [_, ..] => Err(Unreadable::Id),
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({} bytes, shape {})", self.members.len(), self.shape.name)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writable({} bytes)", self.body.len())
    }
}
