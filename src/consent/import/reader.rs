//! The records of a file, each with the line on which it begins. Whatever the bytes are, each record is either handed on whole
//! or reported, and reading goes on behind it: an unclosed quote costs its own line, not those that follow.
//!
//! Rows are RFC 4180, read strictly: a quote opens a cell at its beginning only, and nothing stands between a closing quote
//! and the next comma. JSON is one object a line, or objects one after the other, as in an array.

use std::borrow::Cow;

use crate::model::is_duplicate;

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// CSV rows; without a number of cells only the header is read.
    Rows { cells: Option<usize> },
    /// One JSON object a line.
    Lines,
    /// JSON objects over any lines, with brackets and commas between them.
    Objects,
}

/// A record, or why it is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) line: u64,
    pub(super) text: Result<&'a str, Cow<'static, str>>,
}

/// Reads records one after the other.
#[derive(Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    /// How many bytes are read.
    pub(super) at: usize,
    /// The line of the next byte.
    pub(super) line: u64,
    pub(super) shape: Shape,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], line: u64, shape: Shape) -> Self {
        Self { bytes, at: 0, line, shape }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The first `length` bytes of what is left, which are read with that.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, _) = self.rest().split_at_checked(length).unwrap_or((self.rest(), &[]));
        self.at += taken.len();
        self.line += newlines(taken);
        taken
    }

    fn skip_blank_lines(&mut self) {
        loop {
            let length = line_length(self.rest());
            let blank = self.rest().get(..length).is_some_and(|line| line.iter().all(u8::is_ascii_whitespace));
            if !blank || length == 0 {
                return;
            }
            self.take(length);
        }
    }

    fn next_row(&mut self, cells: Option<usize>) -> Result<&'a [u8], Cow<'static, str>> {
        let first = line_length(self.rest());
        let ahead = self.rest().get(..RECORD_BYTES_MAX).unwrap_or(self.rest());
        let end = row_end(ahead);
        // A row that does not end in what may be looked at: its end is not known.
        let cut = ahead.len() < self.rest().len() && end.is_ok_and(|(length, _)| length == ahead.len() && !ahead.ends_with(b"\n"));
        let (length, found) = match end {
            Ok(end) if !cut => end,
            Err(what) if first <= RECORD_BYTES_MAX => {
                // What goes wrong in a later line is a quote of this one that is not closed.
                return Err(row_end(self.take(first)).err().unwrap_or(what).into());
            }
            Ok(_) | Err(_) => {
                self.take(first);
                return Err(TOO_LONG.into());
            }
        };
        match cells {
            Some(wanted) if wanted != found && length > first => {
                self.take(first);
                Err("a quoted cell is not closed".into())
            }
            Some(wanted) if wanted != found => {
                self.take(length);
                Err(format!("{found} cells where the header has {wanted}").into())
            }
            _ => Ok(self.take(length)),
        }
    }

    fn next_line(&mut self) -> Result<&'a [u8], Cow<'static, str>> {
        let length = line_length(self.rest());
        let line = self.take(length);
        if length > RECORD_BYTES_MAX { Err(TOO_LONG.into()) } else { Ok(line) }
    }

    fn next_object(&mut self) -> Result<&'a [u8], Cow<'static, str>> {
        let ahead = self.rest().get(..RECORD_BYTES_MAX).unwrap_or(self.rest());
        match object_length(ahead) {
            Some(length) => Ok(self.take(length)),
            None => {
                self.take(usize::MAX);
                Err("an object is not closed, or is longer than 64 KiB; what follows it was not read".into())
            }
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.shape == Shape::Objects {
            let between = self.rest().iter().take_while(|b| b.is_ascii_whitespace() || matches!(b, b',' | b'[' | b']')).count();
            self.take(between);
        } else {
            self.skip_blank_lines();
        }
        if self.rest().is_empty() {
            return None;
        }
        let line = self.line;
        let bytes = match self.shape {
            Shape::Rows { cells } => self.next_row(cells),
            Shape::Lines => self.next_line(),
            Shape::Objects => self.next_object(),
        };
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).map_err(|_not_utf8| Cow::Borrowed(NOT_UTF8)));
        Some(Record { line, text: text.map(|text| text.trim_end_matches(['\r', '\n'])) })
    }
}

pub(super) fn newlines(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.iter().filter(|b| **b == b'\n').count()).unwrap_or(u64::MAX)
}

/// The line with its break, or all there is.
fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// The length of a row with its line break, and how many cells it has.
fn row_end(bytes: &[u8]) -> Result<(usize, usize), &'static str> {
    let (mut at, mut cells) = (0, 1);
    loop {
        if bytes.get(at) == Some(&b'"') {
            at = quoted_end(bytes, at + 1)?;
            match bytes.get(at..).unwrap_or_default() {
                [] | [b',' | b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'] => {}
                _ => return Err("text after a quoted cell"),
            }
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|b| matches!(b, b',' | b'\n' | b'"')) else { return Ok((bytes.len(), cells)) };
        at += end + 1;
        match rest.get(end) {
            Some(b',') => cells += 1,
            Some(b'\n') => return Ok((at, cells)),
            _ => return Err("a quote inside an unquoted cell"),
        }
    }
}

