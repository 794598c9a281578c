//! The log before tools of others: Go's packages for transparency logs verify what `audit tiles` writes and `audit proof` proves, at the
//! sizes where trees and tiles change their form. (A log begins with its `start`: before it nothing is signed, so that none is empty.)

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use consentry::audit::{Entry, Log, LogSettings, Mode, SigningKeySource};
use consentry::clock::SystemClock;

use crate::process::run_in;

const ORIGIN: &str = "gw-interop.example.com";

/// The verifier, built from Debian's package of the Go modules; `None` without a Go toolchain.
fn go_verifier(dir: &Path) -> Option<PathBuf> {
    let (program, source) = (dir.join("tlog"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tlog/main.go"));
    let environment = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")];
    let cache = dir.join("cache");
    let built = Command::new("go").args(["build", "-o"]).args([&program, &source]).envs(environment).env("GOCACHE", cache).output();
    match built {
        Ok(built) => {
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            Some(program)
        }
        Err(_not_there) => {
            writeln!(std::io::stderr(), "skipped: the log before Go's tlog; `tests/run` installs golang-go and golang-golang-x-mod-dev").unwrap();
            None
        }
    }
}

/// A log of exactly so many entries, its `start` and `stop` among them; one of a single entry is as a kill leaves it.
fn log_of(dir: &Path, entries: u64) {
    if entries == 1 {
        let live = dir.with_extension("live");
        let (log, _) = Log::open(settings(&live), SystemClock::shared()).unwrap();
        fs::create_dir(dir).unwrap();
        for file in fs::read_dir(&live).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
            fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        return log.close();
    }
    let (log, _) = Log::open(settings(dir), SystemClock::shared()).unwrap();
    for step_ms in 0..i64::try_from(entries).unwrap() - 2 {
        while log.append_unwaited(Entry::Clock { step_ms }).is_err() {
            std::thread::yield_now();
        }
    }
    log.close();
}

fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        dir: dir.to_owned(),
        spare_dir: None,
        origin: ORIGIN.to_owned(),
        signing_key: SigningKeySource::Bytes(vec![7; 32]),
        previous_key: None,
        queue_max: 10_000,
        segment_bytes: 16 << 20,
        mode: Mode::Strict,
        seal: true,
    }
}

