//! Masked forms. They disclose something, so the caller needs `read-reduced`; what has no masked form (another type than a
//! string, too short) is removed. A written value that has a masked form is recognised, lest it overwrite the real one.

use super::Judge;
use crate::model::Mask;

/// Every pseudonym starts so; a write that brings one back is recognised by it.
pub const PSEUDONYM_PREFIX: &str = "psn_";

/// What stands before the last four characters.
const LAST4_PREFIX: &str = "****";
/// What stands behind a generalised beginning; of fixed length, so that the length of the value stays hidden.
const GENERALISED_SUFFIX: &str = "***";
/// Last four of fewer would show more than half of the value.
const LAST4_CHARS_MIN: usize = 8;
const GENERALISE_CHARS: usize = 2;
const GENERALISE_CHARS_MIN: usize = 4;

/// The masked form of a text, if it has one.
pub(super) fn masked(mask: Mask, text: &str, judge: &mut dyn Judge) -> Option<String> {
    match mask {
        Mask::Last4 => {
            let mut shown: Vec<char> = alphanumeric(text, LAST4_CHARS_MIN)?;
            let tail = shown.split_off(shown.len().saturating_sub(4));
            Some(LAST4_PREFIX.chars().chain(tail).collect())
        }
        Mask::Year => year(text).map(str::to_owned),
        Mask::Pseudonym => judge.pseudonym(text).map(|keyed| format!("{PSEUDONYM_PREFIX}{keyed}")),
        Mask::Generalise => {
            let shown = alphanumeric(text, GENERALISE_CHARS_MIN)?;
            Some(shown.into_iter().take(GENERALISE_CHARS).chain(GENERALISED_SUFFIX.chars()).collect())
        }
    }
}

/// Whether a written text is a masked form. A bare year may also be meant as one, so it counts only for somebody who
/// was shown the masked form (`shown_masked`); the other forms are nobody's real value.
pub(super) fn is_masked_form(mask: Mask, text: &str, shown_masked: bool) -> bool {
    match mask {
        Mask::Last4 => text.strip_prefix(LAST4_PREFIX).is_some_and(|tail| tail.chars().count() == 4 && tail.chars().all(char::is_alphanumeric)),
        Mask::Year => shown_masked && text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit()),
        Mask::Pseudonym => text.starts_with(PSEUDONYM_PREFIX),
        Mask::Generalise => text
            .strip_suffix(GENERALISED_SUFFIX)
            .is_some_and(|head| head.chars().count() == GENERALISE_CHARS && head.chars().all(char::is_alphanumeric)),
    }
}

/// Letters and digits only: separators carry nothing and would count as characters shown.
fn alphanumeric(text: &str, min: usize) -> Option<Vec<char>> {
    let found: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
    (found.len() >= min).then_some(found)
}

/// The year of `YYYY-MM-DD`, alone or with a time behind it; of a bare `YYYY` too.
fn year(text: &str) -> Option<&str> {
    let (year, rest) = text.split_at_checked(4)?;
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    let date_follows = || {
        let (month, rest) = rest.strip_prefix('-')?.split_at_checked(2)?;
        let (day, time) = rest.strip_prefix('-')?.split_at_checked(2)?;
        Some(digits(month, 2) && digits(day, 2) && (time.is_empty() || time.starts_with(['T', 't', ' '])))
    };
    (digits(year, 4) && (rest.is_empty() || date_follows() == Some(true))).then_some(year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Judged, Space};

    struct Keyed;
    impl Judge for Keyed {
        fn judge(&mut self, _space: Space, _raw_id: &str) -> Judged {
            Judged { party: None, is_requested: None, verdicts: std::sync::Arc::default() }
        }
        fn requested(&mut self) -> Option<Judged> {
            None
        }
        fn pseudonym(&mut self, text: &str) -> Option<String> {
            (text != "no key").then(|| format!("{:04x}", text.len()))
        }
    }

    #[test]
    fn each_text_has_its_masked_form_or_none() {
        let cases = [
            (Mask::Last4, "DE89370400440532013000", Some("****3000")),
            (Mask::Last4, "+49 170 12 34-5 67", Some("****4567")),
            (Mask::Last4, "1234567", None),
            (Mask::Last4, "1 2 3 4 5", None),
            (Mask::Last4, "", None),
            (Mask::Year, "1981-04-12", Some("1981")),
            (Mask::Year, "1981-04-12T00:00:00Z", Some("1981")),
            (Mask::Year, "1981", Some("1981")),
            (Mask::Year, "1981-04-12 and her sister", Some("1981")),
            (Mask::Year, "12.04.1981", None),
            (Mask::Year, "1981-4-12", None),
            (Mask::Year, "19810412", None),
            (Mask::Year, "198\u{e9}", None),
            (Mask::Generalise, "80331", Some("80***")),
            (Mask::Generalise, "SW1A 1AA", Some("SW***")),
            (Mask::Generalise, "123", None),
            (Mask::Pseudonym, "ann@example.com", Some("psn_000f")),
            (Mask::Pseudonym, "no key", None),
        ];
        for (mask, text, expected) in cases {
            assert_eq!(masked(mask, text, &mut Keyed).as_deref(), expected, "{mask:?} of {text}");
            if let Some(form) = expected {
                assert!(is_masked_form(mask, form, true), "{form} is recognised when it comes back");
            }
        }
    }

    #[test]
    fn real_values_are_not_taken_for_masked_forms() {
        for (mask, text) in [
            (Mask::Last4, "DE89370400440532013000"),
            (Mask::Last4, "****"),
            (Mask::Last4, "****12345"),
            (Mask::Year, "1981-04-12"),
            (Mask::Generalise, "80331"),
            (Mask::Generalise, "803***"),
            (Mask::Pseudonym, "ann"),
        ] {
            assert!(!is_masked_form(mask, text, true), "{mask:?}: {text}");
        }
        assert!(!is_masked_form(Mask::Year, "1981", false), "whoever may read the date in full may write a year");
    }
}
