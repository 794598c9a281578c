//! Walks the tour: sends what each step asks through the gateway's real ports, looks the decision up in the log, and has
//! `judge` compare both with the table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::client::{AppClient, Reply};
use super::files::StateDir;
use super::gateway::{Addresses, RunningGateway};
use super::issuer::{Issuer, TokenFor};
use super::judge::{Came, judge};
use super::sample_apis::SampleApis;
use super::show::{Complaint, Row};
use super::tour::{Act, BEFORE, FORMS, STEPS, Step, Why};
use crate::audit::{self, Found};
use crate::clock::Clock;

/// Apps that call with a token as well as with their certificate: for whom, and through which agent.
const SIGNED_IN: &[(&str, &str, Option<&str>)] = &[("helpdesk", "e-1001", None), ("sales-copilot", "e-1002", Some("sales-copilot"))];

/// How long an entry, or the checkpoint over it, may take to be in the log's files.
const LOG_WAIT: Duration = Duration::from_secs(3);
const LOG_POLL: Duration = Duration::from_millis(25);

/// Walks through the tour, one step after the other.
pub(super) struct Guide<'a, R> {
    gateway: &'a R,
    addresses: Addresses,
    apis: &'a SampleApis,
    issuer: &'a Issuer,
    state: &'a StateDir,
    clock: Arc<dyn Clock>,
    clients: BTreeMap<String, AppClient>,
    /// Answers and decision ids so far; step 1 stands at 0.
    past: Vec<(Option<Reply>, Option<String>)>,
}

/// What came of one act.
#[derive(Default)]
struct Went {
    status: String,
    reply: Option<Reply>,
    decision: Option<String>,
    note: String,
}

impl<'a, R: RunningGateway> Guide<'a, R> {
    /// # Errors
    /// A client's certificate cannot be used.
    pub(super) fn new(gateway: &'a R, apis: &'a SampleApis, issuer: &'a Issuer, state: &'a StateDir, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let certs = state.certs();
        let client = |(name, pair): (&String, &crate::cli::certs::PemPair)| {
            anyhow::Ok((name.clone(), AppClient::new(&certs.internal_ca, &pair.chain, &pair.key)?))
        };
        let clients = certs.clients.iter().chain(&certs.staff).map(client).collect::<anyhow::Result<_>>()?;
        Ok(Self { gateway, addresses: gateway.addresses(), apis, issuer, state, clock, clients, past: Vec::new() })
    }