fn verify(go: &Path, key: &Path, tiles: &Path, proofs: &[PathBuf]) -> Output {
    Command::new(go).args([key, tiles]).args(proofs).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn gos_own_packages_verify_logs_of_every_form() {
    let root = tempfile::tempdir().unwrap();
    let Some(go) = go_verifier(root.path()) else { return };
    for size in [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 1_000_000] {
        let dir = root.path().join(size.to_string());
        let (log, tiles) = (dir.join("log"), dir.join("tiles"));
        log_of(&log, size);
        let key = log.join("log.vkey");
        let verified = run_in(&dir, &["--format", "json", "audit", "verify", "log"]);
        assert!(verified.stdout.contains(&format!("\"entries\":{size},")), "{verified:?}");
        let ran = run_in(&dir, &["audit", "tiles", "log", "--out", text(&tiles)]);
        assert_eq!(ran.exit, 0, "{ran:?}");
        let mut proofs = Vec::new();
        for index in [0, size / 2, size - 1] {
            let file = dir.join(format!("{index}.tlog-proof"));
            let ran = run_in(&dir, &["audit", "proof", &index.to_string(), "--offline", "log", "--out", text(&file)]);
            assert_eq!(ran.exit, 0, "{ran:?}");
            let ran = run_in(&dir, &["audit", "check", text(&file), "--key", text(&key)]);
            assert!(ran.exit == 0 && ran.stdout.starts_with(&format!("proved · entry {index} of {ORIGIN}")), "{ran:?}");
            proofs.push(file);
        }
        let go_says = verify(&go, &key, &tiles, &proofs);
        assert!(go_says.status.success(), "{size}: {}", String::from_utf8_lossy(&go_says.stderr));
        assert!(String::from_utf8(go_says.stdout).unwrap().starts_with(&format!("{size} entries, ")), "{size}");
        // Full tiles stay; only what can have changed is written again.
        let again = run_in(&dir, &["--format", "json", "audit", "tiles", "log", "--out", text(&tiles)]);
        let files: u64 = serde_json::from_str::<serde_json::Value>(&again.stdout).unwrap()["files"].as_u64().unwrap();
        assert!(files <= 4, "{again:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// A log whose key was replaced, while both sign and after that: whoever knows one of its keys opens the note.
#[test]
fn gos_own_packages_verify_a_log_whose_key_was_replaced() {
    let root = tempfile::tempdir().unwrap();
    let Some(go) = go_verifier(root.path()) else { return };
    let (log, tiles, keys) = (root.path().join("log"), root.path().join("tiles"), root.path().join("keys"));
    fs::create_dir(&keys).unwrap();
    log_of(&log, 300);
    fs::copy(log.join("log.vkey"), keys.join("old")).unwrap();
    for (previous, by_old) in [(Some(7), true), (None, false)] {
        let settings = LogSettings {
            signing_key: SigningKeySource::Bytes(vec![8; 32]),
            previous_key: previous.map(|seed| SigningKeySource::Bytes(vec![seed; 32])),
            ..settings(&log)
        };
        Log::open(settings, SystemClock::shared()).unwrap().0.close();
        fs::copy(log.join("log.vkey"), keys.join("new")).unwrap();
        assert_eq!(run_in(root.path(), &["audit", "tiles", "log", "--out", "tiles"]).exit, 0);
        assert_eq!(run_in(root.path(), &["audit", "proof", "7", "--offline", "log", "--out", "7.tlog-proof"]).exit, 0);
        let proof = root.path().join("7.tlog-proof");
        for (key, expected) in [("old", by_old), ("new", true)] {
            let go_says = verify(&go, &keys.join(key), &tiles, std::slice::from_ref(&proof));
            assert_eq!(go_says.status.success(), expected, "{previous:?} {key}: {}", String::from_utf8_lossy(&go_says.stderr));
        }
    }
}

/// What was changed is refused by either side.
#[test]
fn gos_own_packages_and_ours_refuse_what_was_changed() {
    let root = tempfile::tempdir().unwrap();
    let Some(go) = go_verifier(root.path()) else { return };
    let (log, tiles) = (root.path().join("log"), root.path().join("tiles"));
    log_of(&log, 300);
    let (key, proof) = (log.join("log.vkey"), root.path().join("7.tlog-proof"));
    assert_eq!(run_in(root.path(), &["audit", "tiles", "log", "--out", "tiles"]).exit, 0);
    assert_eq!(run_in(root.path(), &["audit", "proof", "7", "--offline", "log", "--out", "7.tlog-proof"]).exit, 0);
    assert!(verify(&go, &key, &tiles, std::slice::from_ref(&proof)).status.success());
    for file in ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"] {
        let path = tiles.join(file);
        let kept = fs::read(&path).unwrap();
        let mut changed = kept.clone();
        changed[kept.len() / 2] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(!verify(&go, &key, &tiles, &[]).status.success(), "{file}");
        fs::write(&path, kept).unwrap();
    }
    let kept = fs::read_to_string(&proof).unwrap();
    for (from, to) in [("index 7", "index 8"), ("extra eyJ", "extra eyK"), ("\n300\n", "\n299\n")] {
        let changed = kept.replace(from, to);
        assert_ne!(kept, changed, "{from}");
        fs::write(&proof, changed).unwrap();
        assert!(!verify(&go, &key, &tiles, std::slice::from_ref(&proof)).status.success(), "{from}");
        let ours = run_in(root.path(), &["audit", "check", "7.tlog-proof", "--key", text(&key)]);
        assert!(ours.exit == 1 && ours.stdout.starts_with("not proved · "), "{ours:?}");
    }
}