/// Behind the closing quote; a doubled quote is part of the cell.
fn quoted_end(bytes: &[u8], from: usize) -> Result<usize, &'static str> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += rest.iter().position(|b| *b == b'"').ok_or("a quoted cell is not closed")? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Ok(at);
        }
        at += 1;
    }
}

/// The length of the object that begins here, by its brackets.
fn object_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            // A value that is no object ends where the next one begins.
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        if depth == 0 && matches!(byte, b'}' | b']') && !in_text {
            return Some(at + 1);
        }
    }
    None
}

/// The cells of a row that [`Records`] has handed out.
pub(super) fn cells<'a>(row: &'a str, cells: &mut Vec<Cow<'a, str>>) {
    cells.clear();
    let mut rest = Some(row);
    while let Some(text) = rest {
        let Some(quoted) = text.strip_prefix('"') else {
            let (cell, after) = text.split_once(',').map_or((text, None), |(cell, after)| (cell, Some(after)));
            cells.push(cell.trim().into());
            rest = after;
            continue;
        };
        let end = quoted_end(quoted.as_bytes(), 0).unwrap_or(quoted.len());
        let (inside, after) = quoted.split_at_checked(end).unwrap_or((quoted, ""));
        let cell = inside.strip_suffix('"').unwrap_or(inside).trim();
        cells.push(if cell.contains('"') { cell.replace("\"\"", "\"").into() } else { cell.into() });
        rest = after.strip_prefix(',');
    }
}

