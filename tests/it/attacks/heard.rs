//! What the gateway says to bytes that no client library would send, and what must be recorded of each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use consentry::audit;

use crate::harness::{Client, World, entries};

/// A raw answer.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: u16,
    /// Of a problem; empty when there is none.
    pub(super) code: String,
    /// The entry that the caller was told.
    pub(super) decision: Option<u64>,
    pub(super) text: String,
}

impl Heard {
    /// In any letter case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().skip(1).find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    pub(super) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Sends bytes as they are on a connection of their own, which they must have closed.
pub(super) async fn say(client: &Client, request: impl AsRef<[u8]>) -> Heard {
    let text = client.raw(request.as_ref()).await;
    let mut heard =
        Heard { status: text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default(), code: String::new(), decision: None, text };
    heard.code = heard.body().split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
    heard.decision = heard.header("consentry-decision").map(|told| told.rsplit_once('#').unwrap().1.parse().unwrap());
    heard
}

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The upstream is asked exactly so, and the answer goes out.
    Sent(&'static str),
    /// Refused to a known caller, with an entry of its own.
    Denied(u16, &'static str),
    /// Refused before anybody is known: counted.
    Rejected(u16, &'static str),
    /// No HTTP to begin with: an empty answer, counted.
    Malformed(u16),
}

/// Holds what was said against what was recorded and asked for.
pub(super) struct Witness<'w> {
    world: &'w World,
    counted: BTreeMap<String, u64>,
}

impl<'w> Witness<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        Self { world, counted: BTreeMap::new() }
    }

    pub(super) fn sees(&mut self, what: &str, heard: &Heard, due: Due) {
        let asked = self.world.upstream.asked();
        let wanted = if let Due::Sent(what) = due { vec![what.to_owned()] } else { Vec::new() };
        assert_eq!(wanted, asked, "{what}: what the upstream was asked");
        let recorded = |index: u64| audit::show(&self.world.log_dir(), index).unwrap().unwrap().decision.unwrap();
        match due {
            Due::Sent(_) => {
                assert!((200..300).contains(&heard.status), "{what}: {heard:?}");
                assert_ne!("deny", recorded(heard.decision.unwrap()).outcome, "{what}");
            }
            Due::Denied(status, code) => {
                assert_eq!((status, code), (heard.status, heard.code.as_str()), "{what}: {heard:?}");
                let found = recorded(heard.decision.unwrap_or_else(|| panic!("{what}: no decision in {heard:?}")));
                assert_eq!(("deny", Some(code), Some(u64::from(status))), (found.outcome.as_str(), found.code.as_deref(), found.status), "{what}");
            }
            Due::Rejected(status, code) => {
                assert_eq!((status, code, None), (heard.status, heard.code.as_str(), heard.decision), "{what}: {heard:?}");
                *self.counted.entry(code.to_owned()).or_default() += 1;
            }
            Due::Malformed(status) => {
                assert_eq!((status, "", None), (heard.status, heard.body(), heard.decision), "{what}: {heard:?}");
                *self.counted.entry("http-malformed".to_owned()).or_default() += 1;
            }
        }
    }

    /// Waits until the log has counted each reject, and none more; it is told of them once a second.
    pub(super) async fn leaves(self) {
        let counted = || {
            let mut found = BTreeMap::new();
            for entry in entries(&self.world.log_dir()).iter().filter(|e| e.kind() == "rejects" && e.resolved["listener"] == "apps") {
                *found.entry(entry.resolved["code"].as_str().unwrap().to_owned()).or_default() += entry.resolved["count"].as_u64().unwrap();
            }
            found
        };
        for _ in 0..200 {
            if counted() == self.counted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.counted, counted(), "what was refused before anybody was known");
        for entry in entries(&self.world.log_dir()) {
            assert!(entry.raw.iter().all(|byte| (b' '..=b'~').contains(byte)), "an entry is one line: {:?}", String::from_utf8_lossy(&entry.raw));
        }
    }
}
