//! Holds HTTP/1.1 requests to the letter of RFC 9112 before hyper reads them. hyper takes a bare LF for the end of a line, lets one of
//! two equal lengths go, and prefers `Transfer-Encoding` to a length beside it. Whatever stands in front of the gateway may read such
//! bytes in another way and let pass as one request what is two here. Nothing could come of it behind the gateway, where every
//! request is written anew; in front of it a request would be somebody else's.
//!
//! This is no second parser: it finds the ends of lines and bodies, and where something is wrong it turns the end of that line into NUL,
//! which hyper does not take there. So there is one parser and one answer: 400, in its turn, and the end of the connection. Beyond that
//! nothing is read any more (`wire.rs`).

use memchr::memchr;

/// A line of which so much must be known that came in pieces: a framing header, or the size of a chunk. Longer ones are wrong.
const LINE_BYTES_MAX: usize = 96;
/// Digits of a chunk's size: 64 bits.
const CHUNK_DIGITS_MAX: usize = 16;
/// Digits of a length: 64 bits, and none that could be over.
const LENGTH_DIGITS_MAX: usize = 19;
const SPOILT: u8 = 0;

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Strict {
    at: At,
    line: Line,
    framing: Framing,
    /// The target has a fragment, which hyper would cut off: RFC 9112, 3.2.1 knows none.
    has_fragment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request. One empty line may stand there: RFC 9112, 2.2.
    Between {
        blank: bool,
    },
    /// Behind the request line.
    Headers,
    /// In a body of so many more bytes.
    Length(u64),
    ChunkSize,
    /// In a chunk of so many more bytes.
    Chunk(u64),
    /// Behind a chunk's bytes.
    ChunkEnd,
    Trailers,
    /// Something was wrong: what follows is nobody's.
    Over,
}

/// How the body of the request whose head is being read is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// A line is not what it must be.
#[derive(Debug)]
struct Wrong;

impl Strict {
    pub(super) fn new() -> Self {
        Self { at: At::Between { blank: false }, line: Line::new(), framing: Framing::None, has_fragment: false }
    }

    /// Whether a head has begun and has not ended.
    pub(super) fn is_in_head(&self) -> bool {
        match self.at {
            At::Headers => true,
            At::Between { blank } => blank || self.line.length > 0,
            At::Length(_) | At::ChunkSize | At::Chunk(_) | At::ChunkEnd | At::Trailers | At::Over => false,
        }
    }

