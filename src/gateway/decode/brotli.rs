//! Brotli, by the decoder of `brotli-decompressor`. Its window is at most 16 MiB: large windows are off.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{DecodeError, Sink};

/// The decoder writes into a buffer of this size; after each the limits are looked at.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    buffer: Vec<u8>,
    is_over: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self { state: BrotliState::new_strict(alloc(), alloc(), alloc()), buffer: vec![0; BUFFER_BYTES], is_over: false }
    }

    pub(super) fn push(&mut self, input: &[u8], sink: &mut Sink) -> Result<(), DecodeError> {
        if self.is_over {
            return if input.is_empty() { Ok(()) } else { Err(DecodeError::AfterEnd) };
        }
        let (mut left, mut read) = (input.len(), 0);
        loop {
            let (mut room, mut written, mut total) = (self.buffer.len(), 0, 0);
            let result = BrotliDecompressStream(&mut left, &mut read, input, &mut room, &mut written, &mut self.buffer, &mut total, &mut self.state);
            sink.take(self.buffer.get(..written).unwrap_or_default())?;
            match result {
                BrotliResult::NeedsMoreOutput => {}
                // It took all input and has more to give than the buffer took.
                BrotliResult::NeedsMoreInput if written == self.buffer.len() => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(DecodeError::Corrupt),
                BrotliResult::ResultSuccess => {
                    self.is_over = true;
                    return if left == 0 { Ok(()) } else { Err(DecodeError::AfterEnd) };
                }
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_over { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}
