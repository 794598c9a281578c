//! Written bodies: every member needs its category, one refused member refuses the write, nothing is partly written.
//!
//! A body names one customer at most, whom the caller of this room compares with the one judged ([`Written::references`]).
//! Embedded objects belong to others, about whom this write was not judged: they refuse it. A masked value that comes back
//! refuses the write (`masked-write`) or, if the plan says so, is left out; never where leaving it out would itself overwrite
//! (a replacing PUT, an array element, the only member of an object).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Limits;
use super::json::{Kind, Sender, Unreadable, Value, parse};
use super::mask::is_masked_form;
use super::object::{Rule, collect_ids, patterns, unique};
use super::path::{Pattern, Place, Trail, emit, find, speaking, through};
use crate::model::{Category, FieldRule, OnDeny, PathPattern, Release, RequestPlan, Shape, Space, Step, Verdicts};

/// A written body that could be read, not yet judged.
pub struct Written {
    body: Bytes,
    shape: Arc<Shape>,
    masked_drop: bool,
    limits: Limits,
    references: Vec<(Space, String)>,
}

/// The exact bytes to send upstream.
pub struct Writable(Bytes);

/// The write is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRefused {
    /// Paths that refuse it, sorted: of the shape, or of the body for members that no path of the shape names.
    pub paths: Vec<String>,
    /// The write would destroy or store withheld values: 409 `masked-write` instead of 403 `field-not-permitted`.
    pub masked: bool,
}

/// Reads a written body by the shape of its route.
///
/// # Errors
/// [`Unreadable`]: not strict JSON, not an object, or a customer stands in it without a readable id.
pub fn read_write(body: &Bytes, plan: &RequestPlan, limits: &Limits) -> Result<Written, Unreadable> {
    let tape = parse(body, limits, Sender::Caller)?;
    let root = tape.root()?;
    if root.kind() != Kind::Object {
        return Err(Unreadable::TopLevel);
    }
    let mut ids = Vec::new();
    match plan.shape.customer.as_slice() {
        // A partial write about the customer of the request may leave the id out, and nobody else can stand there.
        [path] if !path.0.contains(&Step::Items) => {
            for value in find(root, &path.0) {
                ids.push(value.id().ok_or(Unreadable::Id)?);
            }
        }
        paths => {
            for path in paths {
                collect_ids(root, &path.0, true, &mut ids).map_err(|_unidentified| Unreadable::Id)?;
            }
        }
    }
    // Without an id space nobody could compare the reference.
    let references = match plan.shape.ids {
        Some(space) => unique(ids).into_iter().map(|id| (space, id.into_owned())).collect(),
        None if ids.is_empty() => Vec::new(),
        None => return Err(Unreadable::Id),
    };
    Ok(Written { body: body.clone(), shape: Arc::clone(&plan.shape), masked_drop: plan.masked_drop, limits: *limits, references })
}

impl Written {
    /// The customers that the body names, each once. They must be compared with the customer judged before [`Written::judge`].
    #[must_use]
    pub fn references(&self) -> Vec<(Space, String)> {
        self.references.clone()
    }

    /// Judges the write member by member. `verdicts`: for `update` or `create`; `readable`: for `read`, of the same customer;
    /// `replace`: a PUT that is sent as PUT, which wipes what it does not name.
    ///
    /// # Errors
    /// [`WriteRefused`] with everything that refuses it.
    pub fn judge(&self, verdicts: &Verdicts, readable: &Verdicts, replace: bool) -> Result<Writable, WriteRefused> {
        if replace {
            refuse_unless_all(&self.shape, verdicts, true)?;
        }
        let patterns = patterns(&self.shape);
        // It was read before by the same rules.
        let unreadable = |_read_before| WriteRefused { paths: Vec::new(), masked: false };
        let tape = parse(&self.body, &self.limits, Sender::Caller).map_err(unreadable)?;
        let root = tape.root().map_err(unreadable)?;
        let mut walk = Walk {
            verdicts,
            readable,
            may_drop: self.masked_drop && !replace,
            trail: Trail::default(),
            forbidden: BTreeSet::new(),
            masked: BTreeSet::new(),
            open: BTreeSet::new(),
            permitted: false,
            dropped: false,
        };
        if self.references.len() > 1 {
            walk.forbidden.extend(self.shape.customer.iter().map(PathPattern::to_string));
        }
        let references: Vec<_> = self.shape.customer.iter().map(|path| Pattern { steps: path.0.as_slice().into(), rule: () }).collect();
        let mut out = String::with_capacity(self.body.len());
        walk.members(
            root,
            &Here { alive: &patterns.iter().collect::<Vec<_>>(), references: &references.iter().collect::<Vec<_>>(), depth: 0 },
            &mut out,
        );
        if !walk.permitted {
            walk.forbidden.append(&mut walk.open);
        }
        let refused = |paths: BTreeSet<String>, masked| Err(WriteRefused { paths: paths.into_iter().collect(), masked });
        if !walk.forbidden.is_empty() {
            return refused(walk.forbidden, false);
        }
        if !walk.masked.is_empty() {
            return refused(walk.masked, true);
        }
        Ok(Writable(if walk.dropped { Bytes::from(out) } else { self.body.clone() }))
    }
}

