//! `consentry bench` works and says what it promises; its figures mean nothing here.

use std::process::Command;

use serde_json::Value;

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

#[test]
fn a_smoke_run_measures_both_stacks_in_every_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_consentry")).args(["bench", "--smoke", "--json", "--dir"]).arg(folder.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<Value> = String::from_utf8(out.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (steps, rows): (Vec<Value>, Vec<Value>) = lines.into_iter().partition(|line| line.get("step").is_some());
    let of_each: Vec<&str> = steps.iter().map(|line| line["step"].as_str().unwrap()).collect();
    assert_eq!(["+token", "+route", "+consent", "+cedar", "+filter", "+log"].as_slice(), of_each);
    assert!(steps.iter().all(|line| line["cpu_us"].is_number()), "{steps:?}");
    // Proxies of others are measured where they are installed, which is for two scenarios more each.
    let (others, rows): (Vec<Value>, Vec<Value>) = rows.into_iter().partition(|row| ["nginx", "haproxy"].contains(&row["stack"].as_str().unwrap()));
    let installed = ["nginx", "haproxy"].into_iter().filter(|name| is_installed(name)).count();
    assert_eq!(2 * installed, others.len(), "{others:?}");
    let names: Vec<(&str, &str)> = rows.iter().map(|row| (row["scenario"].as_str().unwrap(), row["stack"].as_str().unwrap())).collect();
    let expected = [
        ("proxy", "passthrough"),
        ("+log", "gateway"),
        ("list_60k", "passthrough"),
        ("list_60k", "gateway"),
        ("tls_h1", "passthrough"),
        ("tls_h1", "gateway"),
        ("tls_h2", "passthrough"),
        ("tls_h2", "gateway"),
    ];
    assert_eq!(expected.as_slice(), names);
    let members = ["cpu_us_per_request", "p50_us", "p999_us", "p99_us", "ratio_to_passthrough", "rps", "rss_mib", "scenario", "stack"];
    for row in &rows {
        let mut found: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(members.as_slice(), found);
        assert!(row["rps"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_eq!(0, folder.path().read_dir().unwrap().count(), "nothing is left behind");
}
