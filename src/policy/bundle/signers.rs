//! Whose keys count for which department: a file in OpenSSH's own `allowed_signers` format, kept outside every bundle.
//!
//! ```text
//! kim@marketing namespaces="consentry-policy-bundle" ssh-ed25519 AAAA… laptop
//! lee@finance valid-before="20270101Z" ssh-ed25519 AAAA…
//! ```
//!
//! The principal says who it is and, behind the `@`, for which department of the catalogue the person signs. One person
//! stands for one department; a person may have several keys, a key has one person.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::NAMESPACE;
use super::sshsig::Key;
use crate::model::{Finding, Findings, suggest};

const KEY_KINDS: [&str; 2] = ["ssh-ed25519", "ecdsa-sha2-nistp256"];
const OPTIONS: [&str; 3] = ["namespaces", "valid-after", "valid-before"];

/// One key of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// `name@department`
    pub who: String,
    pub department: String,
    key: Key,
    options: Options,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    is_for_others: bool,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Signer {
    /// Why the key does not count at this time.
    pub(super) fn refusal(&self, now: Timestamp) -> Option<&'static str> {
        if self.options.is_for_others {
            Some("the key is for other uses (`namespaces`)")
        } else if self.options.after.is_some_and(|after| now < after) {
            Some("the key is not valid yet")
        } else if self.options.before.is_some_and(|before| now >= before) {
            Some("the key is no longer valid")
        } else {
            None
        }
    }
}

/// The whole file.
#[derive(Clone, Debug, Default)]
pub struct Signers(Vec<Signer>);

impl Signers {
    /// Reads the file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn load(path: &Path) -> Result<Self, Findings> {
        let text = std::fs::read_to_string(path).map_err(|error| Findings(vec![Finding::of_file(path, format!("cannot be read: {error}"))]))?;
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Findings> {
        let mut reader = Reader { path, text, findings: Findings::default(), departments: BTreeMap::new(), signers: Vec::new() };
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let words = words(line.trim_end(), at);
            at += line.len();
            if words.first().is_some_and(|(_, word)| !word.starts_with('#')) {
                let signer = reader.line(&words);
                reader.signers.extend(signer);
            }
        }
        if reader.findings.is_empty() && reader.signers.is_empty() {
            reader.findings.push(Finding::of_file(path, "no signer stands in this file").help("write `name@department ssh-ed25519 AAAA…`"));
        }
        reader.findings.or(Self(reader.signers))
    }

    pub(super) fn of(&self, key: &Key) -> Option<&Signer> {
        self.0.iter().find(|signer| signer.key == *key)
    }
}

type Word<'t> = (Range<usize>, &'t str);

struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    findings: Findings,
    departments: BTreeMap<&'t str, &'t str>,
    signers: Vec<Signer>,
}

impl<'t> Reader<'t> {
    fn wrong<T>(&mut self, place: &Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.findings.push(Finding::at(self.path, self.text, place.clone(), message).help(help));
        None
    }

    fn line(&mut self, words: &[Word<'t>]) -> Option<Signer> {
        let ((place, principal), mut rest) = words.split_first()?;
        let (who, department) = self.principal(place, principal)?;
        let mut options = Options::default();
        if let Some(((place, text), after)) = rest.split_first().filter(|((_, word), _)| !is_key_kind(word)) {
            options = self.options(place, text)?;
            rest = after;
        }
        let [(kind_place, kind), (key_place, key), ..] = rest else {
            return self.wrong(place, "the key is missing", "write `name@department ssh-ed25519 AAAA…`");
        };
        if !KEY_KINDS.contains(kind) {
            return self.wrong(kind_place, format!("`{kind}` keys are not taken"), "use an `ssh-ed25519` or `ecdsa-sha2-nistp256` key");
        }
        let Some(key) = Key::parse(kind, key) else {
            return self.wrong(key_place, "this is not such a key", "copy the line of the `.pub` file");
        };
        if self.signers.iter().any(|other| other.key == key) {
            return self.wrong(key_place, "this key stands here twice", "remove one: a key belongs to one person");
        }
        Some(Signer { who, department, key, options })
    }

    fn principal(&mut self, place: &Range<usize>, text: &'t str) -> Option<(String, String)> {
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let Some((name, department)) = text.split_once('@').filter(|(name, department)| plain(name) && plain(department)) else {
            let message = format!("`{text}` is not one person of one department");
            return self.wrong(place, message, "write `name@department`, without patterns and lists");
        };
        let known = *self.departments.entry(name).or_insert(department);
        if known != department {
            return self.wrong(place, format!("`{name}` signs for `{known}` already"), "one person stands for one department");
        }
        Some((text.to_owned(), department.to_owned()))
    }

    fn options(&mut self, place: &Range<usize>, text: &str) -> Option<Options> {
        let mut found = Options::default();
        let mut named = BTreeSet::new();
        for option in split_outside_quotes(text) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !named.insert(name) {
                return self.wrong(place, format!("the option `{name}` stands here twice"), "write each option once");
            }
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            match (name, value) {
                ("namespaces", Some(value)) => found.is_for_others = value.split(',').all(|namespace| namespace != NAMESPACE),
                ("valid-after" | "valid-before", Some(value)) => {
                    let Some(time) = time(value) else {
                        return self.wrong(place, format!("`{value}` is not a time in UTC"), "write `YYYYMMDDZ` or `YYYYMMDDHHMMSSZ`");
                    };
                    *(if name == "valid-after" { &mut found.after } else { &mut found.before }) = Some(time);
                }
                _ => {
                    let near = suggest(name, OPTIONS).map(|near| format!("did you mean `{near}=\"…\"`?"));
                    let help = near.unwrap_or_else(|| "known here: `namespaces=\"…\"`, `valid-after=\"…\"`, `valid-before=\"…\"`".to_owned());
                    return self.wrong(place, format!("the option `{name}` is not known here"), help);
                }
            }
        }
        Some(found)
    }
}

