//! A compliance officer's questions, asked on the command line of a real gateway: searches that prove themselves, reports to hand over,
//! and the index behind them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::process::{MINA, MINAS, QUOTE, Site, UNKNOWN, index, text};

const CUSTOMER: &str = "crm:0044";

fn rows<'a>(report: &'a Value, table: &str) -> &'a [Value] {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|found| found["key"] == table).unwrap()["rows"].as_array().unwrap()
}

#[test]
fn who_saw_a_customer_is_found_proved_reported_and_handed_over() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let given = serde_json::from_str::<Value>(&text(&site.say(MINA, "given"))).unwrap()["event"].as_str().unwrap().to_owned();
    let read = index(&site.read(MINAS)).unwrap();
    site.say(MINA, "withdrawn");
    let refused = index(&site.read(MINAS)).unwrap();
    site.read(QUOTE);
    site.read(UNKNOWN);
    let key = site.log().join("log.vkey");
    let key = key.to_str().unwrap();
    let auditor = |args: &[&str]| site.run_as("auditor", args);

    let found = auditor(&["audit", "search", "--customer", CUSTOMER, "--prove", "--log-key", key]);
    assert_eq!(found.exit, 0, "{found:?}");
    assert!(
        found.stdout.contains("proved: ") && found.stdout.contains(&format!("#{read}")) && found.stdout.contains(&format!("#{refused}")),
        "{found:?}"
    );
    let numbers = |args: &[&str]| -> Vec<usize> {
        let ran = auditor(&[&["--format", "json", "audit", "search"], args].concat());
        assert_eq!(ran.exit, 0, "{ran:?}");
        ran.json()["decisions"].as_array().unwrap().iter().map(|found| usize::try_from(found["index"].as_u64().unwrap()).unwrap()).collect()
    };
    assert_eq!(numbers(&["--customer", CUSTOMER, "--outcome", "deny"]), [refused]);
    assert_eq!(numbers(&["--customer", CUSTOMER, "--category", "contact"]), [read]);
    assert_eq!(numbers(&["--customer", CUSTOMER, "--before", &refused.to_string()]), [read]);
    assert_eq!(numbers(&["--department", "marketing"]), [0usize; 0]);
    // The key of another log proves nothing.
    fs::write(site.path().join("other.vkey"), "other.example.com+0000\n").unwrap();
    assert_eq!(auditor(&["audit", "search", "--customer", CUSTOMER, "--prove", "--log-key", "other.vkey"]).exit, 1);
    assert_eq!(auditor(&["audit", "search", "--customer", CUSTOMER, "--prove"]).exit, 64, "without a key nothing is proved");

    let withdrawn = auditor(&["--format", "json", "audit", "report", "withdrawn"]);
    assert_eq!(withdrawn.exit, 0, "{withdrawn:?}");
    let [row] = rows(&withdrawn.json(), "withdrawals").to_vec().try_into().unwrap_or_else(|rows| panic!("{rows:?}"));
    let row: Value = row;
    assert_eq!((row["before"].as_u64(), row["after"].as_array().map(Vec::len)), (Some(1), Some(0)), "{row}");

    let access = [
        "audit",
        "report",
        "subject-access",
        "--customer",
        CUSTOMER,
        "--language",
        "da",
        "--as",
        "html",
        "--out",
        "access.html",
        "--proofs",
        "proofs",
    ];
    let made = auditor(&access);
    assert_eq!(made.exit, 0, "{made:?}");
    let page = fs::read_to_string(site.path().join("access.html")).unwrap();
    assert!(
        page.contains("Hver gang dine data blev brugt") && page.contains(&format!("#{read}")) && !page.contains(&format!("#{refused}")),
        "{page}"
    );
    let checked = site.run(&["audit", "check", &format!("proofs/{read}.tlog-proof"), "--key", key]);
    assert!(checked.exit == 0 && checked.stdout.contains("holds only its hash"), "{checked:?}");

    evidence_is_packed_and_checked_elsewhere(&site, &given, read, key);

    for kind in ["denies", "breach", "processing-record", "policy-effect", "anomalies", "integrity", "break-glass", "erasures"] {
        let ran = auditor(&["audit", "report", kind]);
        assert!(ran.exit == 0 && ran.stdout.lines().all(|line| !line.contains('\u{1b}')), "{kind}: {ran:?}");
        assert_eq!(site.run_as("consent-desk", &["audit", "report", kind]).exit, 64, "{kind}");
    }
    assert_eq!(auditor(&["audit", "report", "nothing"]).exit, 64);
    assert_eq!(auditor(&["audit", "report", "subject-access"]).exit, 64);

    // The index of a gateway that runs is its own.
    assert_eq!(site.run(&["audit", "search", "--offline", "log"]).exit, 75);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_eq!(site.run(&["audit", "index", "log", "--check"]).exit, 0);
    let by_files = site.run(&["--format", "json", "audit", "report", "denies", "--offline", "log"]);
    assert_eq!(rows(&by_files.json(), "denies").iter().map(|row| row["decisions"].as_u64().unwrap()).sum::<u64>(), 2, "{by_files:?}");
    assert_eq!(site.run(&["audit", "report", "withdrawn", "--offline", "log"]).exit, 64, "needs the ledger");
    let partition = site.log().join("index").join(format!("partition-{:020}.db", 0));
    rusqlite::Connection::open(&partition).unwrap().execute("DELETE FROM subject", []).unwrap();
    let lacking = site.run(&["audit", "index", "log", "--check"]);
    assert!(lacking.exit == 1 && lacking.stdout.contains("subject"), "{lacking:?}");
    assert_eq!(site.run(&["audit", "index", "log", "--rebuild", "--check"]).exit, 0);
    let proved = site.run(&["audit", "search", "--offline", "log", "--prove"]);
    assert!(proved.exit == 0 && proved.stdout.contains("checked with the key beside the log"), "{proved:?}");
}

