//! Content codings of upstreams' answers, undone before anything is read
//! ([RFC 9110 §8.4](https://www.rfc-editor.org/rfc/rfc9110#section-8.4)). Bytes are pushed in as they arrive and what they decode to
//! is appended; nothing here waits or reads a clock.
//!
//! Taken: `gzip` and `x-gzip` ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952), with several members, as it says), `deflate`
//! (zlib, and the bare form that some servers send, as browsers take it), `br` ([RFC 7932](https://www.rfc-editor.org/rfc/rfc7932),
//! without large windows), `zstd` ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878), windows of at most 8 MiB as
//! [RFC 9659](https://www.rfc-editor.org/rfc/rfc9659) has it, no dictionaries). Refused: every other name, more than one coding,
//! checksums that are wrong, an end that is missing, anything after the end, whatever grows beyond its limits, and a stream of records
//! as `zstd`, whose decoder holds a window back: the others give what was flushed at once.
//!
//! INVARIANT: one push appends at most `max(RATIO_FLOOR, ratio_max × bytes so far)` bytes, and never more than `bytes_max` in all. A
//! bomb is found while it grows; whoever pushes small pieces holds little.

mod brotli;
mod deflate;
mod zstd;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};

use brotli::Brotli;
use deflate::{Deflate, Gzip};
use zstd::Zstd;

/// Bytes that any answer may decode to, however few it came as: a list of nulls packs well.
const RATIO_FLOOR: u64 = 64 * 1024;
/// Bytes that are pushed at a time by [`whole`].
const PIECE_BYTES: usize = 16 * 1024;

/// What an answer may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Decoded, bytes.
    pub(super) bytes_max: u64,
    /// Decoded bytes for each that came, once there are more than [`RATIO_FLOOR`].
    pub(super) ratio_max: u32,
}

/// Why an encoded answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the answer's content coding is not known")]
    UnknownCoding,
    #[error("the answer has more than one content coding")]
    Stacked,
    #[error("the answer has another transfer coding than `chunked`, or a length beside it")]
    TransferCoding,
    #[error("the answer's coding is damaged")]
    Corrupt,
    #[error("the encoded answer does not end")]
    Truncated,
    #[error("something stands after the end of the encoded answer")]
    AfterEnd,
    #[error("the answer wants a window, or a dictionary, that is not allowed")]
    Window,
    #[error("a stream cannot come as `zstd`: its decoder gives records late")]
    Late,
    #[error("the decoded answer is over the size limit")]
    TooLarge,
    #[error("the answer decodes to too many times its size")]
    Ratio,
}

/// A content coding that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The one coding of an answer; `None`: it came plain.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, DecodeError> {
    // hyper takes `gzip, chunked` for chunked and hands the rest on; that would be a coding nobody sees.
    let mut transfer = headers.get_all(TRANSFER_ENCODING).iter();
    // Beside a length, two readers may see two bodies.
    if let Some(first) = transfer.next()
        && (transfer.next().is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked") || headers.contains_key(CONTENT_LENGTH))
    {
        return Err(DecodeError::TransferCoding);
    }
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_bytes| DecodeError::UnknownCoding)?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(DecodeError::UnknownCoding),
            };
            if found.replace(coding).is_some() {
                return Err(DecodeError::Stacked);
            }
        }
    }
    Ok(found)
}

/// Undoes the coding of a whole body. The headers say afterwards that it is plain; after an error they are as they came, so
/// that the body is still taken for encoded.
///
/// # Errors
/// [`DecodeError`]
pub(super) fn whole(headers: &mut HeaderMap, body: Bytes, limits: Limits) -> Result<Bytes, DecodeError> {
    let Some(mut decoder) = Decoder::of(headers, limits, false)? else { return Ok(body) };
    let mut out = Vec::new();
    for piece in body.chunks(PIECE_BYTES) {
        decoder.push(piece, &mut out)?;
    }
    decoder.finish(&mut out)?;
    headers.remove(CONTENT_ENCODING);
    Ok(Bytes::from(out))
}

/// Whether a body with these headers is still encoded in some way.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    !matches!(coding(headers), Ok(None))
}

