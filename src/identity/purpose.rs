//! What the data is asked for: one purpose a request, out of what registration, token and route leave over. The header
//! only picks; it is never believed beyond that (security.md rows 65 and 66).

use http::HeaderValue;

use super::{Principal, PurposeError};
use crate::model::{Purpose, Vocabulary};

/// What the route says about purposes.
#[derive(Clone, Copy, Debug)]
pub enum PurposeRule<'a> {
    /// Any purpose of the principal.
    Any,
    /// Only these.
    Allow(&'a [Purpose]),
    /// Always this one, for apps that cannot name a purpose; it must be the principal's all the same.
    Fixed(Purpose),
}

/// Settles the purpose of one request. `values` are all values of the request's `Data-Purpose` headers. A value is
/// compared byte by byte: no trimming, no case folding, no lists.
///
/// # Errors
/// [`PurposeError`], which names the problem code.
pub fn choose_purpose<'h>(
    principal: &Principal,
    values: impl IntoIterator<Item = &'h HeaderValue>,
    rule: PurposeRule<'_>,
    vocabulary: &Vocabulary,
) -> Result<Purpose, PurposeError> {
    choose(principal.purposes(), values, rule, vocabulary)
}

fn choose<'h>(
    registered: &[Purpose],
    values: impl IntoIterator<Item = &'h HeaderValue>,
    rule: PurposeRule<'_>,
    vocabulary: &Vocabulary,
) -> Result<Purpose, PurposeError> {
    let mut values = values.into_iter();
    let named = values.next();
    if values.next().is_some() {
        return Err(PurposeError::Ambiguous);
    }
    let mut left = registered.iter().copied().filter(|purpose| match rule {
        PurposeRule::Any => true,
        PurposeRule::Allow(allowed) => allowed.contains(purpose),
        PurposeRule::Fixed(fixed) => *purpose == fixed,
    });
    if let Some(named) = named {
        let text = named.to_str().map_err(|_not_ascii| PurposeError::NotRegistered)?;
        let purpose = vocabulary.purpose(text).ok_or(PurposeError::NotRegistered)?;
        return left.find(|allowed| *allowed == purpose).ok_or(PurposeError::NotRegistered);
    }
    match (left.next(), left.next(), rule) {
        (Some(only), None, _) => Ok(only),
        (None, _, PurposeRule::Fixed(_)) => Err(PurposeError::NotRegistered),
        _ => Err(PurposeError::Missing),
    }
}
