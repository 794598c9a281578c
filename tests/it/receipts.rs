//! Receipts as those see them who keep them: over the listeners and the command line of a running gateway, and verified by a
//! JOSE tool that is not ours.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::process::{MINA, Site, text};

/// Verifies each line of a file with the keys of another, and prints what it finds: the payload, or nothing.
const VERIFY: &str = r#"
import json, sys
from jwcrypto import jwk, jws
keys = jwk.JWKSet.from_json(open(sys.argv[1]).read())
for line in open(sys.argv[2]):
    try:
        token = jws.JWS()
        token.deserialize(line.strip())
        token.allowed_algs = ["EdDSA"]
        token.verify(keys.get_key(token.jose_header["kid"]))
        assert token.jose_header["typ"] == "consent-receipt+jwt"
        print(json.dumps(json.loads(token.payload)))
    except Exception:
        print()
"#;

/// The Python of `tests/run`'s own folder, if jwcrypto is there.
fn jose() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/jose/bin/python");
    let there = Command::new(&python).args(["-c", "import jwcrypto"]).output().is_ok_and(|ran| ran.status.success());
    there.then_some(python)
}

/// What the tool makes of each line.
fn verified(python: &Path, dir: &Path, jwks: &Value, lines: &[String]) -> Vec<Option<Value>> {
    let (keys, tokens) = (dir.join("jwks.json"), dir.join("tokens"));
    fs::write(&keys, jwks.to_string()).unwrap();
    fs::write(&tokens, lines.join("\n")).unwrap();
    let ran = Command::new(python).args(["-c", VERIFY]).args([&keys, &tokens]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: Vec<Option<Value>> = String::from_utf8(ran.stdout).unwrap().lines().map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(found.len(), lines.len());
    found
}

impl Site {
    fn capture(&self, app: &str, path: &str) -> (u16, String) {
        let url = format!("https://{}{path}", self.addresses.capture);
        let reply = self.block(self.app(app).send(Method::GET, &url, HeaderMap::new(), "")).unwrap();
        (reply.status.as_u16(), text(&reply))
    }

    /// The customer says so through the preference centre.
    fn captured(&self, state: &str) -> String {
        let reply = self.say(MINA, state);
        let answer: Value = serde_json::from_str(&text(&reply)).unwrap();
        answer["event"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

#[test]
fn a_receipt_is_had_on_the_capture_listener_and_by_command_and_verified_by_another_tool() {
    let site = Site::new();
    site.edit("consentry.toml", "store = { sqlite = \"consent.db\" }", "store = { sqlite = \"consent.db\" }\ncontroller = \"Sample Ltd\"");
    let _gateway = site.start();
    site.prepare();
    let events = [site.captured("given"), site.captured("withdrawn")];
    let receipt = |event: &str, form: &str| site.capture("preference-centre", &format!("/v1/consents/{event}/receipt?format={form}"));

    let (status, jwks) = site.capture("preference-centre", "/.well-known/jwks.json");
    assert_eq!(status, 200);
    let jwks: Value = serde_json::from_str(&jwks).unwrap();
    let signed: Vec<String> = events.iter().map(|event| receipt(event, "jws").1).collect();
    for (event, state) in events.iter().zip(["given", "withdrawn"]) {
        let (status, body) = receipt(event, "json");
        let document: Value = serde_json::from_str(&body).unwrap();
        let said = &document["record"];
        assert_eq!(status, 200);
        assert!(said["pii_principal_id"].as_str().unwrap().ends_with(event.as_str()), "whom it captured the event about, the app knows: {said}");
        assert_eq!((&said["event"]["event_state"]["key"], &said["pii_controllers"][0]["party_name"]), (&json!(state), &json!("Sample Ltd")));
        // The desk gets the same, with the id; another app nothing.
        let mut by_desk = site.run_as("consent-desk", &["consent", "receipt", event]).json();
        assert_eq!(by_desk["record"]["pii_principal_id"], json!(format!("crm:{MINA}")));
        by_desk["record"]["pii_principal_id"] = said["pii_principal_id"].clone();
        assert_eq!(by_desk["record"], document["record"]);
        assert_eq!(site.capture("crm", &format!("/v1/consents/{event}/receipt")).0, 404);
    }
    assert_eq!(site.run_as("consent-desk", &["consent", "receipt", "ev_9999"]).exit, 4);
    assert_eq!(site.run_as("operator", &["consent", "receipt", &events[0]]).exit, 64);

    // A file, which is not overwritten and belongs to its owner alone.
    let ran = site.run_as("consent-desk", &["consent", "receipt", &events[0], "--html", "--out", "receipt.html"]);
    assert_eq!((ran.exit, ran.stdout.trim()), (0, format!("receipt of {} · html · receipt.html", events[0]).as_str()));
    let file = site.path().join("receipt.html");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<h1>Consent given</h1>") && page.contains("Contact by sales"), "{page}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.run_as("consent-desk", &["consent", "receipt", &events[1], "--html", "--out", "receipt.html"]).exit, 64);
    assert_eq!(fs::read_to_string(&file).unwrap(), page);
    let by_command = site.run_as("auditor", &["consent", "receipt", &events[0], "--jws"]).stdout.trim().to_owned();

    let Some(python) = jose() else {
        // Not by a macro, whose output is kept back when a test passes.
        writeln!(std::io::stderr(), "skipped: receipts before another JOSE tool; `tests/run` installs jwcrypto in target/tools/jose").unwrap();
        return;
    };
    let found = verified(&python, site.path(), &jwks, &[&signed[..], &[by_command]].concat());
    let state = |receipt: &Option<Value>| receipt.as_ref().map(|receipt| receipt["record"]["event"]["event_state"]["key"].clone());
    assert_eq!(found.iter().map(state).collect::<Vec<_>>(), [Some(json!("given")), Some(json!("withdrawn")), Some(json!("given"))]);
    // The auditor's does not name the person.
    assert!(!found[2].as_ref().unwrap().to_string().contains(MINA));

    // A changed byte anywhere, another's payload or header, and another key.
    let mut forged: Vec<String> = Vec::new();
    for at in (0..signed[0].len()).step_by(97) {
        let mut bytes = signed[0].clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    let parts = |jws: &str| jws.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (parts(&signed[0]), parts(&signed[1]));
    forged.push([one[0].as_str(), &other[1], &one[2]].join("."));
    forged.push([&BASE64.encode(r#"{"alg":"none","typ":"consent-receipt+jwt"}"#), one[1].as_str(), ""].join("."));
    let answers: BTreeSet<bool> = verified(&python, site.path(), &jwks, &forged).iter().map(Option::is_some).collect();
    assert_eq!(answers, BTreeSet::from([false]), "{} forgeries", forged.len());
    let mut foreign = jwks;
    foreign["keys"][0]["x"] = json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(verified(&python, site.path(), &foreign, &signed), [None, None]);
}