    /// Records what the customers said before the tour begins.
    ///
    /// # Errors
    /// The gateway did not take a consent.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        for (customer, purpose, state) in BEFORE {
            let event = event(&format!("crm:{customer}"), purpose, state, &self.clock.now().to_string());
            let reply = self.post("preference-centre", self.addresses.capture, "/v1/consents", event.to_string()).await?;
            if reply.status != http::StatusCode::CREATED {
                bail!("the gateway answered {} to a consent for `{purpose}`: {}", reply.status, String::from_utf8_lossy(&reply.body));
            }
        }
        Ok(())
    }

    /// Takes the next step of the tour; `None` at its end.
    pub(super) async fn next(&mut self) -> Option<Row> {
        let step = STEPS.get(self.past.len())?;
        let number = self.past.len() + 1;
        let before = self.apis.requests();
        let went = self.act(step).await;
        let forwarded = self.apis.requests().saturating_sub(before);
        let row = match went {
            Err(error) => {
                self.past.push((None, None));
                let note = format!("{} ({error:#})", step.status);
                Row { complaint: Some(Complaint { expected: note, is_leak: false }), ..empty_row(number, step) }
            }
            Ok(went) => {
                let logged = match &went.decision {
                    Some(decision) if matches!(step.act, Act::Ask { .. }) => self.logged(decision).await,
                    _ => None,
                };
                let twin = if let Why::UnknownAsStep(n) = step.why { self.past.get(n.saturating_sub(1)) } else { None };
                let twin = twin.and_then(|(reply, _)| reply.as_ref());
                let came = Came {
                    status: went.status.clone(),
                    reply: went.reply.as_ref(),
                    logged: logged.as_ref(),
                    forwarded,
                    twin,
                    note: went.note.clone(),
                };
                let judged = judge(step, &came);
                let row = Row {
                    status: went.status,
                    released: judged.released,
                    why: judged.why,
                    // What `explain` was asked about stands in its request; it makes no decision of its own.
                    decision: went.decision.clone().filter(|_| !matches!(step.act, Act::Explain { .. })),
                    withheld: judged.withheld,
                    complaint: judged.complaint,
                    ..empty_row(number, step)
                };
                let row = match (&step.act, went.decision.as_deref().and_then(index_of)) {
                    (Act::Explain { .. }, Some(index)) => Row { request: format!("{} {index}", step.request), ..row },
                    _ => row,
                };
                self.past.push((went.reply, went.decision));
                row
            }
        };
        Some(row)
    }

    async fn act(&self, step: &Step) -> anyhow::Result<Went> {
        match &step.act {
            Act::Ask { method, target, body } => {
                let reply = self.ask(step, method.clone(), target, body).await?;
                let decision = reply.header("consentry-decision").map(str::to_owned);
                Ok(Went { status: reply.status.as_u16().to_string(), decision, reply: Some(reply), note: String::new() })
            }
            Act::Record { party, state, minutes_ago } => {
                let at = self.clock.now() - jiff::SignedDuration::from_mins(*minutes_ago);
                let body = event(party, step.purpose, state, &at.to_string()).to_string();
                self.write_and_find(step, self.addresses.capture, "/v1/consents", body).await
            }
            Act::Desk { target, body } => self.write_and_find(step, self.addresses.admin, target, (*body).to_owned()).await,
            Act::Explain { step } => {
                let decision = self.past.get(step.saturating_sub(1)).and_then(|(_, decision)| decision.clone());
                let decision = decision.with_context(|| format!("step {step} has no decision"))?;
                let explained = self.gateway.explain(&decision).await?;
                Ok(Went { status: explained.outcome, note: explained.because, decision: Some(decision), reply: None })
            }
            Act::Verify => self.verify().await,
        }
    }

    async fn ask(&self, step: &Step, method: Method, target: &str, body: &'static str) -> anyhow::Result<Reply> {
        let client = self.client(step.caller)?;
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("data-purpose"), HeaderValue::from_static(step.purpose));
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some((_, employee, agent)) = SIGNED_IN.iter().find(|(app, ..)| *app == step.caller) {
            let token = self.issuer.mint(&TokenFor {
                client: step.caller,
                audience: &self.public_url(),
                employee: Some(employee),
                roles: &[],
                agent: *agent,
                certificate: client.certificate(),
                now: self.clock.now(),
            })?;
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
        }
        client.send(method, &format!("{}{target}", self.public_url()), headers, body).await
    }

    /// Sends a body to a listener beside the data plane.
    async fn post(&self, caller: &str, at: SocketAddr, target: &str, body: String) -> anyhow::Result<Reply> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        self.client(caller)?.send(Method::POST, &format!("https://{at}{target}"), headers, body).await
    }

    /// Changes something, and finds the change in the log.
    async fn write_and_find(&self, step: &Step, at: SocketAddr, target: &str, body: String) -> anyhow::Result<Went> {
        let sent = self.clock.monotonic();
        let reply = self.post(step.caller, at, target, body).await?;
        let took = self.clock.monotonic().saturating_sub(sent);
        let status = reply.status.as_u16().to_string();
        let Some(revision) = reply.json().and_then(|body| body.get("revision").and_then(Value::as_u64)) else {
            return Ok(Went { status, ..Went::default() });
        };
        let is_it = move |entry: &Value| {
            entry.get("kind").and_then(Value::as_str) == Some("consent_changed") && entry.get("revision").and_then(Value::as_u64) == Some(revision)
        };
        let dir = self.state.log();
        let index = self.patiently(move || find_entry(&dir, &is_it)).await;
        let decision = index.map(|index| format!("{}#{index}", self.origin()));
        let note = match (decision.is_some(), step.why) {
            (true, Why::InForce) => format!("revision {revision}, in force in {} ms", took.as_millis().max(1)),
            (true, _) => format!("revision {revision}"),
            (false, _) => String::new(),
        };
        Ok(Went { status, decision, note, reply: Some(reply) })
    }

    async fn verify(&self) -> anyhow::Result<Went> {
        let dir = self.state.log();
        // The checkpoint follows within a second; until then the last entries are whole but not signed.
        let signed = self.patiently(move || audit::verify(&dir, None).ok().filter(|report| report.unsigned_tail == 0)).await;
        let report = match signed {
            Some(report) => report,
            None => audit::verify(&self.state.log(), None)?,
        };
        let status = if report.unsigned_tail == 0 { "ok" } else { "unsigned" };
        let note = format!("{} entries, root {}", report.entries, short_root(&report.root));
        Ok(Went { status: status.to_owned(), note, ..Went::default() })
    }

    /// The decision as the log's files have it.
    async fn logged(&self, decision: &str) -> Option<Found> {
        let index = index_of(decision)?;
        let dir = self.state.log();
        let look = move || audit::show(&dir, index).ok().flatten().and_then(|shown| shown.decision);
        self.patiently(look).await
    }

    /// Asks again until there is an answer, for [`LOG_WAIT`] at most. Reads files, so not on this thread.
    async fn patiently<T: Send + 'static>(&self, look: impl Fn() -> Option<T> + Send + Sync + 'static) -> Option<T> {
        let look = Arc::new(look);
        let until = self.clock.monotonic().saturating_add(LOG_WAIT);
        loop {
            let once = Arc::clone(&look);
            let found = tokio::task::spawn_blocking(move || once()).await.ok().flatten();
            if found.is_some() || self.clock.monotonic() >= until {
                return found;
            }
            tokio::time::sleep(LOG_POLL).await;
        }
    }

    fn client(&self, name: &str) -> anyhow::Result<&AppClient> {
        self.clients.get(name).with_context(|| format!("no certificate was made for `{name}`"))
    }

    fn public_url(&self) -> String {
        format!("https://{}", self.addresses.apps)
    }

    /// The log's name, from any decision so far.
    fn origin(&self) -> String {
        let known = self.past.iter().find_map(|(_, decision)| decision.as_deref()?.rsplit_once('#'));
        known.map_or_else(String::new, |(origin, _)| origin.to_owned())
    }
}

