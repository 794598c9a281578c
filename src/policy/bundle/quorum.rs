//! Whether enough people of the right departments have signed: what a change needs follows from its difference, who signed
//! from the signatures.
//!
//! INVARIANT: the author's signature shows that the change is the author's, and counts for nothing else. A department counts
//! once, however many of its people signed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Bundle, BundleError, NAMESPACE, Signature, Signers};
use crate::model::{Department, Name, Vocabulary};

/// What a change needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Each must approve.
    pub departments: BTreeSet<Department>,
    /// Nothing opens: one approver of any department is enough.
    pub only_narrows: bool,
}

/// Whose signatures hold for a bundle.
#[derive(Clone, Debug, Default)]
pub struct Approvals {
    pub author_signed: bool,
    /// `name@department` by department, without the author.
    pub by: BTreeMap<Department, BTreeSet<String>>,
    pub ignored: Vec<Ignored>,
}

/// A signature that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub fingerprint: String,
    pub why: &'static str,
}

/// What is still missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The author's own signature.
    pub author: bool,
    pub departments: Vec<Department>,
    /// Further departments, whichever.
    pub more: usize,
}

impl Missing {
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.author.then(|| "the author".to_owned()));
        parts.extend(self.departments.iter().map(|department| format!("somebody of {department}")));
        match self.more {
            0 => {}
            1 => parts.push("one more department".to_owned()),
            more => parts.push(format!("{more} more departments")),
        }
        f.write_str(&if parts.is_empty() { "nobody".to_owned() } else { parts.join(", ") })
    }
}

impl Approvals {
    /// Judges signatures over a bundle. A signer's department stands in the bundle's own catalogue, or is one that must approve: of
    /// what is taken away, the owner so far. So that what counts at an activation counts at each start.
    ///
    /// # Errors
    /// When the text is no list of signatures.
    pub fn of(bundle: &Bundle, signatures: &str, signers: &Signers, now: Timestamp, next: &Vocabulary, need: &Need) -> Result<Self, BundleError> {
        let mut found = Self::default();
        let is_known = |department: &Department| next.departments.contains_key(department) || need.departments.contains(department);
        for signature in Signature::read_all(signatures)? {
            if let Err(why) = found.take(bundle, &signature, signers, now, &is_known) {
                found.ignored.push(Ignored { fingerprint: signature.key.fingerprint(), why });
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        bundle: &Bundle,
        signature: &Signature,
        signers: &Signers,
        now: Timestamp,
        is_known: &dyn Fn(&Department) -> bool,
    ) -> Result<(), &'static str> {
        let signer = signers.of(&signature.key).ok_or("the key is not among the allowed signers")?;
        if let Some(why) = signer.refusal(now) {
            return Err(why);
        }
        if !signature.verifies(bundle.bytes(), NAMESPACE) {
            return Err("it is not of this bundle");
        }
        if signer.who == bundle.manifest.author {
            self.author_signed = true;
            return Ok(());
        }
        let department = Name::known(&signer.department).map(Department);
        let department = department.filter(is_known).ok_or("the signer's department is not in the catalogue")?;
        self.by.entry(department).or_default().insert(signer.who.clone());
        Ok(())
    }

    /// What is missing. `departments_min`: how many departments approve what opens something.
    #[must_use]
    pub fn missing(&self, need: &Need, departments_min: usize) -> Missing {
        let author = !self.author_signed;
        if need.only_narrows {
            return Missing { author, departments: Vec::new(), more: usize::from(self.by.is_empty()) };
        }
        let departments: Vec<Department> = need.departments.iter().copied().filter(|department| !self.by.contains_key(department)).collect();
        let will_be = self.by.len() + departments.len();
        Missing { author, more: departments_min.max(1).saturating_sub(will_be), departments }
    }
}
