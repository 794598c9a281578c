//! A ZIP file (PKWARE's APPNOTE 6.3) that every desktop opens, in the one form in which it is written: members one after another, stored
//! as they are, without times, comments, extra fields or descriptors.
//!
//! ```text
//! "PK\3\4" | 10, 0, 0 | 1980-01-01 | CRC-32, length, length | name's length, 0 | name | content       for each member
//! "PK\1\2" | 10, 10, 0, 0 | the same | 0, 0, 0, 0 | where it begins | name                           for each member
//! "PK\5\6" | 0, 0 | members, members | length and place of the directory | 0
//! ```
//!
//! INVARIANT: what was read is written again and compared byte for byte. So there are no two readings of one file (the directory and the
//! members themselves may else differ), and nothing hides between members.

use std::collections::BTreeSet;

use flate2::Crc;

/// Of one file.
pub(super) const BYTES_MAX: usize = 32 << 20;
pub(super) const MEMBERS_MAX: usize = 8_192;
const NAME_BYTES_MAX: usize = 100;
/// Of a member's header before its name.
const HEADER_BYTES: usize = 30;
const LOCAL: &[u8; 4] = b"PK\x03\x04";
/// Version 1.0, no flags, stored, midnight of 1980-01-01.
const PLAIN: [u8; 10] = [10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];

/// Name and content, in the order of the file.
pub(in crate::console) type Members = Vec<(String, Vec<u8>)>;

/// Why a file is no pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    #[error("it is larger than {BYTES_MAX} bytes, or has more than {MEMBERS_MAX} members")]
    TooLarge,
    #[error("a member has a name that a pack does not give, or two have the same")]
    Name,
    #[error("it is not in the form in which packs are written: it was changed, cut or packed anew")]
    OtherForm,
}

pub(in crate::console) fn write(members: &Members) -> Result<Vec<u8>, ZipError> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for (name, content) in members {
        if !is_name(name) || !names.insert(name) {
            return Err(ZipError::Name);
        }
        if content.len() > BYTES_MAX {
            return Err(ZipError::TooLarge);
        }
        let (place, length, name_length) = (number(out.len())?, number(content.len())?.to_le_bytes(), number(name.len())?.to_le_bytes());
        let mut sum = Crc::new();
        sum.update(content);
        // The name's length has two bytes, and that of the extra field is nothing: as one number of four.
        let same = [&PLAIN[..], &sum.sum().to_le_bytes(), &length, &length, &name_length].concat();
        out.extend([LOCAL.as_slice(), &same, name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x0a\x00".as_slice(), &same, &[0; 10], &place.to_le_bytes(), name.as_bytes()].concat());
        if out.len() > BYTES_MAX {
            return Err(ZipError::TooLarge);
        }
    }
    if members.len() > MEMBERS_MAX {
        return Err(ZipError::TooLarge);
    }
    let count = u16::try_from(members.len()).map_err(|_more| ZipError::TooLarge)?.to_le_bytes();
    let (length, place) = (number(directory.len())?.to_le_bytes(), number(out.len())?.to_le_bytes());
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &length, &place, &[0; 2]].concat());
    Ok(out)
}

pub(in crate::console) fn read(bytes: &[u8]) -> Result<Members, ZipError> {
    // The directory repeats the names.
    if bytes.len() > BYTES_MAX * 2 {
        return Err(ZipError::TooLarge);
    }
    let (mut members, mut rest) = (Members::new(), bytes);
    while rest.starts_with(LOCAL) {
        let (header, after) = rest.split_at_checked(HEADER_BYTES).ok_or(ZipError::OtherForm)?;
        let (name, after) = after.split_at_checked(little(header, 26, 2)).ok_or(ZipError::OtherForm)?;
        let (content, after) = after.split_at_checked(little(header, 22, 4)).ok_or(ZipError::OtherForm)?;
        if members.len() >= MEMBERS_MAX {
            return Err(ZipError::TooLarge);
        }
        members.push((std::str::from_utf8(name).map_err(|_binary| ZipError::Name)?.to_owned(), content.to_vec()));
        rest = after;
    }
    if write(&members)? == bytes { Ok(members) } else { Err(ZipError::OtherForm) }
}

/// A relative path of plain words: nothing that leads out of a folder or hides in it.
fn is_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    name.len() <= NAME_BYTES_MAX && name.split('/').count() <= 2 && name.split('/').all(plain)
}

fn number(length: usize) -> Result<u32, ZipError> {
    u32::try_from(length).map_err(|_more| ZipError::TooLarge)
}

fn little(bytes: &[u8], at: usize, width: usize) -> usize {
    bytes.iter().skip(at).take(width).rev().fold(0, |all, byte| (all << 8) | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Members {
        vec![("README.txt".to_owned(), b"read me".to_vec()), ("proofs/7.tlog-proof".to_owned(), b"proof".to_vec()), ("empty".to_owned(), Vec::new())]
    }

    #[test]
    fn what_was_written_is_read_and_any_flipped_bit_is_seen() {
        let file = write(&good()).unwrap();
        assert_eq!(read(&file).unwrap(), good());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut other = file.clone();
                other[at] ^= 1 << bit;
                assert!(read(&other).is_err(), "bit {bit} of byte {at}");
            }
        }
        for cut in 0..file.len() {
            assert!(read(&file[..cut]).is_err(), "{cut}");
        }
        assert_eq!(read(&[&file[..], b"x"].concat()), Err(ZipError::OtherForm));
        assert_eq!(read(&[b"x", &file[..]].concat()), Err(ZipError::OtherForm));
    }

    #[test]
    fn names_lead_nowhere_else_and_stand_there_once() {
        for name in ["", "/etc/passwd", "../up", "a/../b", "a//b", ".hidden", "a/b/c", "a b", "a\\b", "æ", &"x".repeat(101)] {
            assert_eq!(write(&vec![(name.to_owned(), Vec::new())]), Err(ZipError::Name), "{name}");
        }
        assert_eq!(write(&[good(), good()].concat()), Err(ZipError::Name));
        assert_eq!(write(&vec![("a".to_owned(), vec![0; BYTES_MAX + 1])]), Err(ZipError::TooLarge));
        let many = (0..=MEMBERS_MAX).map(|n| (n.to_string(), Vec::new())).collect();
        assert_eq!(write(&many), Err(ZipError::TooLarge));
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn others_open_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.zip"), write(&good()).unwrap()).unwrap();
        let script = "import zipfile; z = zipfile.ZipFile('x.zip'); assert z.testzip() is None; z.extractall('out')";
        let Ok(done) = std::process::Command::new("python3").args(["-c", script]).current_dir(dir.path()).status() else {
            return println!("skipped: python3 is not installed");
        };
        assert!(done.success());
        assert_eq!(std::fs::read(dir.path().join("out/proofs/7.tlog-proof")).unwrap(), b"proof");
    }
}
