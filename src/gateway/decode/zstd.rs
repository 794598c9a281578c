//! Zstandard, by the decoder of `ruzstd`, which reads whole blocks: this cuts the stream into what it needs next.
//!
//! ```text
//! frame:      28 b5 2f fd | descriptor, [window], [dictionary], [content size] | block … | [checksum, 4]
//! block:      header, 3 bytes little endian: last (1 bit), type (2 bits), size (21 bits) | content
//! skippable:  5x 2a 4d 18 | size, 4 | size bytes
//! ```
//!
//! A block is at most 128 KiB, encoded and decoded. What is decoded stays in the decoder until it is further back than the window
//! reaches, or the frame is over: so up to [`WINDOW_BYTES_MAX`] come late.

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{DecodeError, Sink};

/// What RFC 9659 lets an encoder for the web use.
const WINDOW_BYTES_MAX: u64 = 8 << 20;
const MAGIC: u32 = 0xfd2f_b528;
const BLOCK_BYTES_MAX: usize = 128 << 10;

pub(super) struct Zstd {
    decoder: FrameDecoder,
    /// What came and is not used yet: less than one block, but within a push.
    held: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between frames.
    Start,
    Block {
        checksum: bool,
        /// Decoded bytes of the frame before this one.
        given_before: u64,
    },
    /// Of a skippable frame.
    Skip { left: usize },
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { decoder, held: Vec::new(), stage: Stage::Start }
    }

    pub(super) fn push(&mut self, input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(input);
        let mut rest = held.as_slice();
        while let Some((now, later)) = self.needed(rest)?.and_then(|needed| rest.split_at_checked(needed)) {
            self.take(now, sink)?;
            rest = later;
        }
        // A block that comes byte by byte is not copied each time.
        let used = held.len() - rest.len();
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.stage == Stage::Start && self.held.is_empty() { Ok(()) } else { Err(DecodeError::Truncated) }
    }

    /// How many bytes the next step takes; `None` when that cannot be told yet.
    fn needed(&self, rest: &[u8]) -> Result<Option<usize>, DecodeError> {
        match (self.stage, rest) {
            (Stage::Start, [a, b, c, d, descriptor, ..]) => {
                let magic = u32::from_le_bytes([*a, *b, *c, *d]);
                if magic & 0xffff_fff0 == 0x184d_2a50 {
                    return Ok(Some(8));
                }
                if magic != MAGIC {
                    return Err(self.not_a_frame());
                }
                let single = descriptor & 0x20 != 0;
                let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default();
                let size = match (descriptor >> 6, single) {
                    (0, false) => 0,
                    (0, true) => 1,
                    (1, _) => 2,
                    (2, _) => 4,
                    _ => 8,
                };
                Ok(Some(5 + usize::from(!single) + dictionary + size))
            }
            (Stage::Block { checksum, .. }, [a, b, c, ..]) => {
                let header = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
                let (last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
                if size > BLOCK_BYTES_MAX || kind == 3 {
                    return Err(DecodeError::Corrupt);
                }
                let content = if kind == 1 { 1 } else { size };
                Ok(Some(3 + content + if last && checksum { 4 } else { 0 }))
            }
            (Stage::Skip { left }, [_, ..]) => Ok(Some(left.min(rest.len()))),
            (Stage::Start | Stage::Block { .. } | Stage::Skip { .. }, _) => Ok(None),
        }
    }

    fn not_a_frame(&self) -> DecodeError {
        // A frame before this one left a decoder behind that has read something.
        if self.decoder.bytes_read_from_source() > 0 { DecodeError::AfterEnd } else { DecodeError::Corrupt }
    }

    /// Exactly what [`Self::needed`] asked for.
    fn take(&mut self, now: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        match self.stage {
            Stage::Start => self.start(now, sink.given),
            Stage::Skip { left } => {
                let left = left.saturating_sub(now.len());
                self.stage = if left == 0 { Stage::Start } else { Stage::Skip { left } };
                Ok(())
            }
            Stage::Block { given_before, .. } => self.block(now, given_before, sink),
        }
    }

    fn start(&mut self, now: &[u8], given_before: u64) -> Result<(), DecodeError> {
        if let [_, 0x2a, 0x4d, 0x18, size @ ..] = now
            && let Ok(size) = size.try_into().map(u32::from_le_bytes)
        {
            let left = usize::try_from(size).map_err(|_too_large| DecodeError::TooLarge)?;
            self.stage = if left == 0 { Stage::Start } else { Stage::Skip { left } };
            return Ok(());
        }
        self.decoder.reset(now).map_err(|error| {
            let unbounded = matches!(error, FrameDecoderError::WindowSizeTooBig { .. } | FrameDecoderError::DictNotProvided { .. });
            if unbounded { DecodeError::Window } else { DecodeError::Corrupt }
        })?;
        let checksum = now.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
        self.stage = Stage::Block { checksum, given_before };
        Ok(())
    }

    fn block(&mut self, mut now: &[u8], given_before: u64, sink: &mut Sink) -> Result<(), DecodeError> {
        let last = self.decoder.decode_blocks(&mut now, BlockDecodingStrategy::UptoBlocks(1)).map_err(|_damaged| DecodeError::Corrupt)?;
        self.decoder.collect_to_writer(&mut *sink).map_err(|_over| DecodeError::TooLarge)?;
        if !last {
            return Ok(());
        }
        let size = self.decoder.content_size();
        let right_size = size == 0 || size == sink.given - given_before;
        let right_sum = self.decoder.get_checksum_from_data().is_none_or(|sum| Some(sum) == self.decoder.get_calculated_checksum());
        if !right_size || !right_sum {
            return Err(DecodeError::Corrupt);
        }
        self.stage = Stage::Start;
        Ok(())
    }
}
