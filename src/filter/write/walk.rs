//! The walk through written values: what each member needs, what a masked value that comes back does, and what a value wipes
//! that takes the place of others.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::WriteRefused;
use crate::filter::compiled::Rule;
use crate::filter::json::{Kind, Value};
use crate::filter::mask::is_masked_form;
use crate::filter::path::{Pattern, Place, Trail, emit, speaking, through};
use crate::model::{Category, OnDeny, PathPattern, Release, Step, Verdicts};

/// What a write does to the record that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// There is none yet.
    New,
    /// Members that are not written stay as they are.
    Change,
    /// A PUT that is sent as PUT: it wipes what it does not name.
    Replace,
}

/// Paths through the shape that have led to a value.
#[derive(Clone, Copy)]
pub(super) struct Here<'h, 'p> {
    pub(super) alive: &'h [&'h Pattern<'p, Rule>],
    pub(super) references: &'h [&'h Pattern<'p, Reference>],
    pub(super) depth: usize,
}

/// A customer's id in the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    /// Whoever stands there is whose record it is.
    pub(super) moves: bool,
}

pub(super) struct Walk<'w, 't> {
    pub(super) verdicts: &'w Verdicts,
    pub(super) readable: &'w Verdicts,
    pub(super) effect: Effect,
    pub(super) may_drop: bool,
    /// Of a form: a member that was not shown comes back as an empty text.
    pub(super) has_no_null: bool,
    pub(super) trail: Trail<'t>,
    pub(super) forbidden: BTreeSet<String>,
    pub(super) masked: BTreeSet<String>,
    /// Members without customer data: written only along with something permitted.
    pub(super) open: BTreeSet<String>,
    pub(super) permitted: bool,
    /// The values without members that were met so far, and the numbers of those that were left out.
    leaves: usize,
    pub(super) left_out: Vec<usize>,
}

impl<'w, 't> Walk<'w, 't> {
    pub(super) fn new(verdicts: &'w Verdicts, readable: &'w Verdicts, effect: Effect) -> Self {
        Self {
            verdicts,
            readable,
            effect,
            may_drop: false,
            has_no_null: false,
            trail: Trail::default(),
            forbidden: BTreeSet::new(),
            masked: BTreeSet::new(),
            open: BTreeSet::new(),
            permitted: false,
            leaves: 0,
            left_out: Vec::new(),
        }
    }

    /// # Errors
    /// Everything that refuses the write.
    pub(super) fn finish(mut self) -> Result<Vec<usize>, WriteRefused> {
        if !self.permitted {
            self.forbidden.append(&mut self.open);
        }
        let refused = |paths: BTreeSet<String>, masked| Err(WriteRefused { paths: paths.into_iter().collect(), masked });
        if !self.forbidden.is_empty() {
            return refused(self.forbidden, false);
        }
        if !self.masked.is_empty() {
            return refused(self.masked, true);
        }
        Ok(self.left_out)
    }

    pub(super) fn members(&mut self, value: Value<'t>, here: &Here<'_, '_>, out: &mut String) -> bool {
        emit(value, false, out, |place, child, out| {
            self.trail.places.push(place);
            let kept = if matches!(place, Place::Member(name) if is_trap(name, here.alive, here.depth)) {
                self.forbidden.insert(self.trail.render());
                false
            } else {
                let alive = through(here.alive, here.depth, place);
                let references = through(here.references, here.depth, place);
                self.value(child, &Here { alive: &alive, references: &references, depth: here.depth + 1 }, out)
            };
            self.trail.places.pop();
            kept
        })
    }

