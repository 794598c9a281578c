//! A check is a value: leaving one out does not compile. Each file of `compile_fail/` is a program that tries; its first line
//! names the error that must stop it, so that a typo in a case is not taken for the proof. `skip_nothing.rs` is the control:
//! it uses the same types in order and must compile.
//!
//! The compiler is called directly, against the library that this test was built with: a second build of all dependencies
//! would take longer than everything else here.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library beside this test's binary.
fn library() -> (PathBuf, PathBuf) {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let is_ours = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("libconsentry-") && p.extension().is_some_and(|e| e == "rlib");
    let found = std::fs::read_dir(&deps).unwrap().map(|e| e.unwrap().path()).filter(is_ours);
    let newest = found.max_by_key(|p| p.metadata().unwrap().modified().unwrap());
    (newest.expect("the library was built for this test"), deps)
}

/// Compiles one program; what the compiler said when it did not.
fn compile(case: &Path) -> Result<(), String> {
    let (library, deps) = library();
    let out = tempfile::tempdir().unwrap();
    let output = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--cap-lints=allow"])
        .arg(format!("--extern=consentry={}", library.display()))
        .arg(format!("-Ldependency={}", deps.display()))
        .arg(format!("--out-dir={}", out.path().display()))
        .arg(case)
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

#[test]
fn what_skips_a_check_does_not_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/compile_fail");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&case).unwrap();
        let expected = source.lines().next().unwrap().strip_prefix("// error").map(str::trim);
        match (expected, compile(&case)) {
            (None, result) => assert_eq!((name.as_str(), result), ("skip_nothing.rs", Ok(()))),
            (Some(_), Ok(())) => panic!("{name} compiles: a check can be left out"),
            (Some(code), Err(said)) => {
                assert!(said.contains(&format!("error{code}")), "{name} fails for another reason than {code}:\n{said}");
                assert_eq!(
                    said.matches("\nerror[").count() + usize::from(said.starts_with("error[")),
                    1,
                    "{name} fails for more than one reason:\n{said}"
                );
            }
        }
        tried += 1;
    }
    assert!(tried >= 6, "only {tried} cases were found");
}