/// One answer's decoder. After an error it gives the same error for whatever comes.
pub(super) struct Decoder {
    state: State,
    limits: Limits,
    taken: u64,
    /// Receives what decodes, within what is left of the limits.
    sink: Sink,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The buffers hold personal data.
        f.debug_struct("Decoder").field("taken", &self.taken).field("given", &self.sink.given).finish_non_exhaustive()
    }
}

enum State {
    Running(Running),
    Failed(DecodeError),
}

impl Decoder {
    /// The decoder for an answer with these headers; `None` when it came plain. `is_prompt`: whatever was flushed must come at once.
    ///
    /// # Errors
    /// [`DecodeError`] for codings that are not understood.
    pub(super) fn of(headers: &HeaderMap, limits: Limits, is_prompt: bool) -> Result<Option<Self>, DecodeError> {
        match coding(headers)? {
            Some(Coding::Zstd) if is_prompt => Err(DecodeError::Late),
            coding => Ok(coding.map(|coding| Self::new(coding, limits))),
        }
    }

    fn new(coding: Coding, limits: Limits) -> Self {
        let running = match coding {
            Coding::Gzip => Running::Gzip(Box::default()),
            Coding::Deflate => Running::Deflate(Box::default()),
            Coding::Brotli => Running::Brotli(Box::new(Brotli::new())),
            Coding::Zstd => Running::Zstd(Box::new(Zstd::new())),
        };
        Self { state: State::Running(running), limits, taken: 0, sink: Sink::default() }
    }

    /// Takes the next bytes of the body and appends what they decode to.
    ///
    /// # Errors
    /// [`DecodeError`]; nothing that was appended so far may be used then.
    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.taken = self.taken.saturating_add(u64::try_from(input.len()).unwrap_or(u64::MAX));
        self.step(out, |running, sink| running.push(input, sink))
    }

    /// The body is over.
    ///
    /// # Errors
    /// `Truncated`, or what the checksums at the end say.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        if self.taken == 0 {
            // No bytes are no bytes, whatever the header calls them.
            return Ok(());
        }
        self.step(out, Running::finish)
    }

    fn step(&mut self, out: &mut Vec<u8>, run: impl FnOnce(&mut Running, &mut Sink) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        let State::Running(running) = &mut self.state else { return self.failed() };
        self.sink.allow(self.limits, self.taken);
        let sink = &mut self.sink;
        // The decoders are other people's code in front of foreign bytes: should one panic, that is a damaged answer.
        let done = catch_unwind(AssertUnwindSafe(|| run(running, sink))).unwrap_or(Err(DecodeError::Corrupt));
        // A limit that was met explains every other error.
        match self.sink.over.map_or(done, Err) {
            Ok(()) => {
                out.append(&mut self.sink.held);
                Ok(())
            }
            Err(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    fn failed(&self) -> Result<(), DecodeError> {
        match &self.state {
            State::Failed(error) => Err(*error),
            State::Running(_) => Ok(()),
        }
    }
}

/// Where decoders write; refuses what is beyond the limits.
#[derive(Default)]
struct Sink {
    held: Vec<u8>,
    given: u64,
    allowed: u64,
    /// What it is called when `allowed` is not enough.
    called: Option<DecodeError>,
    over: Option<DecodeError>,
}

impl Sink {
    fn allow(&mut self, limits: Limits, taken: u64) {
        let by_ratio = taken.saturating_mul(limits.ratio_max.into()).max(RATIO_FLOOR);
        self.allowed = by_ratio.min(limits.bytes_max);
        self.called = Some(if by_ratio < limits.bytes_max { DecodeError::Ratio } else { DecodeError::TooLarge });
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let given = self.given.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if given > self.allowed {
            self.over = self.called;
            return Err(self.called.unwrap_or(DecodeError::TooLarge));
        }
        self.given = given;
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Running {
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
}

impl Running {
    fn push(&mut self, input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        match self {
            Self::Gzip(gzip) => gzip.push(input, sink),
            Self::Deflate(deflate) => deflate.push(input, sink),
            Self::Brotli(brotli) => brotli.push(input, sink),
            Self::Zstd(zstd) => zstd.push(input, sink),
        }
    }

    fn finish(&mut self, sink: &mut Sink) -> Result<(), DecodeError> {
        match self {
            Self::Gzip(gzip) => gzip.finish(sink),
            Self::Deflate(deflate) => deflate.finish(sink),
            Self::Brotli(brotli) => brotli.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}
