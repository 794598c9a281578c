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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PurposeInfo;

    fn purposes(names: &[&str]) -> Vec<Purpose> {
        names.iter().map(|name| Purpose::intern(name)).collect()
    }

    fn check(registered: &[&str], headers: &[&[u8]], rule: PurposeRule<'_>) -> Result<&'static str, PurposeError> {
        let known = ["sales", "sales.outreach", "service", "marketing"].map(Purpose::intern);
        let vocabulary = Vocabulary { purposes: known.map(|purpose| (purpose, PurposeInfo::default())).into(), ..Vocabulary::default() };
        let headers: Vec<HeaderValue> = headers.iter().map(|bytes| HeaderValue::from_bytes(bytes).unwrap()).collect();
        choose(&purposes(registered), &headers, rule, &vocabulary).map(Purpose::as_str)
    }

    #[test]
    fn the_header_picks_one_of_what_is_left() {
        use PurposeError::{Ambiguous, Missing, NotRegistered};
        use PurposeRule::{Allow, Any, Fixed};
        let two: &[&str] = &["sales", "service"];
        let marketing = purposes(&["marketing"]);
        let service = purposes(&["service", "marketing"]);
        let fixed = Fixed(Purpose::intern("service"));
        for (case, registered, headers, rule, expected) in [
            ("named", two, &[b"sales" as &[u8]] as &[&[u8]], Any, Ok("sales")),
            ("the only one", &["sales"], &[], Any, Ok("sales")),
            ("the only one that the route leaves", two, &[], Allow(&service), Ok("service")),
            ("named and left by the route", two, &[b"service"], Allow(&service), Ok("service")),
            ("fixed", two, &[], fixed, Ok("service")),
            ("fixed and named", two, &[b"service"], fixed, Ok("service")),
            ("fixed and another named", two, &[b"sales"], fixed, Err(NotRegistered)),
            ("fixed and not registered", &["sales"], &[], fixed, Err(NotRegistered)),
            ("none named of two", two, &[], Any, Err(Missing)),
            ("nothing registered", &[], &[], Any, Err(Missing)),
            ("nothing left by the route", two, &[], Allow(&marketing), Err(Missing)),
            ("nothing registered, but named", &[], &[b"sales"], Any, Err(NotRegistered)),
            ("known but not registered", two, &[b"marketing"], Any, Err(NotRegistered)),
            ("known, allowed by the route, not registered", two, &[b"marketing"], Allow(&marketing), Err(NotRegistered)),
            ("registered, not allowed by the route", two, &[b"sales"], Allow(&service), Err(NotRegistered)),
            ("a descendant of a registered one that was not expanded", two, &[b"sales.outreach"], Any, Err(NotRegistered)),
            ("unknown", two, &[b"sails"], Any, Err(NotRegistered)),
            ("empty", &["sales"], &[b""], Any, Err(NotRegistered)),
            ("other case", two, &[b"Sales"], Any, Err(NotRegistered)),
            ("padded", two, &[b"sales "], Any, Err(NotRegistered)),
            ("a tab", two, &[b"sales\t"], Any, Err(NotRegistered)),
            ("a list", two, &[b"sales,service"], Any, Err(NotRegistered)),
            ("quoted", two, &[b"\"sales\""], Any, Err(NotRegistered)),
            ("a homoglyph", two, &["s\u{430}les".as_bytes()], Any, Err(NotRegistered)),
            ("no utf-8", two, &[b"sales\xff"], Any, Err(NotRegistered)),
            ("encoded", two, &[b"s%61les"], Any, Err(NotRegistered)),
            ("two", two, &[b"sales", b"service"], Any, Err(Ambiguous)),
            ("twice the same", two, &[b"sales", b"sales"], fixed, Err(Ambiguous)),
        ] {
            assert_eq!(expected, check(registered, headers, rule), "{case}");
        }
    }
}