/// The body of `POST /v1/consents`: what the customer said, when, where, and the evidence.
pub(super) fn event(party: &str, purpose: &str, state: &str, at: &str) -> Value {
    let notice = format!("{}-v1", if purpose.is_empty() { "all".to_owned() } else { purpose.replace('.', "-") });
    let form = FORMS.iter().find(|(of, ..)| *of == purpose);
    let (channel, categories, recipient) =
        form.map_or(("system", &[][..], ""), |(_, channel, categories, recipient)| (*channel, *categories, *recipient));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{notice} {state}").as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut event = json!({
        "party": party,
        "purposes": if purpose.is_empty() { json!([]) } else { json!([purpose]) },
        "state": state,
        "event_time": at,
        "channel": channel,
        "method": "expressed",
        "author": "customer",
        "evidence": [{ "kind": "form-hash", "reference": format!("sha256:{hash}") }, { "kind": "notice", "reference": notice }],
    });
    // A grant covers what its form named; a refusal or withdrawal without limits covers everything.
    if state == "given"
        && let Some(event) = event.as_object_mut()
    {
        event.insert("categories".to_owned(), json!(categories));
        event.insert("recipients".to_owned(), json!([recipient]));
    }
    event
}

fn empty_row(number: usize, step: &Step) -> Row {
    Row {
        step: number,
        caller: step.caller,
        request: step.request.to_owned(),
        purpose: step.purpose,
        expected: step.status,
        status: "–".to_owned(),
        released: String::new(),
        why: String::new(),
        decision: None,
        withheld: None,
        complaint: None,
    }
}

fn index_of(decision: &str) -> Option<u64> {
    decision.rsplit_once('#')?.1.parse().ok()
}

/// The last entry that is so.
fn find_entry(dir: &Path, is_it: &dyn Fn(&Value) -> bool) -> Option<u64> {
    let entries = audit::Reader::open(dir).ok()?;
    entries.filter_map(Result::ok).filter(|entry| is_it(&entry.value)).map(|entry| entry.index).last()
}

/// `9c1f…e07a`.
fn short_root(root: &str) -> String {
    let (start, end) = (root.get(..4), root.len().checked_sub(4).and_then(|at| root.get(at..)));
    start.zip(end).map_or_else(|| root.to_owned(), |(start, end)| format!("{start}…{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_says_what_it_covers_and_carries_the_evidence_its_capture_needs() {
        let given = event("crm:0044", "sales.outreach", "given", "2026-07-24T10:01:58Z");
        assert_eq!((&given["party"], &given["recipients"]), (&json!("crm:0044"), &json!(["sales"])));
        let kinds: Vec<&Value> = given["evidence"].as_array().unwrap().iter().map(|piece| &piece["kind"]).collect();
        assert_eq!(kinds, ["form-hash", "notice"]);
    }

    #[test]
    fn a_withdrawal_covers_everything() {
        let withdrawn = event("crm:0044", "sales.outreach", "withdrawn", "2026-07-24T10:02:11Z");
        assert!(withdrawn.get("categories").is_none() && withdrawn.get("recipients").is_none());
    }

    #[test]
    fn what_is_said_without_a_purpose_is_said_of_all() {
        assert_eq!(event("email:a@example.net", "", "refused", "2026-07-24T10:02:11Z")["purposes"], json!([]));
    }

    #[test]
    fn roots_are_shortened_and_short_ones_left_alone() {
        assert_eq!(short_root("9c1f0000e07a"), "9c1f…e07a");
        assert_eq!(short_root("abc"), "abc");
    }

    #[test]
    fn a_decision_without_number_has_no_index() {
        assert_eq!(index_of("gw.demo#22"), Some(22));
        assert_eq!(index_of("gw.demo"), None);
        assert_eq!(index_of("gw.demo#"), None);
    }
}
