//! What was decided about a body, for the decision log, the `Consentry-Withheld` header and the drift report. Paths and
//! numbers only, never values.

use std::sync::Arc;

use crate::model::{PartyNo, Verdicts};

/// What a cut did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows released; a single object counts as one.
    pub rows: u32,
    /// Rows of the upstream's answer that are not in ours.
    pub dropped: u32,
    /// Every customer that was judged, by outcome.
    pub groups: Vec<Group>,
    /// Paths of the shape that the verdicts withheld from what was released (or from the object that was denied), sorted.
    pub withheld: Vec<String>,
    /// Members of the body that no shape knows: bounded, names that look like data are shown as `*`.
    pub drift: Vec<String>,
    /// A count or link was left out.
    pub counts_removed: bool,
    /// A count was set to the number of released rows.
    pub counts_corrected: bool,
}

/// Customers with the same outcome on the same grounds.
#[derive(Clone, Debug)]
pub struct Group {
    /// Sorted, each once.
    pub parties: Vec<PartyNo>,
    /// How many ids that are not in the crosswalk shared this outcome.
    pub unknown: u32,
    pub released: bool,
    pub verdicts: Arc<Verdicts>,
}