/// One file, made by an auditor, checked where there is nothing but the file and the keys.
fn evidence_is_packed_and_checked_elsewhere(site: &Site, event: &str, read: usize, key: &str) {
    let auditor = |args: &[&str]| site.run_as("auditor", args);
    let pack = ["audit", "report", "consent-evidence", "--event", event, "--pack", "evidence.zip"];
    let refused = site.run_as("consent-desk", &pack);
    assert!(refused.exit == 64 && refused.stderr.contains("role-missing") && !site.path().join("evidence.zip").exists(), "{refused:?}");
    let made = auditor(&pack);
    assert!(made.exit == 0 && made.stdout.contains("evidence.zip") && made.stderr.contains("jwks.json"), "{made:?}");
    assert_eq!(auditor(&pack).exit, 64, "it is not written over");
    let file = site.path().join("evidence.zip");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for more in [&["--as", "html"][..], &["--proofs", "x"], &["--offline", "log"]] {
        assert_eq!(auditor(&[&pack[..6], &["other.zip"], more].concat()).exit, 64, "{more:?}");
    }
    assert_eq!(auditor(&["audit", "report", "denies", "--pack", "other.zip"]).exit, 64);

    let url = format!("https://{}/.well-known/jwks.json", site.addresses.admin);
    let keys = site.block(site.staff("auditor").send(http::Method::GET, &url, http::HeaderMap::new(), Vec::new())).unwrap();
    fs::write(site.path().join("jwks.json"), &keys.body).unwrap();
    let check = |more: &[&str]| site.run(&[&["audit", "check", "evidence.zip", "--key", key], more].concat());
    let held = check(&["--receipt-keys", "jwks.json"]);
    assert!(held.exit == 0 && held.stdout.trim_end().ends_with("everything in it holds") && held.stdout.contains(&format!("#{read}")), "{held:?}");
    let alone = check(&[]);
    assert!(
        alone.exit == 0
            && alone.stdout.contains("only `--receipt-keys` shows whose it is")
            && alone.stdout.trim_end().ends_with("who made it shows `--receipt-keys` alone"),
        "{alone:?}"
    );
    let told = site.run(&["--format", "json", "audit", "check", "evidence.zip", "--key", key, "--receipt-keys", "jwks.json"]).json();
    assert!(told["ok"] == true && told["items"].as_array().unwrap().iter().all(|item| item["ok"] == true), "{told}");
    assert_eq!(site.run(&["audit", "check", "evidence.zip", "--key", "other.vkey"]).exit, 1, "another log's key");
    assert_eq!(check(&["--receipt-keys", "other.vkey"]).exit, 64);

    // With tools of others: unpacked, every file has its hash.
    let unpack = "import zipfile; zipfile.ZipFile('evidence.zip').extractall('unpacked')";
    if Command::new("python3").args(["-c", unpack]).current_dir(site.path()).status().is_ok_and(|done| done.success()) {
        let summed = Command::new("sha256sum").args(["-c", "manifest.sha256"]).current_dir(site.path().join("unpacked")).output().unwrap();
        let lines = String::from_utf8(summed.stdout).unwrap();
        assert!(summed.status.success() && lines.contains("report.html: OK") && lines.contains("log/checkpoint: OK"), "{lines}");
        let proof = site.run(&["audit", "check", &format!("unpacked/proofs/{read}.tlog-proof"), "--key", key]);
        assert!(proof.exit == 0 && proof.stdout.starts_with("proved"), "{proof:?}");
    }
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(site.path().join("changed.zip"), bytes).unwrap();
    let changed = site.run(&["audit", "check", "changed.zip", "--key", key, "--receipt-keys", "jwks.json"]);
    assert!(changed.exit == 1 && changed.stdout.contains("not as it was packed"), "{changed:?}");
}
