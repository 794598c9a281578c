//! Every coding, cut anywhere; damage, tails and bombs.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

const LIMITS: Limits = Limits { bytes_max: 8 << 20, ratio_max: 100 };
const TEXT: &[u8] = br#"{"id":"0031","email":"ada@example.net","again":"ada@example.net ada@example.net"}"#;
/// `TEXT` by the command line of Zstandard, with a checksum and without.
const ZSTD: [&str; 2] = [
    "28b52ffd2451b50100f2c20a11b06b0c4fac7bc896d7984649bb3dc19c1311b0cd94879d32a1aaad7c7a12e566b5b9f43029636c463b0c02004d21a2edcd32b4356ee6",
    "28b52ffd0058cd0100f4027b226964223a2230303331222c22656d61696c223a22616461406578616d706c652e6e6574222c22616761696e207d02004d21a2edcd32",
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Gzip,
    Zlib,
    Bare,
    Brotli,
    Zstd,
}

const FORMS: [(Form, Coding); 5] = [
    (Form::Gzip, Coding::Gzip),
    (Form::Zlib, Coding::Deflate),
    (Form::Bare, Coding::Deflate),
    (Form::Brotli, Coding::Brotli),
    (Form::Zstd, Coding::Zstd),
];

fn encoded(form: Form, text: &[u8]) -> Vec<u8> {
    match form {
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Form::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Form::Bare => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Form::Brotli => {
            let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(text).unwrap();
            encoder.into_inner()
        }
        Form::Zstd => compress_to_vec(text, CompressionLevel::Fastest),
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Decodes in pieces of these sizes, one after the other and again.
fn decoded(coding: Coding, bytes: &[u8], sizes: &[usize], limits: Limits) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, limits);
    let (mut out, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).clamp(1, rest.len()));
        decoder.push(now, &mut out)?;
        rest = later;
    }
    decoder.finish(&mut out)?;
    Ok(out)
}

#[test]
fn a_name_stands_for_one_coding_or_the_answer_is_refused() {
    let check = |name: http::header::HeaderName, values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        coding(&headers)
    };
    for (values, expected) in [
        (&[][..], None),
        (&["identity"], None),
        (&["Identity, identity"], None),
        (&[""], None),
        (&["gzip"], Some(Coding::Gzip)),
        (&["X-GZIP"], Some(Coding::Gzip)),
        (&[" gzip ,"], Some(Coding::Gzip)),
        (&["identity, br"], Some(Coding::Brotli)),
        (&["deflate"], Some(Coding::Deflate)),
        (&["zstd"], Some(Coding::Zstd)),
    ] {
        assert_eq!(check(CONTENT_ENCODING, values), Ok(expected), "{values:?}");
    }
    for (values, error) in [
        (&["gzip, gzip"][..], DecodeError::Stacked),
        (&["gzip", "br"], DecodeError::Stacked),
        (&["deflate,identity,gzip"], DecodeError::Stacked),
        (&["compress"], DecodeError::UnknownCoding),
        (&["aes128gcm"], DecodeError::UnknownCoding),
        (&["dcz"], DecodeError::UnknownCoding),
        (&["gzip;q=1"], DecodeError::UnknownCoding),
        (&["utf-8"], DecodeError::UnknownCoding),
        (&["gz\u{ef}p"], DecodeError::UnknownCoding),
    ] {
        assert_eq!(check(CONTENT_ENCODING, values), Err(error), "{values:?}");
    }
    assert_eq!(check(TRANSFER_ENCODING, &["Chunked"]), Ok(None));
    let both = [(TRANSFER_ENCODING, HeaderValue::from_static("chunked")), (CONTENT_LENGTH, HeaderValue::from_static("2"))];
    assert_eq!(coding(&both.into_iter().collect()), Err(DecodeError::TransferCoding));
    for values in [&["gzip, chunked"][..], &["gzip"], &["chunked, chunked"], &["chunked", "chunked"], &["identity"], &["chunked;x=1"]] {
        assert_eq!(check(TRANSFER_ENCODING, values), Err(DecodeError::TransferCoding), "{values:?}");
    }
}

#[test]
fn each_coding_is_undone_wherever_it_is_cut() {
    for (form, coding) in FORMS {
        let bytes = encoded(form, TEXT);
        for sizes in [&[1][..], &[2], &[3, 1], &[7], &[bytes.len()]] {
            assert_eq!(decoded(coding, &bytes, sizes, LIMITS).as_deref(), Ok(TEXT), "{form:?} {sizes:?}");
        }
    }
    for bytes in ZSTD.map(hex) {
        assert_eq!(decoded(Coding::Zstd, &bytes, &[5], LIMITS).as_deref(), Ok(TEXT));
    }
}