    /// Judges a value and writes it; false when it is left out.
    pub(super) fn value(&mut self, value: Value<'t>, here: &Here<'_, '_>, out: &mut String) -> bool {
        let is_leaf = !value.is_container() || value.is_void();
        self.leaves += usize::from(is_leaf);
        let speaking = speaking(here.alive, here.depth);
        let path = || speaking.map_or_else(|| self.trail.render(), shown);
        match speaking.map(|p| p.rule) {
            // A link is the gateway's: the upstream has no use for it.
            Some(Rule::Embed(_) | Rule::Link | Rule::Unasked) => {
                let path = path();
                self.forbidden.insert(path);
            }
            Some(Rule::Open) if is_leaf => {
                if !here.references.iter().any(|p| p.names(here.depth)) {
                    let path = path();
                    self.open.insert(path);
                }
                self.buries(here, speaking);
            }
            Some(Rule::Category { category, on_deny }) if is_leaf => {
                if self.comes_back_masked(value, category, on_deny) {
                    if self.may_drop && self.may_stay_as_it_is() {
                        self.left_out.push(self.leaves - 1);
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
                self.buries(here, speaking);
            }
            None if value.is_void() && !here.alive.is_empty() => self.wipes(here, None),
            Some(Rule::Open | Rule::Category { .. } | Rule::Unmapped | Rule::Hidden | Rule::Read) | None => {
                if is_leaf || !here.alive.iter().any(|p| p.leads_deeper(here.depth)) {
                    self.forbidden.insert(self.trail.render());
                    return false;
                }
                if value.kind() == Kind::Array && self.effect == Effect::Change {
                    self.replaces(here);
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

    /// A value without members stands where one with members could stand.
    fn buries(&mut self, here: &Here<'_, '_>, speaking: Option<&Pattern<'_, Rule>>) {
        if self.effect != Effect::New {
            self.wipes(here, speaking);
        }
    }

    /// All that is mapped below a place goes, and the customer's id must not go along. `judged`: what was judged by itself.
    pub(super) fn wipes(&mut self, here: &Here<'_, '_>, judged: Option<&Pattern<'_, Rule>>) {
        let is_judged = |pattern: &Pattern<'_, Rule>| judged.is_some_and(|judged| std::ptr::eq(judged, pattern));
        for pattern in below(here.alive, here.depth).into_iter().filter(|p| !is_judged(p)) {
            match pattern.rule {
                Rule::Category { category, .. } if self.verdicts.release(category) == Release::Full => self.permitted = true,
                Rule::Category { .. } | Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => {
                    self.forbidden.insert(shown(pattern));
                }
                Rule::Open => {
                    self.open.insert(shown(pattern));
                }
            }
        }
        if self.effect != Effect::New {
            let lost = here.references.iter().filter(|p| p.rule.moves && p.steps.len() > here.depth && !p.steps.contains(&Step::Items));
            self.forbidden.extend(lost.map(|p| shown(p)));
        }
    }

    /// A list, or an object in a JSON patch, takes the place of the one that is there: members that it does not name are gone.
    pub(super) fn replaces(&mut self, here: &Here<'_, '_>) {
        let lost = below(here.alive, here.depth).into_iter().filter(|pattern| match pattern.rule {
            Rule::Category { category, .. } => self.verdicts.release(category) != Release::Full,
            Rule::Embed(_) | Rule::Link | Rule::Unasked | Rule::Unmapped | Rule::Hidden | Rule::Read => true,
            Rule::Open => false,
        });
        self.masked.extend(lost.map(shown));
    }

    /// Whether the value is what the caller was shown in the place of one that was withheld.
    pub(super) fn comes_back_masked(&self, value: Value<'_>, category: Category, on_deny: OnDeny) -> bool {
        let readable = self.readable.release(category) == Release::Full;
        let is_blank = || value.text().is_some_and(|text| text.is_empty());
        if self.has_no_null && !readable && self.effect != Effect::New && is_blank() {
            return true;
        }
        match on_deny {
            OnDeny::Mask(mask) => value.text().is_some_and(|text| is_masked_form(mask, &text, !readable)),
            OnDeny::Null => value.is_null() && !readable,
            OnDeny::Remove | OnDeny::Error => false,
        }
    }

    /// Whether leaving the member out leaves the one upstream alone: a list would be stored without it.
    fn may_stay_as_it_is(&self) -> bool {
        self.trail.places.iter().all(|place| matches!(place, Place::Member(_)))
    }
}

/// A member that some frameworks take for something else than its name says, also in a body: for the method, the character set, the
/// class of the record, or for another member, by folding letter case (`**` names `Salary`, and `salary` has a category of its own) or
/// by reading a path (`pay.salary`).
pub(super) fn is_trap<R>(name: &str, alive: &[&Pattern<'_, R>], depth: usize) -> bool {
    if depth == 0 && OVERRIDES.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return true;
    }
    let mut declared = alive.iter().filter_map(|p| if let Some(Step::Member(known)) = p.steps.get(depth) { Some(known.as_str()) } else { None });
    if declared.clone().any(|known| known == name) {
        return false;
    }
    let head = name.split(['.', '[']).next().unwrap_or(name);
    let folds = |known: &str| known.eq_ignore_ascii_case(head) || (!head.is_ascii() && folded(known) == folded(head));
    CLASSES.contains(&name) || declared.any(folds)
}

/// A name without letter case: readers compare by small letters or by capitals, and some letters have only one of them.
pub(super) fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

const OVERRIDES: [&str; 5] = ["_method", "_charset_", "x-http-method", "x-http-method-override", "x-method-override"];
const CLASSES: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// The patterns that would speak for places below `depth`: those that name such a place, and of those that cover them all the best.
pub(super) fn below<'c, 'p, R>(alive: &[&'c Pattern<'p, R>], depth: usize) -> Vec<&'c Pattern<'p, R>> {
    let is_rest = |p: &Pattern<'p, R>| p.steps.last() == Some(&Step::Rest);
    let fixed = |p: &Pattern<'p, R>| p.steps.len() - usize::from(is_rest(p));
    let (mut found, above): (Vec<_>, Vec<_>) = alive.iter().copied().partition(|p| fixed(p) > depth);
    let covering = above.into_iter().filter(|p| is_rest(p));
    found.extend(covering.reduce(|best, next| if fixed(next).cmp(&fixed(best)) == Ordering::Greater { next } else { best }));
    found
}

pub(super) fn shown<R>(pattern: &Pattern<'_, R>) -> String {
    PathPattern(pattern.steps.to_vec()).to_string()
}