    /// Whether something was wrong.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Whether no request has begun that has not come whole.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.at, At::Between { .. }) && self.line.length == 0
    }

    /// Looks at what has come, and spoils what is wrong.
    pub(super) fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Over => return,
                At::Length(left) => self.body(left, bytes.len(), At::Length, At::Between { blank: false }),
                At::Chunk(left) => self.body(left, bytes.len(), At::Chunk, At::ChunkEnd),
                At::Between { .. } | At::Headers | At::ChunkSize | At::ChunkEnd | At::Trailers => self.line(bytes),
            };
            let (_, rest) = bytes.split_at_mut_checked(taken).unwrap_or_default();
            bytes = rest;
        }
    }

    fn body(&mut self, left: u64, here: usize, more: impl Fn(u64) -> At, end: At) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        let left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        self.at = if left == 0 { end } else { more(left) };
        taken
    }

    /// Takes what is here of a line; how many bytes.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            self.look_for_fragment(bytes);
            self.line.keep(bytes);
            return bytes.len();
        };
        let (here, _) = bytes.split_at_checked(end).unwrap_or_default();
        self.look_for_fragment(here);
        let has_cr = here.last().map_or(self.line.is_cr, |last| *last == b'\r');
        let judged = if self.line.length == 0 {
            here.strip_suffix(b"\r").ok_or(Wrong).and_then(|line| self.judge(line, line.len()))
        } else {
            self.line.keep(here);
            let line = std::mem::replace(&mut self.line, Line::new());
            line.whole().and_then(|(text, length)| self.judge(text, length))
        };
        if judged.is_err() {
            // NUL can stand in the extension of a chunk, and a bare LF nowhere in its line.
            let is_refused_so = self.at == At::ChunkSize && !has_cr;
            self.at = At::Over;
            if let Some(byte) = bytes.get_mut(end).filter(|_| !is_refused_so) {
                *byte = SPOILT;
            }
        }
        end.saturating_add(1)
    }

    /// One line without its end: as much of it as is there, and how long it is.
    fn judge(&mut self, line: &[u8], length: usize) -> Result<(), Wrong> {
        self.at = match (self.at, length) {
            (At::Between { blank: false }, 0) => At::Between { blank: true },
            (At::Between { blank: true }, 0) => return Err(Wrong),
            (At::Between { .. }, _) if self.has_fragment => return Err(Wrong),
            (At::Between { .. }, _) => {
                self.framing = Framing::None;
                At::Headers
            }
            (At::Headers, 0) => match self.framing {
                Framing::None | Framing::Length(0) => At::Between { blank: false },
                Framing::Length(length) => At::Length(length),
                Framing::Chunked => At::ChunkSize,
            },
            (At::Headers, _) => {
                self.header(line, length)?;
                At::Headers
            }
            (At::ChunkSize, _) => match chunk_size(line).ok_or(Wrong)? {
                0 => At::Trailers,
                size => At::Chunk(size),
            },
            (At::ChunkEnd, 0) => At::ChunkSize,
            (At::ChunkEnd, _) => return Err(Wrong),
            (At::Trailers, 0) => At::Between { blank: false },
            (at @ (At::Trailers | At::Length(_) | At::Chunk(_) | At::Over), _) => at,
        };
        Ok(())
    }

    fn look_for_fragment(&mut self, piece: &[u8]) {
        if matches!(self.at, At::Between { .. }) {
            self.has_fragment |= memchr(b'#', piece).is_some();
        }
    }

    /// One framing at most, and in one form.
    fn header(&mut self, line: &[u8], length: usize) -> Result<(), Wrong> {
        // Most names begin otherwise.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return Ok(());
        }
        let framing = if let Some(value) = value_of(line, b"content-length:") {
            content_length(value).map(Framing::Length)
        } else if let Some(value) = value_of(line, b"transfer-encoding:") {
            value.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked)
        } else {
            return Ok(());
        };
        if length > LINE_BYTES_MAX || self.framing != Framing::None {
            return Err(Wrong);
        }
        self.framing = framing.ok_or(Wrong)?;
        Ok(())
    }
}

/// What is there of a line that comes in pieces.
#[derive(Debug)]
struct Line {
    start: [u8; LINE_BYTES_MAX],
    length: usize,
    /// Of the last byte.
    is_cr: bool,
}

