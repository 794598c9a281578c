//! Content codings, as APIs and apps write and read them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzDecoder, GzEncoder, ZlibEncoder};

use super::Plan;

pub(crate) fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip(bytes: &[u8]) -> String {
    let mut decoder = GzDecoder::new(Vec::new());
    decoder.write_all(bytes).unwrap();
    String::from_utf8(decoder.finish().unwrap()).unwrap()
}

/// With a header of zlib, or bare.
pub(crate) fn deflate(text: impl AsRef<[u8]>, zlib: bool) -> Vec<u8> {
    if zlib {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_ref()).unwrap();
        return encoder.finish().unwrap();
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn brotli(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    encoder.write_all(text.as_ref()).unwrap();
    encoder.into_inner()
}

/// As frames of some length: of each the decoder gives the end only when it has come.
pub(crate) fn zstd(text: impl AsRef<[u8]>) -> Vec<u8> {
    let frame = |text: &[u8]| ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    if text.as_ref().is_empty() { frame(b"") } else { text.as_ref().chunks(100_000).flat_map(frame).collect() }
}

/// Pieces with a flush behind each, and the end.
pub(crate) fn flushed(coding: &str, pieces: &[String]) -> Vec<Bytes> {
    fn all<E: Write>(mut encoder: E, taken: fn(&mut E) -> &mut Vec<u8>, finish: fn(E) -> Vec<u8>, pieces: &[String]) -> Vec<Bytes> {
        let mut said = Vec::new();
        for piece in pieces {
            encoder.write_all(piece.as_bytes()).unwrap();
            encoder.flush().unwrap();
            said.push(std::mem::take(taken(&mut encoder)).into());
        }
        said.push(finish(encoder).into());
        said
    }
    let level = Compression::default();
    match coding {
        "gzip" => all(GzEncoder::new(Vec::new(), level), GzEncoder::get_mut, |e| e.finish().unwrap(), pieces),
        "deflate" => all(ZlibEncoder::new(Vec::new(), level), ZlibEncoder::get_mut, |e| e.finish().unwrap(), pieces),
        "br" => all(
            brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22),
            brotli::CompressorWriter::get_mut,
            brotli::CompressorWriter::into_inner,
            pieces,
        ),
        other => panic!("no encoder of {other} that flushes"),
    }
}

impl Plan {
    /// Called so encoded.
    pub(crate) fn coded(self, coding: &str) -> Self {
        self.header("content-encoding", coding)
    }
}
