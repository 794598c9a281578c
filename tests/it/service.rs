//! As a service: on sockets that outlive the process, and with a manager that is told how it fares.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use consentry::cli::demo::AppClient;

use crate::process::{OUTREACH, QUOTE, Site, index, patiently, read, text};

/// Clients that ask one request after another, each on a connection of its own.
const CLIENTS: usize = 3;
/// Of each, so that the test ends.
const REQUESTS_MAX: usize = 2_000;

#[test]
fn a_restart_on_a_held_socket_refuses_and_loses_nobody() {
    let site = Site::new();
    let [apps, health] = [site.addresses.apps, site.addresses.health].map(|at| TcpListener::bind(at).unwrap());
    let mut first = site.start_on([&apps, &health]);
    site.await_live(&mut first);
    site.prepare();

    let (answered, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (ca, pair) = (site.state.certs().internal_ca.clone(), site.state.certs().clients["crm"].clone());
            let (at, answered, is_over) = (site.addresses.apps, Arc::clone(&answered), Arc::clone(&is_over));
            site.spawn(async move {
                let mut decisions = Vec::new();
                for _ in 0..REQUESTS_MAX {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let client = AppClient::new(&ca, &pair.chain, &pair.key).unwrap();
                    let reply = read(&client, at, QUOTE, OUTREACH).await.expect("a request is refused or lost");
                    assert_eq!(reply.status, 200, "{}", text(&reply));
                    decisions.push(index(&reply).unwrap());
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                decisions
            })
        })
        .collect();
    let more = |wanted: usize| {
        patiently(|| {
            let so_far = answered.load(Ordering::Relaxed);
            if so_far >= wanted || asking.iter().any(tokio::task::JoinHandle::is_finished) {
                Ok(so_far)
            } else {
                Err(format!("{so_far} of {wanted}"))
            }
        })
    };
    let before = more(20);
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(0));
    let mut second = site.start_on([&apps, &health]);
    site.await_live(&mut second);
    more(before + 40);
    is_over.store(true, Ordering::Relaxed);
    let mut decisions = BTreeSet::new();
    for asking in asking {
        for decision in site.block(asking).unwrap() {
            assert!(decisions.insert(decision), "two answers have the decision {decision}");
        }
    }
    second.signal("TERM");
    assert_eq!(second.wait().code(), Some(0));
    let entries = site.entries();
    let starts: Vec<usize> = entries.iter().enumerate().filter(|(_, entry)| entry["kind"] == "start").map(|(n, _)| n).collect();
    assert_eq!(starts.len(), 2, "{starts:?}");
    assert!(decisions.first().unwrap() < &starts[1] && decisions.last().unwrap() > &starts[1], "asked before and after the restart");
    for decision in decisions {
        let ended = entries.iter().any(|entry| entry["kind"] == "end" && entry["of"] == decision && entry["complete"] == true);
        assert!(ended, "decision {decision} has no end");
    }
}

#[test]
fn a_handed_over_socket_that_is_no_listeners_stops_the_start() {
    let site = Site::new();
    let apps = TcpListener::bind(site.addresses.apps).unwrap();
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let stopped = site.start_on([&apps, &stray]);
    let trace = stopped.trace_at_end();
    assert_eq!(trace.0, Some(3), "{}", trace.1);
    let address = stray.local_addr().unwrap();
    assert!(trace.1.contains(&format!("handed over for `{address}`; let `ListenStream=` and `address` agree")), "{}", trace.1);
}

/// Messages of the gateway, one a datagram.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message with this line; signs of life in between are passed over, anything else is not.
    fn told(&self, line: &str) -> String {
        let mut bytes = [0; 4096];
        for _ in 0..100 {
            let length = self.0.recv(&mut bytes).unwrap_or_else(|error| panic!("`{line}` is waited for: {error}"));
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if message.lines().any(|l| l == line) {
                return message;
            }
            assert_eq!(message.trim(), "WATCHDOG=1", "while `{line}` is waited for");
        }
        panic!("only signs of life came while `{line}` was waited for");
    }
}

#[test]
fn the_service_manager_is_told_of_start_reloads_life_and_stop() {
    let site = Site::new();
    let path = site.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let gateway = site.start_told(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "60000000")]);
    let ready = manager.told("READY=1");
    assert!(ready.contains("STATUS=serving generation 1\n"), "{ready}");
    manager.told("WATCHDOG=1");

    gateway.signal("HUP");
    let reloading = manager.told("RELOADING=1");
    let since: u64 = reloading.lines().find_map(|l| l.strip_prefix("MONOTONIC_USEC=")?.parse().ok()).expect("the time of the reload");
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    assert!(since / 1_000_000 <= uptime + 1 && since / 1_000_000 + 20 >= uptime, "{since} µs, up for {uptime} s");
    assert!(manager.told("READY=1").contains("STATUS=serving generation 2\n"));

    // A reload that comes to nothing ends, too, and says why.
    site.edit("policies/00-floor.cedar", "forbid", "forbidd");
    gateway.signal("HUP");
    manager.told("RELOADING=1");
    let refused = manager.told("READY=1");
    assert!(refused.contains("STATUS=serving generation 2; the files on disk have") && refused.contains("consentry check"), "{refused}");

    gateway.signal("TERM");
    manager.told("STOPPING=1");
    assert_eq!(gateway.wait().code(), Some(0));
}
