//! `kill -9` at any moment: what was answered is in the log, the log verifies, and what a customer said last still holds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use consentry::audit;
use consentry::cli::demo::AppClient;

use crate::process::{MINA, MINAS, OUTREACH, QUOTE, Site, UNKNOWN, read};

/// Two gateways at the same time, killed 50 times each.
const GATEWAYS: usize = 2;
const ROUNDS: usize = 50;
/// How long the load runs before a kill, by the round's number: not always the same.
const LOAD_MS: [u64; 5] = [20, 45, 75, 110, 150];

/// (index, status) of every whole answer.
type Answered = Arc<Mutex<Vec<(usize, u16)>>>;

#[test]
fn no_answered_request_is_missing_after_100_kills() {
    kill_each(ROUNDS);
}

#[test]
#[ignore = "a thousand kills take a quarter of an hour"]
fn no_answered_request_is_missing_after_1000_kills() {
    kill_each(10 * ROUNDS);
}

/// What is acknowledged before the disk has it, the kernel has.
#[test]
fn no_answered_request_is_missing_after_kills_of_a_bounded_log() {
    let site = Site::new();
    site.edit("consentry.toml", "mode = \"strict\"", "mode = { bounded = { max_ms = 1000, max_records = 100000 } }");
    let (permits, denials) = killed(BOUNDED_ROUNDS, &site);
    assert!(permits >= 2 * BOUNDED_ROUNDS && denials >= BOUNDED_ROUNDS, "{permits} permits and {denials} denials are no load");
}

const BOUNDED_ROUNDS: usize = 10;

fn kill_each(rounds: usize) {
    thread::scope(|scope| {
        let runs: Vec<_> = (0..GATEWAYS).map(|_| scope.spawn(move || killed(rounds, &Site::new()))).collect();
        for run in runs {
            let (permits, denials) = run.join().unwrap();
            // Each client was answered at least once before each kill.
            assert!(permits >= 2 * rounds && denials >= rounds, "{permits} permits and {denials} denials are no load");
        }
    });
}

/// Kills one gateway again and again and returns how many permits and denials were answered.
fn killed(rounds: usize, site: &Site) -> (usize, usize) {
    let mut gateway = site.start();
    site.prepare();
    let mut all = Vec::new();
    for round in 0..rounds {
        let answered = Answered::default();
        // One connection each, kept open, sending as fast as it is answered until it is cut.
        let (warm, warmed) = mpsc::channel();
        let load = [QUOTE, QUOTE, UNKNOWN].map(|target| {
            let (app, at, answered, warm) = (site.app("crm"), site.addresses.apps, Arc::clone(&answered), warm.clone());
            site.spawn(ask_until_cut(app, at, target, answered, warm))
        });
        for _ in &load {
            warmed.recv_timeout(Duration::from_secs(20)).expect("each client is answered");
        }
        thread::sleep(Duration::from_millis(LOAD_MS[round % LOAD_MS.len()]));
        let withdraws = round % 5 == 4;
        if withdraws {
            site.say(MINA, "given");
            assert_eq!(site.read(MINAS).status, 200);
            site.say(MINA, "withdrawn");
        }
        gateway.kill();
        for client in load {
            site.block(client).unwrap();
        }
        all.append(&mut answered.lock().unwrap());
        if withdraws {
            audit::verify(&site.log(), None).unwrap_or_else(|failure| panic!("round {round}, as it was left: {failure}"));
        }

        gateway = site.start();
        let report = audit::verify(&site.log(), None).unwrap_or_else(|failure| panic!("round {round}, after the restart: {failure}"));
        assert_eq!(report.torn_bytes, 0, "round {round}: the restart mends a torn end");
        // All of them, and with many rounds now and then: the log is read from its beginning.
        if rounds <= ROUNDS || round % 10 == 9 {
            compare(site, &all, round);
        }
        if withdraws {
            assert_eq!(site.read(MINAS).status, 403, "round {round}: an acknowledged withdrawal was lost");
        }
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let verified = site.run(&["audit", "verify", "log"]);
    assert_eq!(verified.exit, 0, "{verified:?}");
    let indexed = site.run(&["audit", "index", "log", "--check"]);
    assert_eq!(indexed.exit, 0, "the index leaves something out: {indexed:?}");
    let of = |status| all.iter().filter(|(_, s)| *s == status).count();
    (of(200), of(403))
}

async fn ask_until_cut(app: AppClient, at: SocketAddr, target: &'static str, answered: Answered, warm: mpsc::Sender<()>) {
    let mut warm = Some(warm);
    while let Ok(reply) = read(&app, at, target, OUTREACH).await {
        let index = crate::process::index(&reply).expect("every answer under load carries its decision");
        answered.lock().unwrap().push((index, reply.status.as_u16()));
        if let Some(warm) = warm.take() {
            warm.send(()).unwrap();
        }
    }
}

/// Every decision that was handed out stands in the log, once, as what was answered.
fn compare(site: &Site, answered: &[(usize, u16)], round: usize) {
    let entries = site.entries();
    let distinct: BTreeSet<usize> = answered.iter().map(|(index, _)| *index).collect();
    assert_eq!(distinct.len(), answered.len(), "round {round}: two answers carry one decision");
    for (index, status) in answered {
        let entry = entries.get(*index).unwrap_or_else(|| panic!("round {round}: decision {index} was answered {status} and is not in the log"));
        let kind = entry["kind"].as_str().unwrap();
        let is_same = match status {
            200 => matches!(kind, "permit" | "intent"),
            403 => kind == "deny" && entry["status"] == 403,
            other => panic!("round {round}: {other} was answered under load"),
        };
        assert!(is_same, "round {round}: decision {index} was answered {status}, the log says {entry}");
    }
}
