//! `[audit] retention`: how long entries of the decision log are kept.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// `[audit] retention`: how long entries of the decision log are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub permit: Period,
    pub deny: Period,
    pub admin: Period,
    pub break_glass: Period,
}

impl Default for Retention {
    fn default() -> Self {
        let years = Period::Months(36);
        Self { permit: Period::Months(12), deny: years, admin: years, break_glass: years }
    }
}

/// A time by the calendar (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Days(u32),
    Months(u32),
    Forever,
}

impl Period {
    /// More than nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "forever" {
            return Some(Self::Forever);
        }
        let (number, unit) = text.split_once(' ')?;
        let number: u32 = number.parse().ok().filter(|number| *number > 0 && !text.starts_with(['+', '0']))?;
        match unit {
            "day" | "days" => Some(Self::Days(number)),
            "week" | "weeks" => Some(Self::Days(number.saturating_mul(7))),
            "month" | "months" => Some(Self::Months(number)),
            "year" | "years" => Some(Self::Months(number.saturating_mul(12))),
            _ => None,
        }
    }

    /// Over a hundred years.
    pub(super) const fn is_too_long(self) -> bool {
        match self {
            Self::Days(days) => days > 36_525,
            Self::Months(months) => months > 1_200,
            Self::Forever => false,
        }
    }

    /// What is older than that is past the period; `None`: nothing ever is.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Option<Timestamp> {
        let span = match self {
            Self::Days(days) => Span::new().try_days(days),
            Self::Months(months) => Span::new().try_months(months),
            Self::Forever => return None,
        };
        now.to_zoned(TimeZone::UTC).checked_sub(span.ok()?).ok().map(|before| before.timestamp())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days} days"),
            Self::Months(months) => write!(f, "{months} months"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_numbers_of_units_and_nothing_else() {
        for (text, wanted) in [
            ("90 days", Period::Days(90)),
            ("1 day", Period::Days(1)),
            ("8 weeks", Period::Days(56)),
            ("12 months", Period::Months(12)),
            ("3 years", Period::Months(36)),
            ("forever", Period::Forever),
        ] {
            assert_eq!(Some(wanted), Period::parse(text), "{text}");
        }
        for text in [
            "",
            "0 days",
            "-1 days",
            "+1 days",
            "01 days",
            "1",
            "1days",
            "1  days",
            "1 days ",
            "1.5 years",
            "12 m",
            "days",
            "Forever",
            "4294967296 days",
        ] {
            assert_eq!(None, Period::parse(text), "{text}");
        }
        assert!(Period::parse("101 years").is_some_and(Period::is_too_long) && Period::parse("4294967295 weeks").is_some_and(Period::is_too_long));
        assert!(!Period::Months(1_200).is_too_long() && !Period::Days(36_525).is_too_long() && !Period::Forever.is_too_long());
    }

    #[test]
    fn a_month_is_one_of_the_calendar() {
        let now: Timestamp = "2028-03-31T10:00:00Z".parse().unwrap();
        let before = |period: Period| period.before(now).map(|before| before.to_string());
        assert_eq!(Some("2028-02-29T10:00:00Z".to_owned()), before(Period::Months(1)));
        assert_eq!(Some("2025-03-31T10:00:00Z".to_owned()), before(Period::Months(36)));
        assert_eq!(Some("2028-03-01T10:00:00Z".to_owned()), before(Period::Days(30)));
        assert_eq!(None, before(Period::Forever));
    }
}
