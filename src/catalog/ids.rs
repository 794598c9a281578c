//! Id spaces: one system's customer ids, their grammar and the spellings that mean the same id.

use regex::Regex;

use crate::model::{Identifier, Space};

/// Longer ids are refused before the grammar is tried.
const ID_BYTES_MAX: usize = 512;

/// A step that makes several spellings of an id one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalise {
    /// ASCII letters to lower case.
    Lower,
    /// Zeros at the start are dropped; one stays if there is nothing else.
    TrimZeros,
    /// The 15-character form of a Salesforce id becomes the 18-character one; the three check letters of the latter must be right.
    Salesforce18,
}

impl Normalise {
    pub const ALL: [(&'static str, Self); 3] = [("lower", Self::Lower), ("trim-zeros", Self::TrimZeros), ("salesforce-18", Self::Salesforce18)];
}

/// `[ids]`: the whole id must match the grammar.
#[derive(Clone, Debug)]
pub struct IdSpace {
    pub space: Space,
    grammar: Regex,
    normalise: Vec<Normalise>,
}

/// The text is not an id of its space. Carries no value: ids are personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("the id does not match the grammar of `{0}`")]
    Grammar(Space),
    #[error("the check letters of the id of `{0}` are wrong")]
    Checksum(Space),
}

impl IdSpace {
    /// # Errors
    /// A sentence that says what is wrong with the grammar.
    pub fn new(space: Space, grammar: &str, normalise: Vec<Normalise>) -> Result<Self, String> {
        Ok(Self { space, grammar: anchored(grammar)?, normalise })
    }

    /// The identifier for a text that was percent-decoded exactly once (or read from JSON).
    ///
    /// # Errors
    /// When the text as a whole is not an id of this space.
    pub fn identify(&self, raw: &str) -> Result<Identifier, IdError> {
        let plain = raw.len() <= ID_BYTES_MAX && raw.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !plain || !self.grammar.is_match(raw) {
            return Err(IdError::Grammar(self.space));
        }
        let mut value = raw.to_owned();
        for step in &self.normalise {
            value = match step {
                Normalise::Lower => value.to_ascii_lowercase(),
                Normalise::TrimZeros => match value.trim_start_matches('0') {
                    "" => "0".to_owned(),
                    rest => rest.to_owned(),
                },
                Normalise::Salesforce18 => self.salesforce_18(&value)?,
            };
        }
        Ok(Identifier { space: self.space, value })
    }

    fn salesforce_18(&self, id: &str) -> Result<String, IdError> {
        let (Some(body), Some(check)) = (id.get(..15), id.get(15..)) else { return Err(IdError::Grammar(self.space)) };
        let full = format!("{body}{}", check_letters(body));
        match check.len() {
            0 => Ok(full),
            3 if full.ends_with(&check.to_ascii_uppercase()) => Ok(full),
            3 => Err(IdError::Checksum(self.space)),
            _ => Err(IdError::Grammar(self.space)),
        }
    }
}

/// One letter for each five characters: bit n is set when the n-th of them is upper case.
fn check_letters(body: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let letter = |five: &[u8]| {
        let bits = five.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase()).fold(0_usize, |bits, (n, _)| bits | (1 << n));
        ALPHABET.get(bits).copied().map_or('A', char::from)
    };
    body.as_bytes().chunks(5).map(letter).collect()
}

/// A grammar of the configuration, which must match as a whole.
pub(super) fn anchored(grammar: &str) -> Result<Regex, String> {
    // Compiled alone first: `a)|(b` would otherwise get out of the anchors.
    let explain = |error: &regex::Error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    };
    Regex::new(grammar).map_err(|e| explain(&e))?;
    Regex::new(&format!(r"\A(?:{grammar})\z")).map_err(|e| explain(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(grammar: &str, normalise: &[Normalise]) -> IdSpace {
        IdSpace::new(Space::intern("test"), grammar, normalise.to_vec()).unwrap()
    }

    #[test]
    fn several_spellings_are_one_id() {
        let check = |grammar: &str, step: Normalise, table: &[(&str, &str)]| {
            let ids = space(grammar, &[step]);
            for (raw, value) in table {
                assert_eq!(ids.identify(raw).unwrap().value, *value, "{raw}");
            }
        };
        check("[^@ ]{1,64}@[^@ ]{1,190}", Normalise::Lower, &[("Ada@Example.COM", "ada@example.com"), ("ada@example.com", "ada@example.com")]);
        check("[0-9]+", Normalise::TrimZeros, &[("0042", "42"), ("42", "42"), ("000", "0"), ("100", "100")]);
        let salesforce = [
            ("0035g00000Abc12", "0035g00000Abc12AAB"),
            ("0035g00000Abc12AAB", "0035g00000Abc12AAB"),
            ("0035g00000Abc12aab", "0035g00000Abc12AAB"),
            ("001D000000IqhSL", "001D000000IqhSLIAZ"),
        ];
        check("[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", Normalise::Salesforce18, &salesforce);
    }

    #[test]
    fn what_is_not_an_id_in_full_is_refused() {
        let numbers = space("0*[1-9][0-9]{0,9}", &[Normalise::TrimZeros]);
        let refused = [
            "",
            "0",
            "1e3",
            "1.0",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1\n",
            "1,2",
            "1|2",
            "*",
            "42.json",
            "42/",
            "42.",
            "４２",
            "1%32",
            "12345678901",
            "1;2",
            "\u{0}1",
        ];
        for raw in refused {
            assert_eq!(numbers.identify(raw), Err(IdError::Grammar(Space::intern("test"))), "{raw:?}");
        }
        let salesforce = space("[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", &[Normalise::Salesforce18]);
        assert_eq!(
            salesforce.identify("0035g00000abc12AAB"),
            Err(IdError::Checksum(Space::intern("test"))),
            "letters in another case are another id"
        );
        let wide = space("[^@]+@[^@]+", &[]);
        assert!(wide.identify("ａda@example.com").is_err(), "full-width letters match the grammar, but an id is ASCII");
        assert!(wide.identify(&format!("{}@example.com", "a".repeat(600))).is_err());
    }

    #[test]
    fn a_grammar_cannot_get_out_of_its_anchors() {
        assert!(IdSpace::new(Space::intern("test"), "a)|(b", Vec::new()).is_err());
        let either = space("a|b", &[]);
        assert!(either.identify("a").is_ok());
        assert!(either.identify("ax").is_err());
        assert!(either.identify("xb").is_err());
        assert!(IdSpace::new(Space::intern("test"), "[0-9", Vec::new()).is_err());
        let digits = space(r"\d+", &[]);
        assert!(digits.identify("42").is_ok());
        assert!(digits.identify("٤٢").is_err(), "an id is ASCII");
    }
}
