//! `consentry check`: every mistake at its place, in one run, and nothing is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::process::{Site, copy_folder, run_in};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Size and time of every file below a folder.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::metadata(&path).unwrap();
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (about.len(), about.modified().unwrap()));
    }
    found
}

/// Written by hand from the planted mistakes: place and what is said.
const MISTAKES: [(&str, &str); 10] = [
    ("apis/desk.toml:10:18", "unknown category `contacts`"),
    ("apis/desk.toml:23:9", "is shadowed by `GET /tickets/{id}`"),
    ("apis/desk.toml:26:1", "does not say whose data it returns"),
    ("consentry.toml:13:27", "`no-such.pem` does not exist"),
    ("consentry.toml:13:48", "a secret stands in the file"),
    ("consentry.toml:15:31", "unknown key `header_timout`"),
    ("consentry.toml:19:77", "is not registered for purpose `marketing.email`"),
    ("consentry.toml:31:23", "the environment variable `CONSENTRY_TEST_NEVER_SET` is not set"),
    ("consentry.toml:35:24", "this is not a duration"),
    ("consentry.toml:36:1", "`via` is not available in this version"),
];

#[test]
fn ten_planted_mistakes_are_ten_findings_at_their_places() {
    let folder = root().join("tests/fixtures/ten-mistakes");
    let before = listing(&folder);
    let ran = run_in(&folder, &["check"]);
    assert_eq!(ran.exit, 3, "{ran:?}");
    let heads: Vec<&str> = ran.stdout.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(heads.len(), MISTAKES.len(), "{}", ran.stdout);
    for ((place, what), head) in MISTAKES.iter().zip(heads) {
        assert!(head.starts_with(&format!("{place}: error: ")) && head.contains(what), "`{head}` is not `{place}`: {what}");
    }
    assert_eq!(ran.stdout.lines().last(), Some("10 errors in 2 files · nothing was started or written"));
    assert!(!ran.stdout.contains("s3cret"), "a secret is not repeated");
    assert_eq!(listing(&folder), before, "`check` writes nothing");

    let json = run_in(&folder, &["check", "--format", "json"]);
    assert_eq!(json.exit, 3);
    let errors = json.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), MISTAKES.len());
    for (error, (place, _)) in errors.iter().zip(MISTAKES) {
        let (file, line, column) = (error["file"].as_str().unwrap(), &error["line"], &error["column"]);
        assert_eq!(format!("{file}:{line}:{column}"), place);
    }
}

#[test]
fn shipped_example_has_no_errors_with_development_certificates() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&root().join("policies"), &dir.path().join("policies"));
    let example = dir.path().join("dist");
    copy_folder(&root().join(".dist"), &example);
    // What the head of the example says to do.
    fs::create_dir(example.join("state")).unwrap();
    let made = run_in(&example, &["certs", "dev", "--dir", "certs", "--policies", "../policies"]);
    assert_eq!(made.exit, 0, "{made:?}");

    let before = listing(dir.path());
    let ran = run_in(&example, &["check", "--config", "consentry.example.toml"]);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("no errors in ") && ran.stdout.contains(" of 4 APIs"), "{}", ran.stdout);
    assert_eq!(listing(dir.path()), before, "`check` writes nothing");

    // Without one of the certificates the place that names it is told.
    fs::remove_file(example.join("certs/staff-ca.pem")).unwrap();
    let ran = run_in(&example, &["check", "--config", "consentry.example.toml"]);
    assert_eq!(ran.exit, 3);
    assert!(ran.stdout.contains("consentry.example.toml:") && ran.stdout.contains("certs/staff-ca.pem"), "{}", ran.stdout);
}

#[test]
fn mistakes_of_the_policy_folder_are_the_configurations_too() {
    let site = Site::new();
    let good = site.run(&["check"]);
    assert_eq!(good.exit, 0, "{good:?}");
    site.edit("policies/10-ownership.cedar", "principal in resource.owner", "principal in resource.ownr");
    site.edit("policies/activities.toml", "purpose", "purpos");
    let before = listing(site.path());
    let ran = site.run(&["check"]);
    assert_eq!(ran.exit, 3, "{ran:?}");
    for file in ["policies/10-ownership.cedar:", "policies/activities.toml:"] {
        assert!(ran.stdout.contains(file), "{file} is not in {}", ran.stdout);
    }
    assert_eq!(listing(site.path()), before, "`check` writes nothing");
    // What `check` refuses is not run.
    let started = site.run(&["run"]);
    assert_eq!(started.exit, 3, "{started:?}");
    assert_eq!(listing(site.path()), before, "neither does a start that fails");
}
