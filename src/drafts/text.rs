//! TOML as a person would write it: quoted where it has to be, one comment a line, and nothing of a document that could end one.

use crate::model::{PathPattern, Step};
use crate::openapi::{Member, What, is_invisible};

use super::proposals::proposal;

/// Where comments begin, if the line is not longer.
const COMMENT_COLUMN: usize = 44;

/// A string, quoted so that it reads back the same.
pub(super) fn quoted(text: &str) -> String {
    let needs_escapes = text.chars().any(|c| is_invisible(c) || c == '\'');
    if text.contains(['"', '\\']) && !needs_escapes {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if is_invisible(c) => escape(&mut out, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, c: char) {
    let number = format!("{:04X}", u32::from(c));
    out.push_str("\\u");
    out.push_str(&number);
}

/// A list of strings.
pub(super) fn list<'t>(items: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", items.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

/// A path of the configuration; a member that is called `?` is quoted, since `?` alone is an open place.
pub(super) fn path(path: &PathPattern) -> String {
    let text = path.to_string();
    quoted(&if text == "?" { "\"?\"".to_owned() } else { text })
}

/// Something with a comment behind it; empty comments are none.
pub(super) fn line(text: &str, comment: &str) -> String {
    if comment.is_empty() { format!("{text}\n") } else { format!("{text:<COMMENT_COLUMN$} # {}\n", shown(comment)) }
}

/// Text of a document in a comment.
pub(super) fn shown(text: &str) -> String {
    crate::openapi::shown_long(text)
}

/// A table's name without quotes: lower case words with hyphens.
#[must_use]
pub fn key(text: &str) -> String {
    let key = words(text).join("-");
    if key.is_empty() { "unnamed".to_owned() } else { key }
}

/// `HTTPRequestId_2` -> `http request id 2`
pub(super) fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (n, c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = n.checked_sub(1).and_then(|n| chars.get(n));
        let after = chars.get(n + 1);
        let begins = c.is_ascii_uppercase()
            && (before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                || (before.is_some_and(char::is_ascii_uppercase) && after.is_some_and(char::is_ascii_lowercase)));
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Names of the members on the way to a place.
pub(super) fn names(path: &PathPattern) -> Vec<&str> {
    path.0.iter().filter_map(|step| if let Step::Member(name) = step { Some(name.as_str()) } else { None }).collect()
}

/// What is known of a member, for the comment behind it.
pub(super) fn about(member: &Member, is_open: bool) -> String {
    let kind = match &member.what {
        What::Value(kind) => kind.clone(),
        What::Rest(why) => (*why).to_owned(),
        What::Other(_) => "another customer: own id, own verdicts".to_owned(),
    };
    let class = member.class.as_ref().map(|class| {
        let more = [class.sensitivity.as_deref().map(str::to_owned), class.masking.as_ref().map(|m| format!("masking {m}"))];
        let more: Vec<String> = more.into_iter().flatten().collect();
        format!("x-data-classification: {}{}", class.category, if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) })
    });
    let contradicted = member.contradicted.then(|| "the document names two categories".to_owned());
    let proposed = is_open.then(|| proposal(&names(&member.path), &kind)).flatten();
    [Some(kind), class, contradicted, proposed].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_keys() {
        for (name, expected) in [
            ("Customer", "customer"),
            ("CustomerV2Create", "customer-v2-create"),
            ("HTTPRequest_id", "http-request-id"),
            ("é", "unnamed"),
            ("a.b c", "a-b-c"),
        ] {
            assert_eq!(key(name), expected);
        }
    }

    #[test]
    fn whatever_is_quoted_reads_back_the_same() {
        for text in ["", "a", "a\"b", "a\\b", "it's \"so\"", "a\nb\u{0}", "é\u{2028}", "@odata.count", "'"] {
            let read: toml::Table = toml::from_str(&format!("x = {}", quoted(text))).unwrap();
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }

    #[test]
    fn a_comment_cannot_leave_its_line() {
        let text = line("a = 1", "x\nb = 2\u{7f}\r");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(toml::from_str::<toml::Table>(&text).unwrap().len(), 1);
    }
}
