//! The compiled snapshot: decisions without Cedar at run time, the same as Cedar's.
//!
//! For a slice (principal, action, category) Cedar evaluates every part of a condition that reads one fact, once for each
//! value of that fact: all are closed sets, taken from the vocabulary and the model. Numbers and times are cut at the constants of
//! the policies. What remains is bits ([`code`]).
//!
//! INVARIANT: whatever would err, or is not understood, goes to plain Cedar over the slice. The compiled form never says
//! what an error is, and a question that meets no such part has the decision and the reasons that Cedar gives.
//!
//! Slices are compiled when they are first needed. Parts are evaluated once for all slices that cannot tell them
//! apart, and equal tables are one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::rules::Rule;

mod classes;
mod code;
mod cover;
mod facts;
mod lower;
mod samples;
#[cfg(test)]
mod tests;

pub(super) use classes::Named;
pub(super) use code::{Answer, Code, Found};
pub(super) use facts::{ByName, EMERGENCY, Example, Index, Seen};
pub(super) use lower::{Lowered, Setting};
pub(super) use samples::{Sample, samples};

/// What slices share, by what of a slice it depends on.
#[derive(Debug, Default)]
struct Shared {
    parts: lower::Parts,
    rules: lower::ByPlace<usize, Lowered>,
    codes: HashSet<Arc<Code>>,
}

#[derive(Debug, Default)]
pub(super) struct Compiler(Mutex<Shared>);

impl Compiler {
    /// The code of a slice with these rules, by their positions.
    pub(super) fn compile<'r>(&self, setting: &Setting<'_>, rules: impl Iterator<Item = (usize, &'r Rule)>) -> Arc<Code> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Shared { parts, rules: known, codes } = &mut *shared;
        let lowered: Vec<(&Rule, Arc<Lowered>)> = rules
            .map(|(at, rule)| {
                let place = setting.place(&rule.reads);
                let lowered = known.at(place).entry((at, place)).or_insert_with(|| Arc::new(setting.lower(rule, parts)));
                (rule, Arc::clone(lowered))
            })
            .collect();
        parts.forget_own();
        known.forget_own();
        let rules: Vec<_> = lowered.iter().map(|(rule, lowered)| (rule.name, rule.effect, &**lowered)).collect();
        let code = Arc::new(Code::new(setting.index, &rules));
        if let Some(equal) = codes.get(&code) {
            return Arc::clone(equal);
        }
        codes.insert(Arc::clone(&code));
        code
    }
}
