//! The bytes of a bundle: a plain `tar` archive (POSIX ustar) that everybody can open, in the one form in which it is written.
//!
//! ```text
//! header 512: name 0..100 | mode 0000644 | uid, gid 0 | size 124..136 octal | mtime 0 | checksum 148..156 | type '0' | "ustar\0" "00"
//! content, filled up with zeros to a multiple of 512
//! ...                                  manifest.toml first, then the files in the order of their names
//! two blocks of zeros
//! ```
//!
//! INVARIANT: what was read is written again and compared byte for byte, so that nothing can hide between the files and two
//! archives with equal files are one. Links, folders, devices and long names have no form here: they do not come back.

use std::collections::BTreeMap;

use super::{BundleError, MANIFEST};

pub(super) const BLOCK: usize = 512;
/// Largest archive, bytes.
pub(super) const ARCHIVE_BYTES_MAX: usize = 8 << 20;
/// Files in one archive.
pub(super) const FILES_MAX: usize = 4_096;
const NAME_BYTES_MAX: usize = 100;
/// Folders above a file, and the file.
const DEPTH_MAX: usize = 4;

/// Files by their names.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn write(manifest: &[u8], files: &Files) -> Result<Vec<u8>, BundleError> {
    let mut out = Vec::new();
    entry(&mut out, MANIFEST, manifest);
    for (name, content) in files {
        if !is_name(name) || name == MANIFEST {
            return Err(BundleError::Name(name.clone()));
        }
        entry(&mut out, name, content);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    if files.len() > FILES_MAX || out.len() > ARCHIVE_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    Ok(out)
}

/// The manifest and the other files.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<u8>, Files), BundleError> {
    if bytes.len() > ARCHIVE_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    let mut files = Files::new();
    let mut rest = bytes;
    loop {
        let (header, after) = rest.split_at_checked(BLOCK).ok_or(BundleError::Cut)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let name = header.get(..NAME_BYTES_MAX).unwrap_or_default();
        let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
        if header.get(156) != Some(&b'0') {
            return Err(BundleError::NoFile(name));
        }
        if !is_name(&name) {
            return Err(BundleError::Name(name));
        }
        let size = octal(header.get(124..135).unwrap_or_default()).ok_or(BundleError::OtherForm)?;
        let padded = size.checked_next_multiple_of(BLOCK).ok_or(BundleError::Cut)?;
        let (content, after) = after.split_at_checked(padded).ok_or(BundleError::Cut)?;
        if files.len() > FILES_MAX {
            return Err(BundleError::TooLarge);
        }
        if files.insert(name.clone(), content.get(..size).unwrap_or_default().to_vec()).is_some() {
            return Err(BundleError::Twice(name));
        }
        rest = after;
    }
    let manifest = files.remove(MANIFEST).ok_or(BundleError::NoManifest)?;
    if write(&manifest, &files)? == bytes { Ok((manifest, files)) } else { Err(BundleError::OtherForm) }
}

/// A relative path of plain words: nothing that leads out of a folder, hides in it or is read differently elsewhere.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (1..NAME_BYTES_MAX).contains(&name.len()) && name.split('/').count() <= DEPTH_MAX && name.split('/').all(plain)
}

fn entry(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header.iter_mut().skip(at).zip(text).for_each(|(byte, of)| *byte = *of);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{:011o}\x0000000000000\x00        0", content.len()).as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header.iter_mut().skip(148).zip(format!("{sum:06o}\x00 ").as_bytes()).for_each(|(byte, of)| *byte = *of);
    out.extend(header);
    out.extend(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn octal(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        names.iter().map(|name| ((*name).to_owned(), format!("content of {name}").into_bytes())).collect()
    }

    fn good() -> Vec<u8> {
        write(b"format = 1\n", &files(&["a.cedar", "tests/b.toml"])).unwrap()
    }

    /// The archive with other bytes in its second header, whose checksum fits again.
    fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut archive = good();
        let header = &mut archive[2 * BLOCK..3 * BLOCK];
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive
    }

    #[test]
    fn what_was_written_is_read_and_is_the_same_each_time() {
        let (manifest, read) = read(&good()).unwrap();
        assert_eq!((manifest.as_slice(), read), (b"format = 1\n".as_slice(), files(&["a.cedar", "tests/b.toml"])));
        assert_eq!(good(), good());
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn tar_opens_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.tar"), good()).unwrap();
        let done = std::process::Command::new("tar").args(["-xf", "x.tar"]).current_dir(dir.path()).status();
        let Ok(done) = done else { return println!("skipped: tar is not installed") };
        assert!(done.success());
        assert_eq!(std::fs::read_to_string(dir.path().join("tests/b.toml")).unwrap(), "content of tests/b.toml");
    }

    #[test]
    fn hostile_archives_are_refused() {
        let cases: [(&str, Vec<u8>, BundleError); 12] = [
            ("nothing", Vec::new(), BundleError::Cut),
            ("cut in a header", good()[..700].to_vec(), BundleError::Cut),
            ("cut in a content", good()[..3 * BLOCK + 4].to_vec(), BundleError::Cut),
            ("without its end", good()[..good().len() - 2 * BLOCK].to_vec(), BundleError::Cut),
            ("a path that leads out", forged(0, b"../a.cedar\0"), BundleError::Name("../a.cedar".into())),
            ("an absolute path", forged(0, b"/etc/a\0"), BundleError::Name("/etc/a".into())),
            ("a hidden file", forged(0, b".a.cedar\0"), BundleError::Name(".a.cedar".into())),
            ("a symbolic link", forged(156, b"2"), BundleError::NoFile("a.cedar".into())),
            ("a folder", forged(156, b"5"), BundleError::NoFile("a.cedar".into())),
            ("a huge entry", forged(124, b"77777777777"), BundleError::Cut),
            ("another owner", forged(108, b"0001750"), BundleError::OtherForm),
            ("a size that is none", forged(124, b"+0000000020"), BundleError::OtherForm),
        ];
        for (what, archive, expected) in cases {
            assert_eq!(read(&archive).unwrap_err(), expected, "{what}");
        }
        let mut behind = good();
        behind.extend([0; BLOCK]);
        assert_eq!(read(&behind).unwrap_err(), BundleError::OtherForm, "more behind its end");
        let mut twice = good();
        let second = twice[2 * BLOCK..4 * BLOCK].to_vec();
        twice.splice(4 * BLOCK..4 * BLOCK, second);
        assert_eq!(read(&twice).unwrap_err(), BundleError::Twice("a.cedar".into()));
        assert_eq!(read(&vec![0; ARCHIVE_BYTES_MAX + BLOCK]).unwrap_err(), BundleError::TooLarge);
        assert_eq!(read(&[0; 2 * BLOCK]).unwrap_err(), BundleError::NoManifest);
        let hidden = |at: usize| {
            let mut archive = good();
            archive[at] = b'x';
            read(&archive).unwrap_err()
        };
        assert_eq!(hidden(2 * BLOCK - 1), BundleError::OtherForm, "bytes behind a content");
    }

    #[test]
    fn every_flipped_bit_is_refused_or_another_content() {
        let before = read(&good()).unwrap();
        for at in 0..good().len() {
            let mut archive = good();
            archive[at] ^= 1;
            assert!(read(&archive).map_or(true, |after| after != before), "byte {at}");
        }
    }
}