#[test]
fn an_end_that_is_missing_is_no_end() {
    for (form, coding) in FORMS {
        let bytes = encoded(form, TEXT);
        for length in 1..bytes.len() {
            let cut = decoded(coding, &bytes[..length], &[16], LIMITS);
            assert!(matches!(cut, Err(DecodeError::Truncated | DecodeError::Corrupt)), "{form:?} {length}: {cut:?}");
        }
        assert_eq!(decoded(coding, &[], &[1], LIMITS), Ok(Vec::new()), "no bytes are no bytes");
    }
}

#[test]
fn nothing_stands_after_the_end() {
    for (form, coding) in FORMS {
        for tail in [&b"{"[..], b"\0", b"\r\n", b"<!-- -->", b"HTTP/1.1 200 OK\r\n"] {
            let bytes = [encoded(form, TEXT), tail.to_vec()].concat();
            for sizes in [&[1][..], &[bytes.len()], &[bytes.len() - tail.len(), 1]] {
                let after = decoded(coding, &bytes, sizes, LIMITS);
                // Of a few bytes the decoders do not say whether they begin another member or frame.
                let expected = matches!(after, Err(DecodeError::AfterEnd)) || (tail.len() < 10 && after == Err(DecodeError::Truncated));
                assert!(expected, "{form:?} {tail:?} {sizes:?}: {after:?}");
            }
        }
    }
}

#[test]
fn several_members_or_frames_say_together_what_they_say() {
    for (form, coding) in [(Form::Gzip, Coding::Gzip), (Form::Zstd, Coding::Zstd)] {
        let bytes = [encoded(form, &TEXT[..20]), encoded(form, b""), encoded(form, &TEXT[20..])].concat();
        for sizes in [&[1][..], &[13], &[bytes.len()]] {
            assert_eq!(decoded(coding, &bytes, sizes, LIMITS).as_deref(), Ok(TEXT), "{form:?} {sizes:?}");
        }
    }
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &hex(ZSTD[0]), &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]].concat();
    assert_eq!(decoded(Coding::Zstd, &skippable, &[1], LIMITS).as_deref(), Ok(TEXT));
    // zlib, bare deflate and brotli have no members.
    for (form, coding) in [(Form::Zlib, Coding::Deflate), (Form::Bare, Coding::Deflate), (Form::Brotli, Coding::Brotli)] {
        let twice = [encoded(form, TEXT), encoded(form, TEXT)].concat();
        assert_eq!(decoded(coding, &twice, &[9], LIMITS), Err(DecodeError::AfterEnd), "{form:?}");
    }
}

#[test]
fn wrong_checksums_lengths_and_names_are_damage() {
    let mut sums = vec![(Coding::Zstd, hex(ZSTD[0])), (Coding::Gzip, encoded(Form::Gzip, TEXT)), (Coding::Deflate, encoded(Form::Zlib, TEXT))];
    for (coding, bytes) in &mut sums {
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(decoded(*coding, bytes, &[8], LIMITS), Err(DecodeError::Corrupt), "{coding:?}");
    }
    let mut length = encoded(Form::Gzip, TEXT);
    let crc = length.len() - 5;
    length[crc] ^= 0x40;
    assert_eq!(decoded(Coding::Gzip, &length, &[8], LIMITS), Err(DecodeError::Corrupt), "of the checksum itself");
    let mut size = hex(ZSTD[0]);
    size[5] -= 1;
    assert!(decoded(Coding::Zstd, &size, &[8], LIMITS).is_err(), "another content size than said");
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        assert!(decoded(coding, TEXT, &[8], LIMITS).is_err(), "plain text called {coding:?}");
        for (form, other) in FORMS {
            if other != coding {
                assert!(decoded(coding, &encoded(form, TEXT), &[8], LIMITS).is_err(), "{form:?} called {coding:?}");
            }
        }
    }
    // gzip as the body of gzip stays what it is: gzip, which no reader of JSON takes.
    let twice = encoded(Form::Gzip, &encoded(Form::Gzip, TEXT));
    assert_eq!(decoded(Coding::Gzip, &twice, &[8], LIMITS), Ok(encoded(Form::Gzip, TEXT)));
}

