//! Evidence that holds without the gateway: proofs for apps and auditors, tiles over HTTP, and a witness on "another machine" that
//! remembers what the log has said.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::process::{QUOTE, Site, UNKNOWN, binary, copy_folder, index, patiently};

impl Site {
    fn fetch(&self, who: &consentry::cli::demo::AppClient, at: std::net::SocketAddr, path: &str) -> (u16, Vec<u8>) {
        let reply = self.block(who.send(Method::GET, &format!("https://{at}{path}"), HeaderMap::new(), Vec::new())).unwrap();
        (reply.status.as_u16(), reply.body.to_vec())
    }

    fn check(&self, name: &str, proof: &[u8], more: &[&str]) -> crate::process::Ran {
        fs::write(self.path().join(name), proof).unwrap();
        let key = self.log().join("log.vkey");
        self.run(&[&["--format", "json", "audit", "check", name, "--key", key.to_str().unwrap()], more].concat())
    }
}

#[test]
fn an_app_keeps_a_receipt_of_its_decisions_and_an_auditor_shows_the_entry() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let (permitted, refused) = (site.read(QUOTE), site.read(UNKNOWN));
    assert_eq!((permitted.status.as_u16(), refused.status.as_u16()), (200, 403));
    let (crm, auditor) = (site.app("crm"), site.staff("auditor"));
    for decision in [&permitted, &refused] {
        let id = decision.headers["consentry-decision"].to_str().unwrap().replace('#', "/");
        let path = format!("/v1/decisions/{id}/proof");
        let (status, receipt) = site.fetch(&crm, site.addresses.capture, &path);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&receipt));
        let checked = site.check("receipt.tlog-proof", &receipt, &[]);
        assert_eq!(checked.exit, 0, "{checked:?}");
        let (by_app, number) = (checked.json(), index(decision).unwrap());
        assert_eq!(
            (by_app["index"].as_u64().unwrap(), &by_app["entry"]),
            (u64::try_from(number).unwrap(), &Value::Null),
            "an app learns nothing of the entry"
        );
        // Another app's decision is nobody's.
        assert_eq!(site.fetch(&site.app("preference-centre"), site.addresses.capture, &path).0, 404);
        let (status, evidence) = site.fetch(&auditor, site.addresses.admin, &path);
        assert_eq!(status, 200);
        let by_auditor = site.check("evidence.tlog-proof", &evidence, &[]).json();
        assert_eq!(by_auditor["leaf"], by_app["leaf"], "what the auditor shows is what the app's receipt is about");
        assert_eq!(by_auditor["entry"]["app"], "crm");
        let ran = site.run_as("auditor", &["audit", "proof", &number.to_string(), "--out", "by-command.tlog-proof"]);
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert_eq!(
            site.check("by-command.tlog-proof", &fs::read(site.path().join("by-command.tlog-proof")).unwrap(), &[]).json()["leaf"],
            by_app["leaf"]
        );
        assert_eq!(site.run_as("consent-desk", &["audit", "proof", &number.to_string()]).exit, 64, "not the consent desk's");
    }
    let head = index(&permitted).unwrap();
    for (who, at, path) in [
        (&crm, site.addresses.capture, format!("/v1/decisions/-/{}/proof", head + 1)),
        (&crm, site.addresses.capture, "/v1/decisions/-/99999999/proof".to_owned()),
        (&crm, site.addresses.capture, "/v1/decisions/-/0/proof".to_owned()),
        (&crm, site.addresses.capture, format!("/v1/decisions/other.example.com/{head}/proof")),
        (&auditor, site.addresses.admin, format!("/v1/decisions/other.example.com/{head}/proof")),
        (&auditor, site.addresses.admin, "/log/tile/0/001".to_owned()),
        (&auditor, site.addresses.admin, "/log/tile/0/000".to_owned()),
    ] {
        assert_eq!(site.fetch(who, at, &path).0, 404, "{path}");
    }
    assert_eq!(site.fetch(&site.staff("consent-desk"), site.addresses.admin, "/log/checkpoint").0, 403);
    drop(gateway);
}

