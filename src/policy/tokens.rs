//! Words and signs of a Cedar text with their places, for what Cedar's syntax trees do not keep: where a condition stands, and
//! comments.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comment,
    /// A quoted text.
    Text,
    /// An identifier, a keyword or a number.
    Word,
    Sign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    pub(super) at: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && matches!(self.kind, Kind::Word | Kind::Sign)
    }
}

/// Signs of more than one character; the longer ones of those that begin alike first.
const LONG_SIGNS: [&str; 7] = ["&&", "||", "==", "!=", "<=", ">=", "::"];

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((kind, len)) = first(rest) else { break };
        if let Some(kind) = kind {
            found.push(Token { kind, text: rest.get(..len).unwrap_or_default(), at });
        }
        at += len;
    }
    found
}

/// Kind and length of what stands first; no kind is white space.
fn first(rest: &str) -> Option<(Option<Kind>, usize)> {
    let first = rest.chars().next()?;
    let run = |holds: &dyn Fn(char) -> bool| rest.find(|c| !holds(c)).unwrap_or(rest.len());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    Some(if first.is_whitespace() {
        (None, run(&char::is_whitespace))
    } else if rest.starts_with("//") {
        (Some(Kind::Comment), run(&|c| c != '\n'))
    } else if first == '"' {
        (Some(Kind::Text), quoted(rest))
    } else if is_word(first) {
        (Some(Kind::Word), run(&is_word))
    } else {
        let len = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(first.len_utf8(), |sign| sign.len());
        (Some(Kind::Sign), len)
    })
}

fn quoted(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}

/// Byte ranges of the statements of a text, from the first annotation to the semicolon.
pub(super) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for token in tokens(text).into_iter().filter(|token| token.kind != Kind::Comment) {
        let from = *start.get_or_insert(token.at);
        if token.is(";") {
            found.push(from..token.end());
            start = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_comments_and_signs_are_told_apart() {
        let text = "a.b!=\"x // \\\" y\" // c && d\n::1||!b";
        let found: Vec<(Kind, &str)> = tokens(text).into_iter().map(|token| (token.kind, token.text)).collect();
        use Kind::{Comment, Sign, Text, Word};
        assert_eq!(
            found,
            [
                (Word, "a"),
                (Sign, "."),
                (Word, "b"),
                (Sign, "!="),
                (Text, "\"x // \\\" y\""),
                (Comment, "// c && d"),
                (Sign, "::"),
                (Word, "1"),
                (Sign, "||"),
                (Sign, "!"),
                (Word, "b"),
            ]
        );
        assert_eq!(tokens("\"open"), [Token { kind: Text, text: "\"open", at: 0 }]);
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_texts_and_comments() {
        let text = "// a; b\n@id(\"x;\\\";\")\npermit (principal, action, resource); // c;\nforbid (\n principal, action, resource\n);";
        let found: Vec<&str> = statements(text).into_iter().filter_map(|span| text.get(span)).collect();
        assert_eq!(found, ["@id(\"x;\\\";\")\npermit (principal, action, resource);", "forbid (\n principal, action, resource\n);"]);
    }
}
