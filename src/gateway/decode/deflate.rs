//! gzip and deflate, over flate2. Its writers give back at most 32 KiB for one call, so that the limits are looked at in between;
//! what they hold back of that comes with a flush, once all input is taken.

use std::io::{ErrorKind, Write};

use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::{DecodeError, Sink};

/// One member after another: RFC 1952 §2.2 makes a file of several what they say together, and each has its own checksum.
#[derive(Default)]
pub(super) struct Gzip {
    member: Option<GzDecoder<Vec<u8>>>,
    /// Members that were whole.
    members: u64,
}

impl Gzip {
    pub(super) fn push(&mut self, mut input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        while !input.is_empty() {
            let member = self.member.get_or_insert_with(|| GzDecoder::new(Vec::new()));
            let taken = member.write(input).map_err(|_damaged| match (member.header(), self.members) {
                (None, 1..) => DecodeError::AfterEnd,
                (None, 0) | (Some(_), _) => DecodeError::Corrupt,
            })?;
            drain(member.get_mut(), sink)?;
            if taken == 0 {
                // The member has its end and its checksum; what is left begins another.
                self.finish(sink)?;
                self.members += 1;
            }
            input = input.get(taken..).unwrap_or_default();
        }
        let Some(member) = &mut self.member else { return Ok(()) };
        member.flush().map_err(|_damaged| DecodeError::Corrupt)?;
        drain(member.get_mut(), sink)
    }

    pub(super) fn finish(&mut self, sink: &mut Sink) -> Result<(), DecodeError> {
        let Some(mut member) = self.member.take() else { return Ok(()) };
        member.try_finish().map_err(|error| if member.header().is_none() { DecodeError::Truncated } else { at_end(&error) })?;
        drain(member.get_mut(), sink)
    }
}

/// `deflate` means zlib (RFC 9110 §8.4.1.2). Servers that send it bare are told by its first two bytes: as bare data a zlib header
/// would be a stored block with padding that no encoder writes, and what it is taken for wrongly does not decode.
pub(super) enum Deflate {
    /// Too few bytes to tell.
    Start(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Bare(DeflateDecoder<Vec<u8>>),
}

impl Default for Deflate {
    fn default() -> Self {
        Self::Start(Vec::new())
    }
}

impl Deflate {
    pub(super) fn push(&mut self, input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        match self {
            Self::Start(held) => {
                held.extend_from_slice(input);
                let [first, second, ..] = held.as_slice() else { return Ok(()) };
                let (first, second) = (u16::from(*first), u16::from(*second));
                // Method 8, a check that divides by 31, no dictionary.
                let is_zlib = first & 0x0f == 8 && (first << 8 | second) % 31 == 0 && second & 0x20 == 0;
                let held = std::mem::take(held);
                *self = if is_zlib { Self::Zlib(ZlibDecoder::new(Vec::new())) } else { Self::Bare(DeflateDecoder::new(Vec::new())) };
                self.push(&held, sink)
            }
            Self::Zlib(decoder) => write_all(decoder, ZlibDecoder::get_mut, input, sink),
            Self::Bare(decoder) => write_all(decoder, DeflateDecoder::get_mut, input, sink),
        }
    }

    pub(super) fn finish(&mut self, sink: &mut Sink) -> Result<(), DecodeError> {
        match self {
            Self::Start(_) => Err(DecodeError::Truncated),
            Self::Zlib(decoder) => {
                decoder.try_finish().map_err(|error| at_end(&error))?;
                drain(decoder.get_mut(), sink)
            }
            Self::Bare(decoder) => {
                decoder.try_finish().map_err(|error| at_end(&error))?;
                drain(decoder.get_mut(), sink)
            }
        }
    }
}

fn write_all<D: Write>(decoder: &mut D, written: fn(&mut D) -> &mut Vec<u8>, mut input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
    while !input.is_empty() {
        let taken = decoder.write(input).map_err(|_damaged| DecodeError::Corrupt)?;
        drain(written(decoder), sink)?;
        if taken == 0 {
            return Err(DecodeError::AfterEnd);
        }
        input = input.get(taken..).unwrap_or_default();
    }
    decoder.flush().map_err(|_damaged| DecodeError::Corrupt)?;
    drain(written(decoder), sink)
}

fn drain(written: &mut Vec<u8>, sink: &mut Sink) -> Result<(), DecodeError> {
    sink.take(written)?;
    written.clear();
    Ok(())
}

fn at_end(error: &std::io::Error) -> DecodeError {
    if error.kind() == ErrorKind::UnexpectedEof { DecodeError::Truncated } else { DecodeError::Corrupt }
}
