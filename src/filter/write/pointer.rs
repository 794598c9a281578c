//! JSON pointers (RFC 6901, <https://www.rfc-editor.org/rfc/rfc6901>), strictly, and the places of a shape to which they lead.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::patch::PatchError;
use super::walk::{Reference, is_trap};
use crate::filter::compiled::Rule;
use crate::filter::path::{Pattern, Place, through};
use crate::model::{PathPattern, Step};

/// The names and positions of a pointer, unescaped; at least one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pointer(pub(super) Vec<String>);

impl Pointer {
    pub(super) fn parse(text: &str, depth_max: u16) -> Result<Self, PatchError> {
        let rest = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text.is_empty() => return Err(PatchError::Whole),
            None => return Err(PatchError::Pointer),
        };
        let tokens: Vec<String> = rest.split('/').map(unescape).collect::<Option<_>>().ok_or(PatchError::Pointer)?;
        if tokens.len() >= usize::from(depth_max) || tokens.iter().any(|token| token.contains('\0')) {
            return Err(PatchError::Pointer);
        }
        Ok(Self(tokens))
    }

    pub(super) fn is_end_of_list(&self) -> bool {
        self.0.last().is_some_and(|token| token == "-")
    }

    /// A number for each place that the pointer leads through, itself the last. Two places may have one, so equal ones only say
    /// that they may be the same.
    pub(super) fn hashes(&self) -> Vec<u64> {
        let mut hasher = DefaultHasher::new();
        let after = |token: &String| {
            token.hash(&mut hasher);
            hasher.finish()
        };
        self.0.iter().map(after).collect()
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|token| f.write_str(&escaped(token)))
    }
}

fn escaped(token: &str) -> String {
    format!("/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// `~0` is `~` and `~1` is `/`; no other `~`.
fn unescape(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (escaped, rest) = if let Some(rest) = piece.strip_prefix('0') { ('~', rest) } else { ('/', piece.strip_prefix('1')?) };
        text.push(escaped);
        text.push_str(rest);
    }
    Some(text)
}

pub(super) fn name(token: &str) -> &str {
    token
}

/// A position: `-`, or digits without a zero before them.
fn is_position(token: &str) -> bool {
    token == "-" || (token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0')) && !token.is_empty())
}

/// Where a pointer leads, by the shape: what the record holds there is not known here.
#[derive(Debug)]
pub(super) struct Spot<'c, 'p, 't> {
    /// The paths that lead there; none: no path of the shape does, or frameworks take the name for something else.
    pub(super) alive: Vec<&'c Pattern<'p, Rule>>,
    pub(super) references: Vec<&'c Pattern<'p, Reference>>,
    pub(super) depth: usize,
    pub(super) places: Vec<Place<'t>>,
    /// The last step is a position in a list of which each one means something else.
    pub(super) is_positional: bool,
}

impl<'c, 'p, 't> Spot<'c, 'p, 't> {
    /// `None`: a name stands where the shape has a list.
    pub(super) fn find(pointer: &'t Pointer, alive: &[&'c Pattern<'p, Rule>], references: &[&'c Pattern<'p, Reference>]) -> Option<Self> {
        let mut spot = Self { alive: alive.to_vec(), references: references.to_vec(), depth: 0, places: Vec::new(), is_positional: false };
        pointer.0.iter().all(|token| spot.step(token)).then_some(spot)
    }

    fn step(&mut self, token: &'t str) -> bool {
        let depth = self.depth;
        let is_item = |step: Option<&Step>| matches!(step, Some(Step::Items | Step::Index(_)));
        let is_list = self.alive.iter().any(|p| is_item(p.steps.get(depth))) || self.references.iter().any(|p| is_item(p.steps.get(depth)));
        let says = |step: Option<&Step>| matches!(step, Some(Step::Member(name)) if name == token);
        let is_declared = self.alive.iter().any(|p| says(p.steps.get(depth)));
        let is_trapped = is_trap(token, &self.alive, depth);
        self.is_positional = self.alive.iter().any(|p| p.is_positional(depth));
        // What stands beyond the end is no position of its own.
        let place = if is_list { Place::Item(token.parse().unwrap_or(usize::MAX)) } else { Place::Member(name(token)) };
        self.alive = through(&self.alive, depth, place);
        self.references = through(&self.references, depth, place);
        if (is_list && is_declared) || is_trapped {
            self.alive.clear();
        }
        self.places.push(place);
        self.depth += 1;
        !is_list || is_position(token)
    }

    pub(super) fn is_in_list(&self) -> bool {
        matches!(self.places.last(), Some(Place::Item(_)))
    }

    pub(super) fn leads_through_list(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Item(_)))
    }
}

/// How a pointer lies to the place of a customer's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Towards<'p> {
    Apart,
    /// It is the id.
    At,
    /// The id stands below it, by these steps.
    Above(&'p [Step]),
    /// It leads into the object, or the element of a list, that belongs to this customer.
    Within,
}

impl Pointer {
    pub(super) fn towards<'p>(&self, path: &'p PathPattern) -> Towards<'p> {
        let fits = |(step, token): &(&Step, &String)| match step {
            Step::Member(name) => name == *token,
            Step::Items => is_position(token),
            Step::Index(index) => *token == "-" || *token == &index.to_string(),
            Step::Rest => false,
        };
        let common = path.0.iter().zip(&self.0).take_while(fits).count();
        if common == self.0.len() {
            let rest = path.0.get(common..).unwrap_or_default();
            return if rest.is_empty() { Towards::At } else { Towards::Above(rest) };
        }
        let around = match path.0.iter().rposition(|step| *step == Step::Items) {
            Some(last) => last + 1,
            None => path.0.len().saturating_sub(1),
        };
        // An id at the top of the object has nothing of its own around it.
        if around > 0 && common >= around { Towards::Within } else { Towards::Apart }
    }
}
