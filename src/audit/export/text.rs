//! Texts of the log in lines of other systems: whatever a name holds, an event stays one line, and shows nothing that it does not say.

use std::io;

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Written out, so that nobody's terminal or parser acts on them: `\u001b`. Beside controls: invisible characters, line
/// separators, and what turns the direction of writing.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) { escape(&mut out, c) } else { out.push(c) }
    }
    out
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// A text that a table would take for a formula gets the mark by which tables know texts.
pub(super) fn no_formula(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

/// A cell that begins so is calculated.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];

/// One line of JSON, in ASCII. What stands there is what was meant: escapes of JSON are undone by
/// whoever reads it, also that of a sign by which a formula begins.
pub(super) fn json(value: &Value) -> String {
    let mut out = Vec::new();
    // Nothing fails that writes into memory, and keys of a `Value` are texts.
    if value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Careful::default())).is_err() {
        out.clear();
    }
    String::from_utf8(out).unwrap_or_default()
}

#[derive(Default)]
struct Careful {
    at_start: bool,
}

impl Formatter for Careful {
    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.at_start = true;
        CompactFormatter.begin_string(writer)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let at_start = std::mem::take(&mut self.at_start);
        if fragment.bytes().all(|b| (b' '..=b'~').contains(&b)) && !(at_start && fragment.starts_with(FORMULA)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut out = String::with_capacity(fragment.len());
        for (at, c) in fragment.char_indices() {
            let is_formula = at_start && at == 0 && FORMULA.contains(&c);
            if is_formula || !c.is_ascii() || c.is_control() { escape(&mut out, c) } else { out.push(c) }
        }
        writer.write_all(out.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.at_start = false;
        CompactFormatter.write_char_escape(writer, escape)
    }
}

fn escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(["\\u", &format!("{unit:04x}")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_acts_is_shown() {
        assert_eq!(
            visible("a\nb\t\u{1b}[31m\u{9b}0m\u{2028}\u{202e}\u{feff}\u{e0041}é"),
            "a\\u000ab\\u0009\\u001b[31m\\u009b0m\\u2028\\u202e\\ufeff\\udb40\\udc41é"
        );
        for (text, shown) in [("=1+1", "'=1+1"), ("+4", "'+4"), ("-4", "'-4"), ("@x", "'@x"), ("a=1", "a=1"), ("", "")] {
            assert_eq!(no_formula(text), shown);
        }
    }

    #[test]
    fn json_is_one_line_of_ascii_that_means_the_same() {
        let value = json!({ "=k\n": "=cmd|' /C calc'!A0", "a": ["\u{1b}[2J\u{2028}é😀\"\\", "-1", -1, "@", "+", "x=1", ""], "b": "\r\n=" });
        let text = json(&value);
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
        for formula in ["\"=", "\"+", "\"-", "\"@"] {
            assert!(!text.contains(formula), "{text}");
        }
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains("\"\\u003dcmd") && text.contains("\"\\r\\n=\"") && text.contains("-1,"), "{text}");
    }
}
