//! Names of things that a file declares (purposes, categories, departments, …), interned: `Copy`, compared by address,
//! shown as text without a look-up. The pool only grows by what configuration and policies declare; text that comes with
//! a request is looked up with [`Name::known`] and never added.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, PoisonError, RwLock};

static POOL: LazyLock<RwLock<HashSet<&'static str>>> = LazyLock::new(RwLock::default);

/// An interned text. Equal texts are the same address.
#[derive(Clone, Copy)]
pub struct Name(&'static str);

impl Name {
    /// The name for a text that a configuration or policy file declares; adds it to the pool when it is new.
    #[must_use]
    pub fn intern(text: &str) -> Self {
        if let Some(name) = Self::known(text) {
            return name;
        }
        let mut pool = POOL.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have added it between the two locks.
        if let Some(found) = pool.get(text) {
            return Self(found);
        }
        let leaked: &'static str = Box::leak(text.to_owned().into_boxed_str());
        pool.insert(leaked);
        Self(leaked)
    }

    /// The name for a text that arrived from outside, if any file ever declared it.
    #[must_use]
    pub fn known(text: &str) -> Option<Self> {
        let pool = POOL.read().unwrap_or_else(PoisonError::into_inner);
        pool.get(text).map(|found| Self(found))
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0.as_ptr(), other.0.as_ptr()) && self.0.len() == other.0.len()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(other.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $kind(pub Name);

        impl $kind {
            /// The name for a text that a configuration or policy file declares.
            #[must_use]
            pub fn intern(text: &str) -> Self {
                Self(Name::intern(text))
            }

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    )*};
}

names! {
    /// What an agent may be sent to do, e.g. `prepare-call`.
    Task;
    /// What an agent runs on, e.g. `house-llm-3`.
    Model;
    /// What data is used for, e.g. `marketing.email`; a node of the purpose DAG.
    Purpose;
    /// A category of customer data, e.g. `contact`: what ownership and verdicts are about.
    Category;
    /// A department, e.g. `sales`.
    Department;
    /// An organisational role, e.g. `neutral-steward`.
    Role;
    /// A registered application or agent of the catalogue, e.g. `crm`.
    Client;
    /// An id space, e.g. `salesforce`: one system's ids with one grammar.
    Space;
    /// The `@id` of a Cedar policy or the id of a template link.
    PolicyName;
    /// The id of a processing activity, e.g. `sales-outreach`.
    ActivityKey;
    /// An `[[api]]`.
    ApiName;
    /// `METHOD /template` of a route, unique within its API.
    RouteKey;
    /// A `[shape.NAME]`.
    ShapeName;
    /// An `[upstream.NAME]`.
    UpstreamName;
    /// An `[[issuer]]`.
    IssuerName;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_name_and_request_text_is_never_added() {
        let a = Name::intern("marketing.email");
        assert_eq!(a, Name::intern(&String::from("marketing.email")));
        assert_eq!(Some(a), Name::known("marketing.email"));
        assert_eq!(None, Name::known("never declared by any file"));
        assert_eq!(None, Name::known("never declared by any file"));
        assert_ne!(a, Name::intern("marketing"));
    }
}
