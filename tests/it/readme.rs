//! The README's worked configuration: what a newcomer types and copies is run here as it stands there. A block that is
//! marked `<!-- test: run -->` is a shell script, one marked `<!-- test: file NAME -->` is that file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::process::policies_to_change;

enum Step {
    Run(String),
    File(String, String),
}

/// The marked blocks in their order.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- test: ").and_then(|l| l.strip_suffix(" -->")) else { continue };
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```") && fence.len() > 3, "after `{line}` stands `{fence}`");
        let text: String = lines.by_ref().take_while(|l| *l != "```").flat_map(|l| [l, "\n"]).collect();
        steps.push(match mark.strip_prefix("file ") {
            Some(name) => Step::File(name.to_owned(), text),
            None => {
                assert_eq!(mark, "run", "an unknown mark");
                Step::Run(text)
            }
        });
    }
    steps
}

fn shell(script: &str, dir: &Path) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_consentry")).parent().unwrap().display();
    let script = format!("PATH=\"{programs}:$PATH\"\n{script}");
    Command::new("sh").args(["-e", "-u", "-c", &script]).current_dir(dir).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_readmes_configuration_passes_check_and_a_mistake_in_it_does_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let clone = tempfile::tempdir().unwrap();
    symlink(root.join("policies"), clone.path().join("policies")).unwrap();
    let home = clone.path().join("my-gateway");
    let (mut files, mut runs) = (0, 0);
    for step in steps(&readme) {
        match step {
            Step::File(name, content) => {
                fs::write(home.join(name), content).unwrap();
                files += 1;
            }
            Step::Run(script) => {
                // Blocks before the folder exists are typed in the clone.
                let dir = if home.is_dir() { home.as_path() } else { clone.path() };
                let done = shell(&script, dir);
                assert!(done.status.success(), "{script}\n{}", text(&done));
                runs += 1;
            }
        }
    }
    assert!(files >= 2 && runs >= 2, "{files} files and {runs} scripts are marked");

    let checked = shell("consentry check", &home);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    assert!(text(&checked).starts_with("no errors"), "{}", text(&checked));

    let api = home.join("apis/contacts.toml");
    fs::write(&api, fs::read_to_string(&api).unwrap().replacen("\"identity\"", "\"identitty\"", 1)).unwrap();
    let refused = shell("consentry check", &home);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(text(&refused).contains("unknown category `identitty`"), "{}", text(&refused));
}

#[test]
fn the_guide_to_an_own_policy_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("policies/README.md")).unwrap();
    let clone = policies_to_change();
    let said: Vec<String> = steps(&guide)
        .into_iter()
        .map(|step| {
            let Step::Run(script) = step else { panic!("the guide writes its files itself") };
            let done = shell(&script, clone.path());
            assert!(done.status.success(), "{script}\n{}", text(&done));
            text(&done)
        })
        .collect();
    let [before, after] = &said[..] else { panic!("{said:?}") };
    assert!(before.contains("1 failed") && before.contains("got allow by `share-with-consent`"), "{before}");
    let counted = after.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(["vulnerable-no-sales", "forbid"], counted[..2], "{after}");
    assert_eq!(["1", "3", "of", "3"], counted[3..], "{after}");
    // What it says about taking the purpose out.
    let policy = clone.path().join("next/40-prohibitions.cedar");
    let laid_out = fs::read_to_string(&policy).unwrap();
    let wide = laid_out.replace(
        "context.customer.segment == Segment::\"vulnerable\" &&\n  context.purpose in Purpose::\"sales\"",
        "context.customer.segment == Segment::\"vulnerable\"",
    );
    assert_ne!(laid_out, wide);
    fs::write(&policy, wide).unwrap();
    assert!(text(&shell("consentry policy test --dir next || true", clone.path())).contains("vulnerable-no-sales"));
}