impl Writable {
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

#[derive(Clone, Copy)]
struct Here<'h, 'p> {
    alive: &'h [&'h Pattern<'p, Rule>],
    references: &'h [&'h Pattern<'p, ()>],
    depth: usize,
}

struct Walk<'w, 't> {
    verdicts: &'w Verdicts,
    readable: &'w Verdicts,
    may_drop: bool,
    trail: Trail<'t>,
    forbidden: BTreeSet<String>,
    masked: BTreeSet<String>,
    /// Members without customer data: written only along with something permitted.
    open: BTreeSet<String>,
    permitted: bool,
    dropped: bool,
}

impl<'t> Walk<'_, 't> {
    fn members(&mut self, value: Value<'t>, here: &Here<'_, '_>, out: &mut String) -> bool {
        emit(value, false, out, |place, child, out| {
            let alive = through(here.alive, here.depth, place);
            let references = through(here.references, here.depth, place);
            self.trail.places.push(place);
            let kept = self.value(child, &Here { alive: &alive, references: &references, depth: here.depth + 1 }, out);
            self.trail.places.pop();
            kept
        })
    }

    /// Judges a value and writes it; false when it is left out.
    fn value(&mut self, value: Value<'t>, here: &Here<'_, '_>, out: &mut String) -> bool {
        let is_leaf = !value.is_container() || value.is_void();
        let speaking = speaking(here.alive, here.depth);
        let path = || speaking.map_or_else(|| self.trail.render(), |p| PathPattern(p.steps.to_vec()).to_string());
        match speaking.map(|p| p.rule) {
            Some(Rule::Embed(_) | Rule::Unasked) => {
                let path = path();
                self.forbidden.insert(path);
            }
            Some(Rule::Open) if is_leaf => {
                if !here.references.iter().any(|p| p.names(here.depth)) {
                    let path = path();
                    self.open.insert(path);
                }
            }
            Some(Rule::Category { category, on_deny }) if is_leaf => {
                if self.comes_back_masked(value, category, on_deny) {
                    if self.may_drop && matches!(self.trail.places.last(), Some(Place::Member(_))) {
                        self.dropped = true;
                        return false;
                    }
                    let path = path();
                    self.masked.insert(path);
                } else if self.verdicts.release(category) == Release::Full {
                    self.permitted = true;
                } else {
                    let path = path();
                    self.forbidden.insert(path);
                }
            }
            None if value.is_void() && !here.alive.is_empty() => self.void(here),
            Some(Rule::Open | Rule::Category { .. }) | None => {
                if is_leaf || !here.alive.iter().any(|p| p.leads_deeper(here.depth)) {
                    self.forbidden.insert(self.trail.render());
                    return false;
                }
                let kept = self.members(value, here, out);
                if !kept {
                    // Everything in it was left out: what remains would overwrite the object with nothing.
                    self.masked.insert(self.trail.render());
                }
                return kept;
            }
        }
        out.push_str(value.raw());
        true
    }

    /// `null`, `{}` or `[]` in the place of an object: wipes all that is mapped below.
    fn void(&mut self, here: &Here<'_, '_>) {
        for pattern in here.alive {
            let path = PathPattern(pattern.steps.to_vec()).to_string();
            match pattern.rule {
                Rule::Category { category, .. } if self.verdicts.release(category) == Release::Full => self.permitted = true,
                Rule::Category { .. } | Rule::Embed(_) | Rule::Unasked => {
                    self.forbidden.insert(path);
                }
                Rule::Open => {
                    self.open.insert(path);
                }
            }
        }
    }

    /// Whether the value is what the caller was shown in the place of one that was withheld.
    fn comes_back_masked(&self, value: Value<'_>, category: Category, on_deny: OnDeny) -> bool {
        let readable = self.readable.release(category) == Release::Full;
        match on_deny {
            OnDeny::Mask(mask) => value.text().is_some_and(|text| is_masked_form(mask, &text, !readable)),
            OnDeny::Null => value.is_null() && !readable,
            OnDeny::Remove | OnDeny::Error => false,
        }
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
        write!(f, "Written({} bytes, shape {})", self.body.len(), self.shape.name)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writable({} bytes)", self.0.len())
    }
}
