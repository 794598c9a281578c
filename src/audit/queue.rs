//! The queue between the gateway and the writer.

use std::fmt;
use std::sync::Arc;

/// `<origin>#<index>` of a head entry: what the caller of the gateway gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DecisionId {
    origin: Arc<str>,
    index: u64,
}

impl DecisionId {
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.origin, self.index)
    }
}
