//! The shape of the source, which the compiler cannot check inside one crate: which room may name which, who reads the
//! clock and the environment, and what must not stand in the tree at all.

use std::fs;
use std::path::{Path, PathBuf};

/// (room, rooms it may name besides itself, `model` and `clock`).
const MAY_NAME: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("catalog", &[]),
    ("consent", &[]),
    ("policy", &[]),
    ("filter", &[]),
    ("audit", &[]),
    ("identity", &[]),
    ("telemetry", &[]),
    ("openapi", &[]),
    ("drafts", &["catalog", "openapi"]),
    ("config", &["catalog", "openapi"]),
    ("console", &["audit", "catalog", "config", "consent", "policy", "telemetry"]),
    ("gateway", &["audit", "catalog", "config", "consent", "console", "filter", "identity", "policy", "telemetry"]),
    ("cli", &["audit", "catalog", "config", "consent", "console", "drafts", "filter", "gateway", "identity", "openapi", "policy", "telemetry"]),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 30, "the walk found only {} files", files.len());
    files.into_iter().map(|p| (p.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&p).unwrap())).collect()
}

/// The text without comment lines, so that prose may name any room.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

#[test]
fn rooms_name_only_what_stands_before_them() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == room) else {
            assert!(["main", "lib", "clock"].contains(&room.as_str()), "room `{room}` is not in the table of this test");
            continue;
        };
        for (line, code) in code(&text) {
            for (other, _) in MAY_NAME {
                let names = code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{other};"));
                if names && *other != "model" && *other != room && !allowed.contains(other) {
                    wrong.push(format!("src/{}:{line}: `{room}` names `{other}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_read_no_clock_no_environment_no_socket() {
    let pure = |path: &Path| {
        let text = path.to_str().unwrap();
        ["filter/", "policy/", "openapi/", "drafts/"].iter().any(|room| text.starts_with(room))
            || text == "consent/floor.rs"
            || text == "consent/status.rs"
    };
    let forbidden = ["SystemTime", "Instant::now", "Timestamp::now", "std::env", "std::net", "tokio::", "crate::clock"];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !pure(&path) {
            continue;
        }
        let production = text.split("#[cfg(test)]").next().unwrap();
        for (line, code) in code(production) {
            if let Some(word) = forbidden.iter().find(|w| code.contains(**w)) {
                wrong.push(format!("src/{}:{line}: `{word}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn time_comes_from_the_clock_room_alone() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path == Path::new("clock.rs") {
            continue;
        }
        let production = text.split("#[cfg(test)]").next().unwrap();
        for (line, code) in code(production) {
            if ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"].iter().any(|w| code.contains(w)) {
                wrong.push(format!("src/{}:{line}: {}", path.display(), code.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_private_key_and_no_unfinished_word_stands_in_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().unwrap();
    assert!(listed.status.success(), "git lists the tracked files");
    let key = ["-----BEGIN", " PRIVATE KEY-----"].concat();
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["unimpl", "emented!("].concat(), ["to", "do!("].concat()];
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in String::from_utf8(listed.stdout).unwrap().split('\0').filter(|n| !n.is_empty()) {
        let Ok(text) = fs::read_to_string(root.join(name)) else { continue };
        seen += 1;
        if text.contains(&key) {
            wrong.push(format!("{name}: a private key"));
        }
        if name.ends_with(".rs") && words.iter().any(|w| text.contains(w.as_str())) {
            wrong.push(format!("{name}: an unfinished word"));
        }
    }
    assert!(seen > 40, "git listed only {seen} files");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_top_level_holds_what_the_architecture_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = std::process::Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(root).output().unwrap();
    for name in String::from_utf8(listed.stdout).unwrap().lines() {
        let expected = ["Cargo.toml", "Cargo.lock", "src", "policies", "tests", "certs", "README.md"].contains(&name) || name.starts_with('.');
        assert!(expected, "`{name}` does not belong at the top level");
    }
}
