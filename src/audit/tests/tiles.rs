//! Tiles and proofs of a log, against a tree that is worked out from all of its entries.

use super::super::tree::{Hash, Tree, leaf};
use super::*;

/// A closed log of about so many entries, in several segments.
fn grown(entries: u64) -> (Setup, Vec<Vec<u8>>) {
    let setup = Setup::new();
    let log = setup.open();
    for step_ms in 0..i64::try_from(entries).unwrap() {
        while log.append_unwaited(Entry::Clock { step_ms }).is_err() {
            std::thread::yield_now();
        }
    }
    log.close();
    let all = raw(&setup.dir());
    (setup, all)
}

fn raw(dir: &Path) -> Vec<Vec<u8>> {
    read(dir).into_iter().map(|logged| logged.raw).collect()
}

fn hashes(entries: &[Vec<u8>]) -> Vec<Hash> {
    entries.iter().map(|entry| leaf(entry)).collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|hash| tree.push_leaf(*hash, |_, _| ()));
    tree.root()
}

fn vkey(setup: &Setup) -> String {
    std::fs::read_to_string(setup.dir().join(log::VKEY_FILE)).unwrap()
}

/// Every tile that the signed tree has, and none that it has not.
fn assert_tiles(setup: &Setup, entries: &[Vec<u8>]) {
    let tiles = Tiles::new(&setup.dir());
    let mut level = hashes(entries);
    for at in 0.. {
        for (number, hashes) in (0..).zip(level.chunks(256)) {
            let width = u64::try_from(hashes.len()).unwrap();
            assert_eq!(Some(hashes.concat()), tiles.tile(at, number, width).unwrap(), "{at}/{number}");
            assert_eq!(None, tiles.tile(at, number, width + 1).unwrap());
            assert_eq!(None, tiles.tile(at, number, 0).unwrap());
        }
        assert_eq!(None, tiles.tile(at, u64::try_from(level.len().div_ceil(256)).unwrap(), 1).unwrap());
        level = level.chunks_exact(256).map(root).collect();
        if level.is_empty() {
            assert_eq!(None, tiles.tile(at + 1, 0, 1).unwrap());
            break;
        }
    }
    for (number, entries) in (0..).zip(entries.chunks(256)) {
        let bundle: Vec<u8> = entries.iter().flat_map(|e| [&u16::try_from(e.len()).unwrap().to_be_bytes()[..], e].concat()).collect();
        assert_eq!(Some(bundle), tiles.bundle(number, u64::try_from(entries.len()).unwrap()).unwrap());
    }
    assert_eq!(None, tiles.tile(64, 0, 1).unwrap());
    assert_eq!(None, tiles.tile(0, u64::MAX, 256).unwrap());
}

#[test]
fn tiles_are_those_of_the_tree_with_and_without_the_roots() {
    let (setup, entries) = grown(6_000);
    assert!(setup.verify().segments > 1, "several segments");
    assert_tiles(&setup, &entries);
    let roots = std::fs::read(setup.dir().join("roots")).unwrap();
    assert_eq!(entries.len() / 256 * 32, roots.len());
    let expected: Vec<u8> = hashes(&entries).chunks_exact(256).flat_map(root).collect();
    assert_eq!(expected, roots);
    for wrong in [&[][..], &roots[..64], &roots[..70], &[&[1; 32], &roots[32..]].concat(), &[&roots[..], &[1; 32]].concat()] {
        std::fs::write(setup.dir().join("roots"), wrong).unwrap();
        assert_tiles(&setup, &entries);
        // A start mends the file.
        let image = setup.image();
        image.open().close();
        let mended = std::fs::read(image.dir().join("roots")).unwrap();
        assert_eq!(roots, mended[..roots.len()]);
        assert_tiles(&image, &raw(&image.dir()));
    }
}

