//! The log's key is replaced while gateway, auditor, app and witness go on: by configuration and two restarts, or by a command when it is
//! lost.

use std::fs;

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::evidence::WitnessProcess;
use crate::process::{Gateway, QUOTE, Ran, Site, index, patiently};

const KEY: &str = "signing_key = { file = \"log-ed25519.pem\" }";
const NEW: &str = "signing_key = { file = \"log-next.pem\" }";
const PREVIOUS: &str = "\nprevious_key = { file = \"log-ed25519.pem\" }";
const SECRETS: &str = "\nsecrets_key = { file = \"log-ed25519.pem\" }";

/// One of the keys that are derived: what it signed must stay true.
const RECEIPT_KEYS: &str = "/.well-known/jwks.json";

fn stop(gateway: Gateway) {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

fn log_key(site: &Site) -> String {
    fs::read_to_string(site.log().join("log.vkey")).unwrap().trim().to_owned()
}

fn keep(site: &Site, name: &str, text: &str) {
    fs::write(site.path().join(name), text).unwrap();
}

fn verify(site: &Site, more: &[&str]) -> (i32, Value) {
    let ran = site.run(&[&["--format", "json", "audit", "verify", site.log().to_str().unwrap()], more].concat());
    (ran.exit, serde_json::from_str(&ran.stdout).unwrap_or_else(|_none| panic!("{ran:?}")))
}

fn fetch(site: &Site, path: &str) -> Vec<u8> {
    let url = format!("https://{}{path}", site.addresses.capture);
    let reply = site.block(site.app("crm").send(Method::GET, &url, HeaderMap::new(), Vec::new())).unwrap();
    assert_eq!(reply.status, 200, "{path}: {}", String::from_utf8_lossy(&reply.body));
    reply.body.to_vec()
}

fn receipt(site: &Site, decision: i64) -> Vec<u8> {
    fetch(site, &format!("/v1/decisions/-/{decision}/proof"))
}

fn check(site: &Site, proof: &[u8], key: &str) -> Ran {
    fs::write(site.path().join("receipt.tlog-proof"), proof).unwrap();
    site.run(&["audit", "check", "receipt.tlog-proof", "--key", key])
}

/// A site whose log is signed by its first key, with that kept as `old.vkey`, and another key in waiting.
fn site() -> (Site, i64, Vec<u8>, Vec<u8>) {
    let site = Site::new();
    let gateway = site.start();
    site.prepare();
    let decision = i64::try_from(index(&site.read(QUOTE)).unwrap()).unwrap();
    let early = patiently(|| {
        let proof = receipt(&site, decision);
        if proof.is_empty() { Err("no proof") } else { Ok(proof) }
    });
    let receipt_keys = fetch(&site, RECEIPT_KEYS);
    stop(gateway);
    keep(&site, "old.vkey", &log_key(&site));
    consentry::audit::generate_signing_key(&site.path().join("log-next.pem")).unwrap();
    (site, decision, early, receipt_keys)
}

#[test]
fn the_key_is_replaced_in_two_restarts_and_nobody_is_lost() {
    let (site, decision, early, receipt_keys) = site();
    let old_checkpoint = fs::read_to_string(site.log().join("checkpoint")).unwrap();
    keep(&site, "old-checkpoint", &old_checkpoint);

    // The new one alone is refused, with what to do; and it must be said what becomes of the secrets.
    site.edit("consentry.toml", KEY, NEW);
    let refused = site.run(&["run"]);
    assert!(refused.exit == 75 && refused.stderr.contains("`[audit] previous_key`"), "{refused:?}");
    site.edit("consentry.toml", NEW, &format!("{NEW}{PREVIOUS}"));
    let refused = site.run(&["check"]);
    assert!(refused.exit == 3 && format!("{}{}", refused.stdout, refused.stderr).contains("`previous_key` needs `secrets_key`"), "{refused:?}");

    // First restart: both sign.
    site.edit("consentry.toml", NEW, &format!("{NEW}{SECRETS}"));
    let gateway = site.start();
    assert!(gateway.trace().contains("the decision log's key was replaced"), "{}", gateway.trace());
    let new_key = log_key(&site);
    assert_ne!(new_key, fs::read_to_string(site.path().join("old.vkey")).unwrap());
    keep(&site, "new.vkey", &new_key);
    let told = site.log_until(|entries| entries.iter().any(|entry| entry["kind"] == "key_rotated"));
    assert_eq!(told.iter().find(|entry| entry["kind"] == "key_rotated").unwrap()["new_key"], *new_key);
    assert_eq!(site.read(QUOTE).status, 200);
    assert_eq!(fetch(&site, RECEIPT_KEYS), receipt_keys, "the secrets stay");
    let between = receipt(&site, decision);
    for key in ["old.vkey", "new.vkey"] {
        assert_eq!(check(&site, &between, key).exit, 0, "{key}");
    }
    let proved = site.run_as("auditor", &["audit", "search", "--customer", "crm:0012", "--prove", "--log-key", "old.vkey"]);
    assert_eq!(proved.exit, 0, "{proved:?}");
    // A reload is no restart.
    site.edit("consentry.toml", PREVIOUS, "");
    gateway.signal("HUP");
    site.ready_until(|_, document| document["checks"].as_array().unwrap().iter().any(|c| c["name"] == "config" && c["state"] == "degraded"));
    stop(gateway);

    // Second restart: the new one signs alone.
    let gateway = site.start();
    let late = patiently(|| {
        let proof = receipt(&site, decision);
        if check(&site, &proof, "old.vkey").exit == 1 { Ok(proof) } else { Err("still a checkpoint of the old key") }
    });
    assert_eq!(check(&site, &late, "new.vkey").exit, 0);
    assert_eq!(fetch(&site, RECEIPT_KEYS), receipt_keys);
    assert_eq!((check(&site, &early, "old.vkey").exit, check(&site, &early, "new.vkey").exit), (0, 1), "what was handed out stays as it is");

    // The chain, behind the key that somebody keeps: for proofs of every time, and for searches.
    let ran = site.run(&["audit", "verify", site.log().to_str().unwrap(), "--key", "old.vkey", "--rotations-out", "rotations"]);
    assert!(ran.exit == 0 && ran.stdout.contains(&format!("up to the one to keep now: {new_key}")), "{ran:?}");
    let chain =
        format!("{}\n\n{}", fs::read_to_string(site.path().join("old.vkey")).unwrap(), fs::read_to_string(site.path().join("rotations")).unwrap());
    keep(&site, "chain.vkey", &chain);
    for proof in [&early, &between, &late] {
        assert_eq!(check(&site, proof, "chain.vkey").exit, 0);
    }
    for (key, exit) in [("old.vkey", 1), ("new.vkey", 0), ("chain.vkey", 0)] {
        let proved = site.run_as("auditor", &["audit", "search", "--customer", "crm:0012", "--prove", "--log-key", key]);
        assert_eq!(proved.exit, exit, "{key}: {proved:?}");
    }
    let page = site.run_as("auditor", &["audit", "report", "integrity", "--as", "html"]);
    assert!(page.stdout.contains("signed by the one before"), "{page:?}");
    stop(gateway);

    for (more, exit) in [
        (&["--key", "old.vkey", "--checkpoint", "old-checkpoint"][..], 0),
        (&["--key", "new.vkey", "--checkpoint", "old-checkpoint"], 0),
        (&["--key", "chain.vkey"], 0),
        (&[], 0),
    ] {
        let (found, said) = verify(&site, more);
        assert_eq!((found, said["rotations"].as_array().unwrap().len()), (exit, 1), "{more:?}: {said}");
        assert_eq!(said["followed"], more.first() == Some(&"--key") && more[1] != "new.vkey", "{more:?}");
    }
    // Put back, neither the file nor the key is taken.
    site.edit("consentry.toml", &format!("{NEW}{SECRETS}"), KEY);
    assert_eq!(site.run(&["run"]).exit, 75);
    fs::copy(site.path().join("old.vkey"), site.log().join("log.vkey")).unwrap();
    let refused = site.run(&["run"]);
    assert!(refused.exit == 75 && refused.stderr.contains("not signed by this log's key"), "{refused:?}");
    let (exit, said) = verify(&site, &[]);
    assert!(exit == 1 && said["fault"].as_str().unwrap().contains("put back by hand"), "{said}");
}

#[test]
fn a_witness_goes_on_once_it_is_given_the_chain() {
    let (site, decision, _, _) = site();
    let dir = tempfile::tempdir().unwrap();
    let witness = WitnessProcess::start(dir.path(), &site.path().join("old.vkey"), "127.0.0.1:0");
    keep(&site, "witness.vkey", &witness.key);
    let settings = format!("[[audit.witnesses]]\nurl = \"{}\"\nkey = \"witness.vkey\"\n\n[consent]", witness.url);
    site.edit("consentry.toml", "[consent]", &settings);
    site.edit("consentry.toml", KEY, &format!("{NEW}{PREVIOUS}{SECRETS}"));
    let seen = |key: &str| {
        let proof = receipt(&site, decision);
        keep(&site, "seen.tlog-proof", std::str::from_utf8(&proof).unwrap());
        site.run(&["audit", "check", "seen.tlog-proof", "--key", key, "--witness", "witness.vkey"])
    };
    // It knows the old key, and that signs, too.
    let gateway = site.start();
    keep(&site, "new.vkey", &log_key(&site));
    for key in ["old.vkey", "new.vkey"] {
        let ran = seen(key);
        assert!(ran.exit == 0 && ran.stdout.contains("seen by the witness"), "{ran:?}");
    }
    stop(gateway);
    // Then it does not any more, and readiness says so.
    site.edit("consentry.toml", PREVIOUS, "");
    let gateway = site.start();
    let ready = site.ready_until(|_, document| document["checks"].as_array().unwrap().iter().any(|check| check["name"] == "witness"));
    assert!(ready.to_string().contains("it does not know the key that signs this log"), "{ready}");
    let ran = site.run(&["audit", "verify", site.log().to_str().unwrap(), "--key", "old.vkey", "--rotations-out", "rotations"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    let read = |name: &str| fs::read_to_string(site.path().join(name)).unwrap();
    keep(&site, "chain.vkey", &format!("{}\n\n{}", read("old.vkey"), read("rotations")));
    let url = witness.url.clone();
    drop(witness);
    let _witness = WitnessProcess::start(dir.path(), &site.path().join("chain.vkey"), url.strip_prefix("http://").unwrap());
    site.ready_until(|_, document| document["checks"].as_array().unwrap().iter().all(|check| check["name"] != "witness"));
    let decision = i64::try_from(index(&site.read(QUOTE)).unwrap()).unwrap();
    patiently(|| {
        let proof = receipt(&site, decision);
        keep(&site, "seen.tlog-proof", std::str::from_utf8(&proof).unwrap());
        let ran = site.run(&["audit", "check", "seen.tlog-proof", "--key", "new.vkey", "--witness", "witness.vkey"]);
        if ran.exit == 0 { Ok(()) } else { Err(format!("{ran:?}")) }
    });
    stop(gateway);
}

#[test]
fn a_lost_key_is_replaced_by_a_command_that_the_log_tells_of() {
    let (site, decision, early, receipt_keys) = site();
    fs::remove_file(site.path().join("log-ed25519.pem")).unwrap();
    site.edit("consentry.toml", KEY, NEW);
    let gateway_refuses = site.run(&["run"]);
    assert!(gateway_refuses.exit == 75 && gateway_refuses.stderr.contains("audit replace-lost-key"), "{gateway_refuses:?}");
    let ran = site.run(&["audit", "replace-lost-key"]);
    assert!(ran.exit == 0 && ran.stdout.contains(&log_key(&site)), "{ran:?}");
    assert_eq!(site.run(&["audit", "replace-lost-key"]).exit, 75, "once");
    keep(&site, "new.vkey", &log_key(&site));
    let gateway = site.start();
    let locked = site.run(&["audit", "replace-lost-key"]);
    assert!(locked.exit == 75 && locked.stderr.contains("in use by another process"), "{locked:?}");
    assert_ne!(fetch(&site, RECEIPT_KEYS), receipt_keys, "what came from the lost key is lost with it");
    let late = receipt(&site, decision);
    assert_eq!((check(&site, &late, "new.vkey").exit, check(&site, &early, "old.vkey").exit), (0, 0));
    stop(gateway);
    let ran = site.run(&["audit", "verify", site.log().to_str().unwrap(), "--key", "new.vkey"]);
    assert!(ran.exit == 0 && ran.stdout.contains("KEY REPLACED AS LOST"), "{ran:?}");
    let (exit, said) = verify(&site, &["--key", "old.vkey"]);
    assert!(exit == 1 && said["fault"].as_str().unwrap().contains("as lost"), "{said}");
}