/// Which known column each column of a header is.
pub(super) fn header(row: &str, known: &'static [&'static str]) -> Result<Vec<&'static str>, String> {
    let mut names = Vec::new();
    cells(row, &mut names);
    let mut columns: Vec<&'static str> = Vec::with_capacity(names.len());
    for (number, name) in (1_u32..).zip(names) {
        let Some(column) = known.iter().copied().find(|column| *column == name) else {
            // Of a file without a header it is data, and is not repeated.
            return Err(match crate::model::suggest(&name, known.iter().copied()) {
                Some(near) => format!("column {number} is not known; did you mean `{near}`?"),
                None => format!("column {number} is not known; is the header line missing? Known are {}", known.join(", ")),
            });
        };
        if columns.contains(&column) {
            return Err(format!("column `{column}` stands twice; leave one of them out"));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// What serde says, without values: its text may repeat what the record holds.
pub(super) fn json_error(error: &serde_json::Error) -> String {
    if is_duplicate(error) {
        return format!("a member stands twice in one object (column {})", error.column());
    }
    let text = error.to_string();
    let named = ["unknown field", "duplicate field", "missing field"].iter().any(|start| text.starts_with(start));
    if named && text.len() <= 600 {
        // Names the member and the known ones, no value.
        return text.split(" at line").next().unwrap_or_default().to_owned();
    }
    format!("not an object of the known form (column {})", error.column())
}

/// A byte order mark is no part of the first record.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

const TOO_LONG: &str = "longer than 64 KiB";
const NOT_UTF8: &str = "not UTF-8; convert the file, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`";
/// A record is refused beyond this.
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], shape: Shape) -> Vec<(u64, Result<String, String>)> {
        Records::new(bytes, 1, shape).map(|r| (r.line, r.text.map(str::to_owned).map_err(Cow::into_owned))).collect()
    }

    fn lines(bytes: &[u8], shape: Shape) -> Vec<(u64, bool)> {
        read(bytes, shape).into_iter().map(|(line, text)| (line, text.is_ok())).collect()
    }

    fn split(row: &str) -> Vec<String> {
        let mut found = Vec::new();
        cells(row, &mut found);
        found.into_iter().map(Cow::into_owned).collect()
    }

    const TWO: Shape = Shape::Rows { cells: Some(2) };

    #[test]
    fn rows_are_told_apart_by_their_quotes() {
        for (text, found) in [
            ("a,b\nc,d", vec![(1, true), (2, true)]),
            ("a,b\r\n\r\n\n c,d\r\n", vec![(1, true), (4, true)]),
            ("\"a\nb\",c\nd,e\n", vec![(1, true), (3, true)]),
            ("\"a\"\"b\",c\n\"\",\"\"\n", vec![(1, true), (2, true)]),
            // Each mistake costs its own line.
            ("a,\"b\nc,d\ne,f\n", vec![(1, false), (2, true), (3, true)]),
            ("a,\"b\nc,d\n\"e\",f\n", vec![(1, false), (2, true), (3, true)]),
            ("a,\"b\nc,d\ne,\",f\n", vec![(1, false), (2, true), (3, false)]),
            ("a,b\"c\nd,e\n", vec![(1, false), (2, true)]),
            ("\"a\"b,c\nd,e\n", vec![(1, false), (2, true)]),
            ("a\nb,c,d\ne,f\n", vec![(1, false), (2, false), (3, true)]),
            ("", vec![]),
            (" \n\t\n", vec![]),
        ] {
            assert_eq!(lines(text.as_bytes(), TWO), found, "{text:?}");
        }
        assert_eq!(read(b"a,b\xff\nc,d\n", TWO), [(1, Err(NOT_UTF8.to_owned())), (2, Ok("c,d".to_owned()))]);
    }

    #[test]
    fn a_row_that_is_too_long_does_not_hide_the_next() {
        let long = format!("a,{}\nb,c\n", "x".repeat(RECORD_BYTES_MAX));
        assert_eq!(read(long.as_bytes(), TWO)[0], (1, Err(TOO_LONG.to_owned())));
        assert_eq!(lines(long.as_bytes(), TWO), [(1, false), (2, true)]);
        assert_eq!(lines(long.as_bytes(), Shape::Lines), [(1, false), (2, true)]);
        let quoted = format!("a,\"{}\nb,c\n", "x".repeat(RECORD_BYTES_MAX));
        assert_eq!(lines(quoted.as_bytes(), TWO), [(1, false), (2, true)]);
    }

    #[test]
    fn cells_are_trimmed_and_unquoted() {
        assert_eq!(split("a, b ,,\"c, \"\"d\"\"\""), ["a", "b", "", "c, \"d\""]);
        assert_eq!(split("\"\""), [""]);
        assert_eq!(split("a,"), ["a", ""]);
        assert_eq!(split("\"x\ny\",z\r"), ["x\ny", "z"]);
    }

    #[test]
    fn objects_are_told_apart_by_their_brackets() {
        let text = b"[\n  {\"a\": \"}{\\\"\"},\n  {\"b\": [1,\n 2]}\n]\n";
        assert_eq!(lines(text, Shape::Objects), [(2, true), (3, true)]);
        assert_eq!(lines(b"[{\"a\":1},{\"b\":2}", Shape::Objects), [(1, true), (1, true)]);
        assert_eq!(lines(b"[{\"a\":1},\n{\"b\":2\n", Shape::Objects), [(1, true), (2, false)]);
        assert_eq!(lines(b"[1,{\"b\":2}]", Shape::Objects), [(1, true), (1, true)]);
        assert_eq!(lines(b"[}", Shape::Objects), [(1, false)]);
    }

    #[test]
    fn a_header_names_each_known_column_once() {
        const KNOWN: &[&str] = &["id", "state", "event_time"];
        assert_eq!(header("state, id", KNOWN).unwrap(), ["state", "id"]);
        assert_eq!(header("id,event_tme", KNOWN).unwrap_err(), "column 2 is not known; did you mean `event_time`?");
        assert!(header("id,id", KNOWN).unwrap_err().contains("twice"));
        assert!(header("id,", KNOWN).unwrap_err().contains("column 2 is not known; is the header line missing?"));
        let data = header("id,ann@example.org", KNOWN).unwrap_err();
        assert!(data.contains("header line missing") && !data.contains("ann@"), "{data}");
    }

    proptest! {
        /// No byte is lost: what is not handed out is a reported line, a blank one, or stands between objects.
        #[test]
        fn any_bytes_are_read_to_the_end_and_every_line_is_accounted_for(bytes in proptest::collection::vec(prop_oneof![
            Just(b'"'), Just(b','), Just(b'\n'), Just(b'{'), Just(b'}'), Just(b'['), Just(b'\\'), Just(0xff_u8), Just(b'a'), Just(b' ')
        ], 0..300)) {
            for shape in [TWO, Shape::Rows { cells: None }, Shape::Lines, Shape::Objects] {
                let mut records = Records::new(&bytes, 1, shape);
                let mut accounted = std::collections::BTreeSet::new();
                let mut before = 1;
                while let Some(record) = records.next() {
                    prop_assert!(record.line >= before);
                    before = record.line;
                    accounted.extend(record.line..=records.line);
                }
                prop_assert_eq!(records.at, bytes.len());
                prop_assert_eq!(records.line, 1 + newlines(&bytes));
                if shape != Shape::Objects {
                    for (line, text) in (1..).zip(bytes.split(|b| *b == b'\n')) {
                        let blank = text.iter().all(u8::is_ascii_whitespace);
                        prop_assert!(blank || accounted.contains(&line), "line {} of {:?}", line, bytes);
                    }
                }
            }
        }

        #[test]
        fn written_rows_are_read_as_written(rows in proptest::collection::vec(proptest::collection::vec("[a-z \",\n]{0,8}", 3), 1..20)) {
            let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let file: String = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect();
            let found: Vec<Vec<String>> = Records::new(file.as_bytes(), 1, Shape::Rows { cells: Some(3) }).map(|r| split(r.text.unwrap())).collect();
            let trimmed: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cell.trim().to_owned()).collect()).collect();
            prop_assert_eq!(found, trimmed);
        }
    }
}
