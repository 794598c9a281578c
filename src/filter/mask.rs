//! Masked forms.

/// Every pseudonym starts so; a write that brings one back is recognised by it.
pub const PSEUDONYM_PREFIX: &str = "psn_";