fn is_key_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

/// OpenSSH's times; without the `Z` they would be of each machine's own zone.
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number = |range: Range<usize>| digits.get(range).map_or(Some(0), |part| part.parse::<i8>().ok());
    if ![8, 12, 14].contains(&digits.len()) {
        return None;
    }
    let year = digits.get(..4)?.parse().ok()?;
    let civil = DateTime::new(year, number(4..6)?, number(6..8)?, number(8..10)?, number(10..12)?, number(12..14)?, 0).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Words with their places; quoted blanks do not end one.
fn words(line: &str, start: usize) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let (mut from, mut is_quoted) = (None, false);
    for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
        is_quoted ^= c == '"';
        match (from, c.is_ascii_whitespace() && (!is_quoted || at == line.len())) {
            (None, false) => from = Some(at),
            (Some(begin), true) => {
                found.extend(line.get(begin..at).map(|word| (start + begin..start + at, word)));
                from = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    found
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sshsig::tests::Signer as Pen;
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let found = Signers::parse(Path::new("signers"), text).unwrap_err();
        found.0.iter().map(|f| format!("{}:{} {} | {}", f.line, f.column, f.message, f.help.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn keys_have_a_person_a_department_and_a_time() {
        let lines: Vec<String> = (0..4).map(|_| Pen::new().line()).collect();
        let text = format!(
            "# approvers\n\nkim@marketing {}\nkim@marketing namespaces=\"file,consentry-policy-bundle\",valid-before=\"20270101Z\" {} laptop\nlee@finance valid-after=\"20260601120000Z\" {}\nmax@it namespaces=\"git\" {}\n",
            lines[0], lines[1], lines[2], lines[3]
        );
        let signers = Signers::parse(Path::new("signers"), &text).unwrap();
        let refusals = |now: &str| signers.0.iter().map(|s| s.refusal(now.parse().unwrap())).collect::<Vec<_>>();
        let (other, late, early) =
            (Some("the key is for other uses (`namespaces`)"), Some("the key is no longer valid"), Some("the key is not valid yet"));
        assert_eq!(refusals("2026-06-01T11:59:59Z"), [None, None, early, other]);
        assert_eq!(refusals("2027-01-01T00:00:00Z"), [None, late, None, other]);
        assert_eq!(signers.0[2].department, "finance");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let line = Pen::new().line();
        for (text, expected) in [
            (format!("kim@marketing {line}\nlee@finance {line}"), "2:25 this key stands here twice | remove one: a key belongs to one person"),
            (format!("kim {line}"), "1:1 `kim` is not one person of one department | write `name@department`, without patterns and lists"),
            (format!("*@marketing {line}"), "1:1 `*@marketing` is not one person"),
            (format!("kim@it,lee@it {line}"), "1:1 `kim@it,lee@it` is not one person"),
            (format!("kim@it {line}\nkim@sales {}", Pen::new().line()), "2:1 `kim` signs for `it` already | one person stands for one department"),
            (
                format!("kim@it valid-befor=\"20270101Z\" {line}"),
                "1:8 the option `valid-befor` is not known here | did you mean `valid-before=\"…\"`?",
            ),
            (format!("kim@it cert-authority {line}"), "1:8 the option `cert-authority` is not known here | known here: `namespaces="),
            (format!("kim@it valid-before=\"20270101\" {line}"), "1:8 `20270101` is not a time in UTC"),
            (
                format!("kim@it valid-before=\"20270101Z\",valid-before=\"20990101Z\" {line}"),
                "1:8 the option `valid-before` stands here twice | write each option once",
            ),
            (format!("kim@it namespaces=\"git\",namespaces=\"consentry-policy-bundle\" {line}"), "1:8 the option `namespaces` stands here twice"),
            ("kim@it".to_owned(), "1:1 the key is missing"),
            ("kim@it ssh-rsa AAAA".to_owned(), "1:8 `ssh-rsa` keys are not taken"),
            ("kim@it ssh-ed25519 AAAA".to_owned(), "1:20 this is not such a key"),
            ("# nobody\n".to_owned(), "1:1 no signer stands in this file"),
        ] {
            let found = findings(&text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:#?}");
        }
    }
}