#[test]
fn every_entry_is_proved_offline_and_no_other_one() {
    let (setup, entries) = grown(900);
    let (tiles, vkey) = (Tiles::new(&setup.dir()), vkey(&setup));
    let size = u64::try_from(entries.len()).unwrap();
    for (index, entry) in (0..).zip(&entries) {
        let proved = tiles.prove(index).unwrap().expect("it is signed");
        let checked = |entry| Checked { origin: ORIGIN.to_owned(), index, size, entry, leaf: leaf(&proved.entry), witnessed_at: None };
        assert_eq!(Ok(checked(Some(entry.clone()))), check_proof(&vkey, &proved.evidence(), None));
        assert_eq!(Ok(checked(None)), check_proof(&vkey, &proved.receipt(), None));
    }
    assert_eq!(None, tiles.prove(size).unwrap());
    assert_eq!(None, tiles.prove(u64::MAX).unwrap());
    let proof = tiles.prove(400).unwrap().unwrap().evidence();
    let refused = |text: &str| check_proof(&vkey, text, None).unwrap_err();
    assert_eq!(ProofError::NotInTheLog, refused(&proof.replace("index 400", "index 401")));
    assert_eq!(ProofError::NotInTheLog, refused(&proof.replace("extra eyJ", "extra eyK")));
    assert_eq!(ProofError::NotAProof, refused(&proof.replace("index 400", "index")));
    assert_eq!(ProofError::NotSigned, refused(&proof.replace(&format!("\n{size}\n"), "\n401\n")));
    let without_extra: String = proof.lines().filter(|line| !line.starts_with("extra ")).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(ProofError::WithoutEntry, refused(&without_extra));
    assert_eq!(Err(ProofError::NotAKey), check_proof("gw", &proof, None));
    let other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(Err(ProofError::NotSigned), check_proof(other, &proof, None));
}

/// Who can write the files but has no key gets no proof of what they wrote.
#[test]
fn a_forged_entry_is_not_proved() {
    let (setup, entries) = grown(900);
    let path = setup.dir().join("segment-00000000000000000000-0000");
    let text = std::fs::read(&path).unwrap();
    let wanted = &entries[300];
    let at = text.windows(wanted.len()).position(|part| part == wanted).unwrap();
    let mut forged = wanted.clone();
    *forged.last_mut().unwrap() = b' ';
    let mut frame = Vec::new();
    segment::push_frame(&mut frame, 300, &forged).unwrap();
    let mut bytes = text;
    bytes[at + wanted.len() - frame.len()..at + wanted.len()].copy_from_slice(&frame);
    std::fs::write(&path, &bytes).unwrap();
    let leaves = hashes(&entries);
    for with_roots in ["as they were", "as they would be", "none"] {
        let file = setup.dir().join("roots");
        match with_roots {
            "as they were" => {}
            "as they would be" => {
                let forged: Vec<Hash> = (0..).zip(&leaves).map(|(n, hash)| if n == 300 { leaf(&forged) } else { *hash }).collect();
                std::fs::write(&file, forged.chunks_exact(256).flat_map(root).collect::<Vec<u8>>()).unwrap();
            }
            _ => std::fs::remove_file(&file).unwrap(),
        }
        let tiles = Tiles::new(&setup.dir());
        assert!(matches!(tiles.prove(300), Err(AuditError::Damaged { .. })), "{with_roots}");
        for width in [256, 50, 3] {
            assert!(matches!(tiles.tile(0, 1, width), Err(AuditError::Damaged { .. })), "{with_roots}");
            assert!(matches!(tiles.bundle(1, width), Err(AuditError::Damaged { .. })), "{with_roots}");
        }
        // Where the roots are true, what was not changed is still had.
        let others = [tiles.prove(5).is_ok(), tiles.tile(0, 0, 256).is_ok(), tiles.bundle(2, 9).is_ok()];
        assert_eq!([with_roots == "as they were"; 3], others, "{with_roots}");
    }
}

#[test]
fn a_growing_log_is_followed() {
    let setup = Setup::new();
    let log = setup.open();
    let tiles = Tiles::new(&setup.dir());
    assert_eq!(1, check_proof(&vkey(&setup), &tiles.prove(0).unwrap().unwrap().receipt(), None).unwrap().size);
    for round in 0..5 {
        let index = record(&log, permit(round));
        for _ in 0..200 {
            record(&log, Entry::Clock { step_ms: 1 });
        }
        let signed = |index| {
            (0..400).find_map(|_| {
                std::thread::sleep(Duration::from_millis(10));
                tiles.prove(index).unwrap()
            })
        };
        let proved = signed(index).expect("signed within a second");
        check_proof(&vkey(&setup), &proved.evidence(), None).unwrap();
        assert!(proved.entry.windows(8).any(|part| part == b"\"permit\""));
    }
    log.close();
    assert_tiles(&setup, &raw(&setup.dir()));
}
