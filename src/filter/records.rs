//! Where the records of a stream begin and end: one JSON text a line (NDJSON, <https://github.com/ndjson/ndjson-spec>), or events
//! with fields (`text/event-stream`, <https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! Of an event only what is understood goes on: its data, its name if it is declared, its id if ids are declared free, and
//! `retry`. Comments, other fields and events without data say nothing and stay here.

use super::json::Unreadable;

/// A record as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'b> {
    /// Its JSON; of an event with several `data` lines they stand together.
    pub(super) json: Json<'b>,
    pub(super) event: Option<&'b str>,
    pub(super) id: Option<&'b str>,
    pub(super) retry: Option<&'b str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json<'b> {
    One(&'b [u8]),
    Joined(Vec<u8>),
}

impl Json<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'b> {
    /// A record, and where it ends.
    Record(Record<'b>, usize),
    /// Nothing that says anything, up to there.
    Nothing(usize),
    /// More bytes are needed.
    Short,
}

/// The record that begins at `at`.
pub(super) fn line(bytes: &[u8], at: usize, is_last: bool) -> Found<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => end,
        None if is_last => rest.len(),
        None => return Found::Short,
    };
    let line = rest.get(..end).unwrap_or_default();
    let next = (at + end + 1).min(bytes.len());
    if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
        return Found::Nothing(next);
    }
    Found::Record(Record { json: Json::One(line), event: None, id: None, retry: None }, next)
}

/// The event that begins at `at`. What is not ended by an empty line when the stream ends is none.
///
/// # Errors
/// [`Unreadable::NotUtf8`] in the name of an event or its id.
pub(super) fn event(bytes: &[u8], at: usize, is_last: bool) -> Result<Found<'_>, Unreadable> {
    let mut data: Vec<&[u8]> = Vec::new();
    let (mut event, mut id, mut retry) = (None, None, None);
    let mut next = at;
    loop {
        let rest = bytes.get(next..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return Ok(if is_last { Found::Nothing(bytes.len()) } else { Found::Short });
        };
        let is_cr = rest.get(end) == Some(&b'\r');
        // A line feed that belongs to it may come yet.
        if is_cr && end + 1 == rest.len() && !is_last {
            return Ok(Found::Short);
        }
        let start = next;
        next += end + if is_cr && rest.get(end + 1) == Some(&b'\n') { 2 } else { 1 };
        let line = rest.get(..end).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || std::str::from_utf8(value).map_err(|error| Unreadable::NotUtf8 { at: start + colon + error.valid_up_to() });
        match field {
            b"data" => data.push(value),
            b"event" => event = Some(text()?).filter(|name| !name.is_empty()),
            b"id" => id = Some(text()?),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => retry = Some(text()?),
            _ => {}
        }
    }
    let json = match data[..] {
        [] => return Ok(Found::Nothing(next)),
        [one] => Json::One(one),
        _ => Json::Joined(data.join(&b'\n')),
    };
    Ok(Found::Record(Record { json, event, id, retry }, next))
}

/// Whether an id of an event is a plain token.
pub(super) fn is_plain_id(id: &str) -> bool {
    id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes an event with what went out of its data.
pub(super) fn write_event(event: Option<&str>, id: Option<&str>, retry: Option<&str>, json: &[u8], out: &mut Vec<u8>) {
    for (field, value) in [("event", event), ("id", id), ("retry", retry)] {
        if let Some(value) = value {
            out.extend_from_slice(field.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    // Line feeds stand between the parts of JSON only; each line of data has its field.
    for line in json.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'b>(json: &'b str, event: Option<&'b str>, id: Option<&'b str>, retry: Option<&'b str>) -> Record<'b> {
        Record { json: Json::One(json.as_bytes()), event, id, retry }
    }

    #[test]
    fn lines_are_records_and_empty_ones_are_nothing() {
        assert_eq!(line(b"{}\n[]", 0, false), Found::Record(record("{}", None, None, None), 3));
        assert_eq!(line(b"{}\n[]", 3, false), Found::Short);
        assert_eq!(line(b"{}\n[]", 3, true), Found::Record(record("[]", None, None, None), 5));
        assert_eq!(line(b" \r\n{}\n", 0, false), Found::Nothing(3));
        assert_eq!(line(b"", 0, false), Found::Short);
        assert_eq!(line(b"  ", 0, true), Found::Nothing(2));
    }

    #[test]
    fn events_end_with_an_empty_line_however_lines_end() {
        for end in ["\n", "\r\n", "\r"] {
            let text = [":hello", "event: order", "id:7", "retry: 10", "data: {}", "unknown: x", "", ":next", ""].join(end);
            let (first, whole) = (text.find(":next").unwrap(), text.as_bytes());
            let expected = Found::Record(record("{}", Some("order"), Some("7"), Some("10")), first);
            assert_eq!(event(whole, 0, false).unwrap(), expected, "{end:?}");
            assert_eq!(event(whole, first, false).unwrap(), Found::Short, "{end:?}");
            assert_eq!(event(whole, first, true).unwrap(), Found::Nothing(text.len()), "what is not ended is no event");
            for cut in 0..first {
                assert_eq!(event(&whole[..cut], 0, false).unwrap(), Found::Short, "{end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn lines_of_data_stand_together_and_are_written_as_lines_again() {
        let Found::Record(found, _) = event(b"data: {\ndata:\"a\":1}\n\n", 0, false).unwrap() else { panic!() };
        assert_eq!(found.json.bytes(), b"{\n\"a\":1}");
        let mut out = Vec::new();
        write_event(Some("order"), Some("7"), Some("10"), found.json.bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "event: order\nid: 7\nretry: 10\ndata: {\ndata: \"a\":1}\n\n");
    }

    #[test]
    fn what_has_no_data_is_nothing() {
        assert_eq!(event(b"event: order\n\n", 0, false).unwrap(), Found::Nothing(14));
        assert_eq!(event(b"\n", 0, false).unwrap(), Found::Nothing(1));
        assert_eq!(event(b"retry: 1x\ndata: 1\n\n", 0, false).unwrap(), Found::Record(record("1", None, None, None), 19));
        assert!(event(b"event: \xff\ndata: 1\n\n", 0, false).is_err());
    }

    #[test]
    fn ids_are_plain_tokens() {
        for (id, plain) in [("7", true), ("2026-11-27T10:00Z/a=", true), ("a b", false), ("é", false), ("a\u{0}", false)] {
            assert_eq!(is_plain_id(id), plain, "{id:?}");
        }
        assert!(!is_plain_id(&"7".repeat(129)));
    }
}
