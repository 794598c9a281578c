//! **Permitted**: the value without which nothing is forwarded. Its fields are private to this file, so every permit was
//! made here from verdicts, and [`super::forward::forward`] takes nothing else.

use std::sync::Arc;

use super::judge::{About, Asked, verdicts};
use super::pipeline::Halt;
use super::problem::{Code, Details, Problem};
use super::route::Routed;
use crate::audit::{Group, Outcome};
use crate::filter::Writable;
use crate::model::{Action, Category, Field, FieldRule, OnDeny, Release, Shape, Verdicts};
use crate::policy::{Decided, Policies};

/// A request that may be sent to its upstream.
#[derive(Debug)]
pub struct Permitted {
    action: Action,
}

/// The request-level answer: some customer's data could be permitted to this caller for this purpose. Says nothing about
/// any one customer, and is computed before an id is looked at.
#[derive(Debug)]
pub struct Entitled(());

/// Leave to read, unreleased, whose record a write is about.
#[derive(Debug)]
pub struct Lookup(());

impl Permitted {
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// A read about one known customer: at least one category of the shape may go out, and all in `needs`.
    pub(super) fn of_party(_entitled: &Entitled, asked: &Asked, shape: &Shape, verdicts: &Verdicts) -> Option<Self> {
        let some = shape.categories().into_iter().any(|c| verdicts.release(c) != Release::Withheld);
        let all = shape.needs.iter().all(|c| verdicts.release(*c) == Release::Full);
        (some && all).then_some(Self { action: asked.action })
    }

    /// A read whose customers stand in the answer: each row is judged before it is released.
    pub(super) fn of_answer(_entitled: &Entitled, asked: &Asked) -> Self {
        Self { action: asked.action }
    }

    /// A write of which every member was judged for its customer, old and new.
    pub(super) fn of_write(_entitled: &Entitled, asked: &Asked, _judged: &Writable) -> Self {
        Self { action: asked.action }
    }

    /// A deletion: every category of the shape must permit it.
    pub(super) fn of_deletion(_entitled: &Entitled, asked: &Asked, shape: &Shape, verdicts: &Verdicts) -> Option<Self> {
        crate::filter::judge_delete(shape, verdicts).ok().map(|()| Self { action: asked.action })
    }

    /// A route declared free of customer data, which the policies allow.
    pub(super) fn of_no_customer(asked: &Asked, decided: &Decided<'_>) -> Option<Self> {
        decided.allow().then_some(Self { action: asked.action })
    }
}

impl Entitled {
    pub(super) fn look_up(&self) -> Lookup {
        Lookup(())
    }
}

/// Whether any consent of any customer could permit this caller a category of the shape.
///
/// # Errors
/// `not-entitled`, naming categories, purpose and whom to ask: it is the same for every customer.
pub(super) fn entitle(routed: &Routed, shape: &Shape) -> Result<Entitled, Halt> {
    let (policies, asked) = (&routed.snapshot.policies, &routed.asked);
    let mut categories = judged_apart(shape);
    if categories.iter().any(|(c, with_mask)| asked.could_permit(policies, *c, *with_mask)) {
        return Ok(Entitled(()));
    }
    categories.sort();
    let vocabulary = policies.vocabulary();
    let owners = categories.iter().filter_map(|(c, _)| vocabulary.categories.get(c)).map(|info| info.owner.as_str());
    let owners: Vec<&str> = owners.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let details = Details {
        categories: categories.iter().map(|(c, _)| c.to_string()).collect(),
        purpose: Some(asked.purpose.to_string()),
        remedy: Some(format!("no consent changes this: use another purpose, or ask the owner ({}) for a policy", owners.join(", "))),
        ..Details::default()
    };
    Err(Halt::refuse_groups(&routed.facts, Problem::with(Code::NotEntitled, details), nobody(policies, asked, &categories)))
}

/// Who may never see a category may not filter or sort by it, whoever the rows are about.
///
/// # Errors
/// `field-not-permitted`, naming the shape's paths of these categories: it is the same for every customer.
pub(super) fn selectable(routed: &Routed, shape: &Shape) -> Result<(), Halt> {
    let never = |c: &Category| !routed.asked.could_permit(&routed.snapshot.policies, *c, false);
    let refused: Vec<(Category, bool)> = routed.selected_by.iter().copied().filter(never).map(|c| (c, false)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    let problem = not_selectable(shape, &refused.iter().map(|(category, _)| *category).collect::<Vec<_>>());
    Err(Halt::refuse_groups(&routed.facts, problem, nobody(&routed.snapshot.policies, &routed.asked, &refused)))
}

/// `field-not-permitted`, naming the shape's paths of these categories.
pub(super) fn not_selectable(shape: &Shape, refused: &[Category]) -> Problem {
    let is_refused = |field: &&Field| matches!(&field.rule, FieldRule::Category { category, .. } if refused.contains(category));
    let fields = shape.fields.iter().filter(is_refused).map(|field| field.path.to_string()).collect();
    Problem::with(Code::FieldNotPermitted, Details { fields, ..Details::default() })
}

/// Why a request is refused whoever it is about. `closed`: categories that no customer's state could open; a replay asks about
/// each of them whether one could.
pub(super) fn nobody(policies: &Policies, asked: &Asked, closed: &[(Category, bool)]) -> Vec<Group> {
    if closed.is_empty() {
        return Vec::new();
    }
    let judged = verdicts(policies, asked, About::Anybody, closed);
    vec![Group { parties: Vec::new(), unknown: 0, outcome: Outcome::Deny, verdicts: Arc::new(judged), facts: None }]
}

/// Whether the shape has a masked form for a category, so that `read-reduced` is worth asking.
pub(super) fn masked(shape: &Shape, category: Category) -> bool {
    shape.fields.iter().any(|field| match field.rule {
        FieldRule::Category { category: c, on_deny: OnDeny::Mask(_) } => c == category,
        FieldRule::Category { .. } | FieldRule::Embed(_) => false,
    })
}

/// Categories of a shape itself, each once, with whether a masked form exists.
fn judged_apart(shape: &Shape) -> Vec<(Category, bool)> {
    let mut found = Vec::new();
    note_categories(shape, &mut found);
    found
}

fn note_categories(shape: &Shape, found: &mut Vec<(Category, bool)>) {
    let of_fields = shape.fields.iter().filter_map(|field| match &field.rule {
        FieldRule::Category { category, on_deny } => Some((*category, matches!(on_deny, OnDeny::Mask(_)))),
        FieldRule::Embed(_) => None,
    });
    for (category, is_masked) in of_fields.chain(shape.also.iter().map(|category| (*category, false))) {
        match found.iter_mut().find(|(known, _)| *known == category) {
            Some((_, mask)) => *mask |= is_masked,
            None => found.push((category, is_masked)),
        }
    }
}

/// Categories of a shape and of all that is embedded in it, with whether a masked form exists.
pub(super) fn categories_with_embedded(shape: &Arc<Shape>, shapes: &crate::model::Shapes) -> Vec<(Category, bool)> {
    let mut found: Vec<(Category, bool)> = Vec::new();
    let mut open = vec![Arc::clone(shape)];
    let mut seen = Vec::new();
    while let Some(shape) = open.pop() {
        if seen.contains(&shape.name) {
            continue;
        }
        seen.push(shape.name);
        note_categories(&shape, &mut found);
        for field in &shape.fields {
            if let FieldRule::Embed(name) = &field.rule
                && let Some(inner) = shapes.get(name)
            {
                open.push(Arc::clone(inner));
            }
        }
    }
    found
}