#[test]
fn large_windows_and_dictionaries_are_refused_before_they_cost_anything() {
    // A window of 128 MiB, as `zstd --long=27` writes it; a dictionary by number.
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffd0488640000100000"), &[1], LIMITS), Err(DecodeError::Window));
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffd2107510000"), &[1], LIMITS), Err(DecodeError::Window));
    // A single segment of 1 GiB.
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffda0000000400000"), &[1], LIMITS), Err(DecodeError::Window));
    // A window of 8 MiB is the largest.
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffd0068070000"), &[1], LIMITS), Err(DecodeError::Corrupt));
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffd0069010000"), &[1], LIMITS), Err(DecodeError::Window));
    assert_eq!(decoded(Coding::Zstd, &hex("28b52ffd0068010000"), &[1], LIMITS).as_deref(), Ok(&[][..]));
    // Brotli's large window (RFC 9841): the byte 0x11.
    assert_eq!(decoded(Coding::Brotli, &[0x11, 0x1e, 0x80, 0, 0, 0], &[1], LIMITS), Err(DecodeError::Corrupt));
}

/// The beginning of ten gigabytes of zeros, and what can be repeated for the rest.
fn bomb(form: Form) -> (Vec<u8>, Vec<u8>) {
    let zeros = vec![0_u8; 1 << 20];
    match form {
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&zeros).unwrap();
            encoder.flush().unwrap();
            let head = std::mem::take(encoder.get_mut());
            encoder.write_all(&zeros).unwrap();
            encoder.flush().unwrap();
            (head, encoder.get_ref().clone())
        }
        Form::Zlib | Form::Bare => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&zeros).unwrap();
            encoder.flush().unwrap();
            let more = encoder.get_ref().clone();
            (if form == Form::Zlib { vec![0x78, 0x9c] } else { more.clone() }, more)
        }
        Form::Brotli => {
            let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(&zeros).unwrap();
            encoder.flush().unwrap();
            let head = encoder.get_ref().clone();
            encoder.write_all(&zeros).unwrap();
            encoder.flush().unwrap();
            (head.clone(), encoder.get_ref()[head.len()..].to_vec())
        }
        // Blocks that repeat one byte 131,072 times.
        Form::Zstd => (hex("28b52ffd0050"), hex("02001000").repeat(8)),
    }
}

#[test]
fn a_bomb_is_found_while_it_grows() {
    for (form, coding) in FORMS {
        let (head, more) = bomb(form);
        for (limits, expected) in [
            (LIMITS, DecodeError::Ratio),
            (Limits { bytes_max: 8 << 20, ratio_max: u32::MAX }, DecodeError::TooLarge),
            (Limits { bytes_max: 1_000, ratio_max: 100 }, DecodeError::TooLarge),
        ] {
            let mut decoder = Decoder::new(coding, limits);
            let (mut out, mut pushed, mut largest) = (Vec::new(), 0_u64, 0);
            let pieces = std::iter::once(&head).chain(std::iter::repeat_n(&more, 10_240)).flat_map(|block| block.chunks(512));
            let error = pieces.map(|piece| {
                pushed += piece.len() as u64;
                let pushed = decoder.push(piece, &mut out);
                largest = largest.max(out.len());
                pushed
            });
            let error = error.filter_map(Result::err).next();
            assert_eq!(error, Some(expected), "{form:?}");
            let allowed = limits.bytes_max.min(RATIO_FLOOR.max(pushed * u64::from(limits.ratio_max)));
            assert!(largest as u64 <= allowed, "{form:?}: {largest} of {allowed}");
            assert!(decoder.sink.held.capacity() as u64 <= 2 * allowed + (1 << 20), "{form:?}");
            assert_eq!(decoder.push(&more, &mut out), Err(expected), "and it stays so");
            assert_eq!(decoder.finish(&mut out), Err(expected));
        }
    }
}

#[test]
fn what_grows_within_the_limits_passes() {
    let zeros = vec![b' '; 60 * 1024];
    for (form, coding) in FORMS {
        assert_eq!(decoded(coding, &encoded(form, &zeros), &[64], LIMITS), Ok(zeros.clone()), "{form:?} below the floor");
    }
    let row = |n: u32| format!("{{\"id\":\"{n:04}\",\"email\":\"customer{n}@example.net\",\"stage\":\"customer\"}},");
    let list: String = (0..10_000).map(row).collect();
    for (form, coding) in FORMS {
        assert_eq!(decoded(coding, &encoded(form, list.as_bytes()), &[1_000], LIMITS).as_deref(), Ok(list.as_bytes()), "{form:?}");
    }
}