impl Line {
    const fn new() -> Self {
        Self { start: [0; LINE_BYTES_MAX], length: 0, is_cr: false }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.is_cr = *last == b'\r';
        for (to, from) in self.start.iter_mut().skip(self.length).zip(bytes) {
            *to = *from;
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    /// Without the CR at its end: as much as was kept, and how long it is.
    fn whole(&self) -> Result<(&[u8], usize), Wrong> {
        let length = self.length.checked_sub(1).filter(|_| self.is_cr).ok_or(Wrong)?;
        Ok((self.start.get(..length).unwrap_or(&self.start), length))
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| trimmed(value))
}

/// Without optional white space: RFC 9110, 5.6.3.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// No sign, no list, nothing that could be over.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0').filter(|d| *d < 10)?)))
}

/// Hexadecimal digits, and what a `;` begins is an extension.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?;
    if digits.is_empty() || digits.len() > CHUNK_DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(16)?.checked_add(u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of the bytes, whole and in pieces of every size; where nothing is wrong, whether a request may begin behind them.
    fn looked(bytes: &[u8]) -> (Vec<u8>, bool) {
        let by = |size: usize| {
            let (mut strict, mut left) = (Strict::new(), bytes.to_vec());
            left.chunks_mut(size).for_each(|piece| strict.look(piece));
            let is_between = strict.is_between();
            (left, is_between)
        };
        let whole = by(bytes.len().max(1));
        for size in 1..bytes.len() {
            assert_eq!(whole, by(size), "{:?} by {size}", String::from_utf8_lossy(bytes));
        }
        whole
    }

    const POST: &str = "POST /a HTTP/1.1\r\nhost: a\r\n";

    #[test]
    fn what_is_right_stays_as_it_is() {
        for good in [
            "GET / HTTP/1.1\r\nhost: a\r\nx: #\r\n\r\n".to_owned(),
            "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
            format!("{POST}Content-Length: 5\r\n\r\na\nb\ncGET / HTTP/1.1\r\n\r\n"),
            format!("{POST}content-length:\t 0 \r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            format!("{POST}TRANSFER-encoding: Chunked\r\n\r\n3;a=\"b\"\r\n\n\n\n\r\n00A\r\n0123456789\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nx: {}\r\ncontent-lengthy: a\r\ntransfer: b\r\n\r\n", "y".repeat(300)),
        ] {
            let (left, is_between) = looked(good.as_bytes());
            assert_eq!(good, String::from_utf8(left).unwrap());
            assert!(is_between, "{good:?}");
        }
        let (left, is_between) = looked(format!("{POST}content-length: 9\r\n\r\n12345678").as_bytes());
        assert!(!is_between && !left.contains(&0));
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_spoilt_where_it_is_wrong() {
        // The byte before `^` is the one that becomes NUL.
        for wrong in [
            "GET / HTTP/1.1\n^host: a\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: a\n^\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: a\r\n\n^".to_owned(),
            "\n^GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET /#a HTTP/1.1\r\n^host: a\r\n\r\n".to_owned(),
            "\r\n\r\n^GET / HTTP/1.1\r\n\r\n".to_owned(),
            format!("{POST}content-length: 2\r\ncontent-length: 2\r\n^\r\n"),
            format!("{POST}content-length: 2\r\ntransfer-encoding: chunked\r\n^\r\n"),
            format!("{POST}transfer-encoding: chunked\r\ncontent-length: 2\r\n^\r\n"),
            format!("{POST}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n^\r\n"),
            format!("{POST}transfer-encoding: gzip, chunked\r\n^\r\n"),
            format!("{POST}transfer-encoding: chunked, chunked\r\n^\r\n"),
            format!("{POST}transfer-encoding:\r\n^\r\n"),
            format!("{POST}transfer-encoding:{}chunked\r\n^\r\n", " ".repeat(100)),
            format!("{POST}content-length: +2\r\n^\r\n"),
            format!("{POST}content-length: -2\r\n^\r\n"),
            format!("{POST}content-length: 0x2\r\n^\r\n"),
            format!("{POST}content-length: 2, 2\r\n^\r\n"),
            format!("{POST}content-length: 2 2\r\n^\r\n"),
            format!("{POST}content-length: \r\n^\r\n"),
            format!("{POST}content-length: 18446744073709551618\r\n^\r\n"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n0x2\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n+2\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n 2\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n2 \r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n10000000000000000\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n2\r\nab\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n^"),
            format!("{POST}transfer-encoding: chunked\r\n\r\n0\r\nx: y\n^\r\n"),
            format!("{POST}content-length: 3\r\n\r\nabcGET / HTTP/1.1\n^\r\n"),
        ] {
            let (before, after) = wrong.split_once('^').unwrap();
            let expected = [&before.as_bytes()[..before.len() - 1], b"\0", after.as_bytes()].concat();
            let (left, is_between) = looked(&[before, after].concat().into_bytes());
            assert_eq!(String::from_utf8_lossy(&expected), String::from_utf8_lossy(&left));
            assert!(!is_between, "{wrong:?}");
        }
        // Refused by hyper as it is.
        for wrong in ["2\nab\r\n", "2;a\nb\r\n", "\n", "0\n\r\n"] {
            let wrong = format!("{POST}transfer-encoding: chunked\r\n\r\n{wrong}");
            assert_eq!((wrong.clone().into_bytes(), false), looked(wrong.as_bytes()));
        }
    }

    #[test]
    fn a_head_is_being_read_from_its_first_byte_to_its_last() {
        let mut strict = Strict::new();
        for (bytes, is_in_head, is_between) in [
            ("", false, true),
            ("P", true, false),
            ("OST / HTTP/1.1\r\n", true, false),
            ("content-length: 2\r\n\r", true, false),
            ("\n", false, false),
            ("{", false, false),
            ("}", false, true),
            ("\r\n", true, true),
            ("G", true, false),
        ] {
            strict.look(&mut bytes.as_bytes().to_vec());
            assert_eq!((is_in_head, is_between), (strict.is_in_head(), strict.is_between()), "{bytes:?}");
        }
    }
}