#[test]
fn tiles_over_http_are_those_of_the_files() {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let auditor = site.staff("auditor");
    let get = |path: &str| site.fetch(&auditor, site.addresses.admin, path);
    site.read(QUOTE);
    // What was there at the last checkpoint; reading entries adds one.
    let (note, size) = patiently(|| {
        let note = String::from_utf8(get("/log/checkpoint").1).unwrap();
        let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
        if (10..256).contains(&size) { Ok((note, size)) } else { Err(format!("the checkpoint signs {size} entries")) }
    });
    let (hashes, entries) = (get(&format!("/log/tile/0/000.p/{size}")), get(&format!("/log/tile/entries/000.p/{size}")));
    assert_eq!((hashes.0, hashes.1.len()), (200, usize::try_from(size).unwrap() * 32));
    assert_eq!(entries.0, 200);
    let told = site.log_until(|entries| entries.iter().any(|entry| entry["kind"] == "query" && entry["operation"] == "log.tile"));
    let query = told.iter().find(|entry| entry["operation"] == "log.tile").unwrap();
    assert_eq!(query["found"].as_u64(), Some(size), "who read entries is in the log");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let ran = site.run(&["audit", "tiles", site.log().to_str().unwrap(), "--out", "tiles"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let tile = |level: &str| {
        let folder = fs::read_dir(site.path().join("tiles/tile").join(level).join("000.p")).unwrap();
        fs::read(folder.map(|file| file.unwrap().path()).next().unwrap()).unwrap()
    };
    assert!(tile("0").starts_with(&hashes.1) && tile("entries").starts_with(&entries.1), "the log only grew");
    fs::write(site.path().join("before"), note).unwrap();
    let verified = site.run(&["audit", "verify", site.log().to_str().unwrap(), "--checkpoint", "before"]);
    assert_eq!(verified.exit, 0, "{verified:?}");
}

/// A witness as its own process.
pub(crate) struct WitnessProcess {
    child: Child,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl WitnessProcess {
    pub(crate) fn start(dir: &Path, log_key: &Path, listen: &str) -> Self {
        let mut command = Command::new(binary());
        command.args(["--format", "json", "audit", "witness", "--name", "witness.example.com/compliance", "--listen", listen]);
        command.arg("--dir").arg(dir.join("memory")).arg("--key").arg(dir.join("witness.key")).arg("--log").arg(log_key);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: format!("http://{}", said["address"].as_str().unwrap()), key: said["key"].as_str().unwrap().to_owned() }
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_log_that_was_set_back_does_not_start_before_its_witness() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    // The log's verifier key is there after the first start.
    let gateway = site.start();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let log_key = dir.path().join("gw.vkey");
    fs::copy(site.log().join("log.vkey"), &log_key).unwrap();
    let witness = WitnessProcess::start(dir.path(), &log_key, "127.0.0.1:0");
    for (asked, status) in [
        ("GET /add-checkpoint HTTP/1.1\r\nhost: w\r\n\r\n".to_owned(), "405"),
        ("POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 0\r\n\r\n".to_owned(), "404"),
        ("POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 4\r\n\r\nold ".to_owned(), "400"),
        (format!("POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000)), "400"),
    ] {
        let mut stream = TcpStream::connect(witness.url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(asked.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line.split(' ').nth(1), Some(status), "{line}");
    }
    fs::write(site.path().join("witness.vkey"), format!("{}\n", witness.key)).unwrap();
    let settings = format!("[[audit.witnesses]]\nurl = \"{}\"\nkey = \"witness.vkey\"\n\n[consent]", witness.url);
    site.edit("consentry.toml", "[consent]", &settings);

    let gateway = site.start();
    site.prepare();
    let permitted = site.read(QUOTE);
    assert_eq!(permitted.status, 200);
    assert_eq!(site.ready_until(|status, _| status == 200)["checks"].as_array().unwrap().iter().filter(|c| c["name"] == "witness").count(), 0);
    // Witnessed at the start, and again within some ten seconds.
    let seen = patiently(|| {
        let receipt = site.fetch(&site.app("crm"), site.addresses.capture, &format!("/v1/decisions/-/{}/proof", index(&permitted).unwrap())).1;
        let checked = site.check("seen.tlog-proof", &receipt, &["--witness", "witness.vkey"]);
        if checked.exit == 0 { Ok(checked.json()) } else { Err(format!("{checked:?}")) }
    });
    assert!(seen["witnessed_at"].is_string(), "{seen}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let now = dir.path().join("now");
    copy_folder(&site.log(), &now);

    // Whoever holds the machine and the key makes another history of the same beginning.
    let set_back = |to: &Path| {
        fs::remove_dir_all(site.log()).unwrap();
        copy_folder(to, &site.log());
    };
    fs::remove_dir_all(site.log()).unwrap();
    site.edit("consentry.toml", &settings, "[consent]");
    let gateway = site.start();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let shorter = dir.path().join("shorter");
    copy_folder(&site.log(), &shorter);
    site.edit("consentry.toml", "[consent]", &settings);
    let refused = site.run(&["run", "--config", "consentry.toml"]);
    assert_eq!(refused.exit, 75, "{refused:?}");
    assert!(refused.stderr.contains("this log has fewer: it was set back"), "{refused:?}");

    // A longer one that never was what the witness has seen.
    site.edit("consentry.toml", &settings, "[consent]");
    let gateway = site.start();
    let grown = seen["size"].as_u64().unwrap() + 20;
    while site.entries().len() < usize::try_from(grown).unwrap() {
        site.read(UNKNOWN);
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    site.edit("consentry.toml", "[consent]", &settings);
    let refused = site.run(&["run", "--config", "consentry.toml"]);
    assert!(refused.exit == 75 && refused.stderr.contains("it was rewritten"), "{refused:?}");

    // What is no witness's key is a mistake of the configuration.
    fs::copy(&log_key, site.path().join("witness.vkey")).unwrap();
    let mistaken = site.run(&["check"]);
    assert!(mistaken.exit == 3 && mistaken.stderr.contains("the key of the witness"), "{mistaken:?}");
    fs::write(site.path().join("witness.vkey"), format!("{}\n", witness.key)).unwrap();

    // The true one starts, also while the witness is away, which is told.
    set_back(&now);
    let (url, key) = (witness.url.clone(), witness.key.clone());
    drop(witness);
    let gateway = site.start();
    let ready = site.ready_until(|_, document| document["checks"].as_array().unwrap().iter().any(|check| check["name"] == "witness"));
    assert!(ready.to_string().contains("has signed nothing since the start"), "{ready}");
    // Another witness takes a restart.
    site.edit("consentry.toml", &settings, "[consent]");
    gateway.signal("HUP");
    site.ready_until(|_, document| document["checks"].as_array().unwrap().iter().any(|c| c["name"] == "config" && c["state"] == "degraded"));
    site.edit("consentry.toml", "[consent]", &settings);
    // A set-back log that starts meanwhile is ended when the witness is there again.
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    set_back(&shorter);
    let gateway = site.start();
    assert_eq!(site.health("/readyz").0, 200);
    let witness = WitnessProcess::start(dir.path(), &log_key, url.strip_prefix("http://").unwrap());
    assert_eq!(witness.key, key);
    let ready = site.ready_until(|status, _| status == 503);
    assert!(ready.to_string().contains("it was set back"), "{ready}");
    assert_eq!(site.read(QUOTE).status, 503, "nothing is answered any more");
    drop(gateway);
}