#[test]
fn a_whole_body_is_plain_afterwards_or_still_called_encoded() {
    let headers = |value: &'static str| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]);
    let mut good = headers("gzip");
    assert_eq!(whole(&mut good, encoded(Form::Gzip, TEXT).into(), LIMITS).as_deref(), Ok(TEXT));
    assert!(!is_encoded(&good) && good.is_empty());
    let mut bad = headers("gzip");
    assert!(whole(&mut bad, Bytes::from_static(TEXT), LIMITS).is_err());
    assert!(is_encoded(&bad));
    assert!(is_encoded(&headers("gzip, gzip")) && is_encoded(&headers("zzz")) && !is_encoded(&headers("identity")));
}

/// Encodes pieces, each followed by a flush; the bytes up to each flush, and those of the end.
fn flushed(form: Form, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    fn all<E: Write>(mut encoder: E, taken: impl Fn(&mut E) -> Vec<u8>, finish: impl Fn(E) -> Vec<u8>, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        for piece in pieces {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
            said.push(taken(&mut encoder));
        }
        said.push(finish(encoder));
        said
    }
    let level = Compression::default();
    match form {
        Form::Gzip => all(GzEncoder::new(Vec::new(), level), |e| std::mem::take(e.get_mut()), |e| e.finish().unwrap(), pieces),
        Form::Zlib => all(ZlibEncoder::new(Vec::new(), level), |e| std::mem::take(e.get_mut()), |e| e.finish().unwrap(), pieces),
        Form::Bare => all(DeflateEncoder::new(Vec::new(), level), |e| std::mem::take(e.get_mut()), |e| e.finish().unwrap(), pieces),
        Form::Brotli => {
            let encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            all(encoder, |e| std::mem::take(e.get_mut()), ::brotli::CompressorWriter::into_inner, pieces)
        }
        Form::Zstd => panic!("ruzstd's encoder does not flush"),
    }
}

#[test]
fn what_an_encoder_flushed_is_there_at_once() {
    let large: Vec<u8> = (0..200_000_u32).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761)).into_bytes()).take(300_000).collect();
    let pieces = [TEXT, b"{}\n", &large, b"\n", TEXT];
    for (form, coding) in FORMS.into_iter().filter(|(form, _)| *form != Form::Zstd) {
        let said = flushed(form, &pieces);
        for size in [1, 700, 1 << 20] {
            let mut decoder = Decoder::new(coding, LIMITS);
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            for (bytes, piece) in said.iter().zip(pieces) {
                bytes.chunks(size).for_each(|bytes| decoder.push(bytes, &mut out).unwrap());
                expected.extend_from_slice(piece);
                assert!(out == expected, "{form:?} in pieces of {size}: {} of {} bytes", out.len(), expected.len());
            }
            decoder.push(said.last().unwrap(), &mut out).unwrap();
            decoder.finish(&mut out).unwrap();
            assert!(out == expected, "{form:?}");
        }
    }
    let named = |name| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(name))]);
    for (name, expected) in [("gzip", None), ("deflate", None), ("br", None), ("zstd", Some(DecodeError::Late))] {
        assert_eq!(Decoder::of(&named(name), LIMITS, true).err(), expected, "{name}");
        assert!(Decoder::of(&named(name), LIMITS, false).unwrap().is_some(), "{name}");
    }
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back_whatever_the_pieces(
        text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'{'), any::<u8>()], 0..6_000),
        sizes in proptest::collection::vec(1_usize..700, 1..6),
        which in 0..FORMS.len(),
    ) {
        let (form, coding) = FORMS[which];
        let bytes = encoded(form, &text);
        prop_assert_eq!(decoded(coding, &bytes, &sizes, LIMITS), Ok(text));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_and_never_more_than_allowed(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        keep in 0_usize..60,
        which in 0..FORMS.len(),
    ) {
        let (form, coding) = FORMS[which];
        let mut spoilt = encoded(form, TEXT);
        spoilt.truncate(keep);
        spoilt.extend_from_slice(&bytes);
        let limits = Limits { bytes_max: 10_000, ratio_max: 10 };
        let mut decoder = Decoder::new(coding, limits);
        let mut out = Vec::new();
        let done = decoder.push(&spoilt, &mut out).and_then(|()| decoder.finish(&mut out));
        prop_assert!(out.len() <= 10_000);
        prop_assert_eq!(done.is_err(), matches!(decoder.state, State::Failed(_)));
    }
}
