//! What the documents say of the source must be so: the tables of limits and attacks, and links to files.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Text in backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

fn section(heading: &str) -> String {
    let text = fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    after.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn the_table_of_limits_names_constants_where_they_stand() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in section("Limits").lines().filter(|l| l.starts_with("| ")) {
        let place = line.trim_end_matches(" |").rsplit_once(" | ").map_or("", |(_, last)| last);
        let mut file = String::new();
        for word in quoted(place) {
            if word.ends_with(".rs") {
                file = fs::read_to_string(root().join("src").join(word)).unwrap_or_default();
                if file.is_empty() {
                    wrong.push(format!("there is no src/{word}: {line}"));
                }
            } else if !file.contains(word.rsplit("::").next().unwrap()) {
                wrong.push(format!("`{word}` is not there: {line}"));
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} places were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_limit_is_missing_from_the_table() {
    let table = section("Limits");
    let mut open = vec![root().join("src")];
    let (mut seen, mut missing) = (0, Vec::new());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(root().join("src")).unwrap().display().to_string();
        // The demo's own servers and the width of tables protect nobody.
        if !name.ends_with(".rs") || name.contains("tests") || name.starts_with("cli/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines() {
            let Some((_, rest)) = line.split_once("const ") else { continue };
            let Some((constant, _)) = rest.split_once("_MAX: ") else { continue };
            seen += 1;
            if !table.contains(&name) && !constant.starts_with("SHOWN") {
                missing.push(format!("src/{name}: {constant}_MAX"));
            }
        }
    }
    assert!(seen > 30, "only {seen} limits were found");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_table_of_attacks_names_tests_where_they_stand() {
    let (mut last, mut wrong) = (0, Vec::new());
    for line in section("Attacks").lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(number) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        if number <= last {
            wrong.push(format!("row {number} stands after row {last}"));
        }
        last = number;
        let (mut file, mut tests) = (String::new(), 0);
        for word in cells.last().map(|cell| quoted(cell)).unwrap_or_default() {
            if word.contains('.') {
                file = fs::read_to_string(root().join(word)).unwrap_or_default();
                if file.is_empty() {
                    wrong.push(format!("row {number}: there is no {word}"));
                }
            } else if file.contains(&format!("fn {word}(")) || file.starts_with("#!") && file.contains(word) {
                tests += 1;
            } else {
                wrong.push(format!("row {number}: `{word}` is not there"));
            }
        }
        if tests == 0 {
            wrong.push(format!("row {number} names no test"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in ["README.md", "src/ARCHITECTURE.md", "policies/README.md", "certs/README.md", ".dist/RUNBOOK.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let dir: PathBuf = root().join(document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { root().join(document) } else { dir.join(file) };
            let Ok(target) = fs::read_to_string(&path) else {
                wrong.push(format!("{document}: {link}"));
                continue;
            };
            let headings = target.lines().filter_map(|l| l.strip_prefix("## ")).map(|h| h.to_lowercase().replace(' ', "-"));
            if !anchor.is_empty() && !headings.into_iter().any(|h| h == anchor) {
                wrong.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(checked >= 6, "only {checked} links were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
