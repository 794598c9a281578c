//! `/v1/check`: which of many customers an app may use for a purpose, e.g. before a mailing goes out. Decided and recorded by
//! the gateway exactly as a read of the data plane. The answer is yes or no: an unknown customer looks like a refused one.

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

use super::consents;
use super::dispatch::{Access, Call, Caller, Reply, Route, Takes};
use super::parties::word;
use super::problem::{Code, Problem};
use super::schema::body;
use crate::audit::Entry;
use crate::model::{Category, Channel, Client, Purpose};

/// Ids in one list.
pub const CHECK_IDS_MAX: usize = 10_000;

pub(super) const ROUTES: &[Route] =
    &[Route::post("/v1/check", "check", Access::Capture, "Which of these customers this app may use for a purpose, in the order asked", check)
        .takes(Takes::Json(&CheckBody::SCHEMA))];

body! {
    /// A list to check.
    CheckBody {
        /// What the customers' data is to be used for; one of this app's own purposes.
        purpose: String = "string" required,
        /// The category of data; without it every category must be open that this app could be permitted for the purpose.
        category: Option<String> = "string" optional,
        /// How the customers are to be reached; the purpose's own channel without it.
        channel: Option<String> = "string" optional,
        /// `<space>:<value>` or `party:<id>`, at most 10,000.
        ids: Vec<String> = "string[]" required,
    }
}

/// A list and what it is to be used for.
#[derive(Clone)]
pub struct CheckQuestion {
    pub client: Client,
    pub purpose: Purpose,
    pub category: Option<Category>,
    pub channel: Option<Channel>,
    /// `Sec-GPC: 1` on the request.
    pub gpc: bool,
    pub ids: Vec<String>,
}

impl fmt::Debug for CheckQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the ids.
        f.debug_struct("CheckQuestion").field("client", &self.client).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// The answers in the order of the question, recorded.
#[derive(Clone, Debug)]
pub struct Checked {
    /// `<origin>#<index>`
    pub decision: String,
    /// Of the decision's head entry.
    pub index: u64,
    /// `None`: not an id.
    pub allowed: Vec<Option<bool>>,
    /// The consent store's revision.
    pub revision: u64,
}

fn check(call: &Call) -> Result<Reply, Problem> {
    let body: CheckBody = call.json()?;
    if body.ids.len() > CHECK_IDS_MAX {
        return Err(Problem::new(Code::PayloadTooLarge, format!("ask about at most {CHECK_IDS_MAX} ids at a time")));
    }
    let Caller::App(app) = &call.caller else { return Err(Problem::unauthenticated()) };
    let vocabulary = call.state.instance.vocabulary();
    let unknown = |field: &str| Problem::value(format!("`{field}` is not in the catalogue"), "check the spelling with the policy folder's owner");
    let question = CheckQuestion {
        client: app.client,
        purpose: vocabulary.purpose(&body.purpose).ok_or_else(|| unknown("purpose"))?,
        category: body.category.map(|text| vocabulary.category(&text).ok_or_else(|| unknown("category"))).transpose()?,
        channel: word("channel", body.channel.as_deref(), Channel::parse, &consents::words(Channel::ALL, Channel::as_str))?,
        gpc: call.gpc,
        ids: body.ids,
    };
    let started = call.state.clock.monotonic();
    let checked = call.state.instance.check(&question)?;
    let answer = |(id, allowed): (&String, &Option<bool>)| match allowed {
        Some(allowed) => json!({ "id": id, "allowed": allowed }),
        None => json!({ "id": id, "error": "invalid" }),
    };
    let results: Vec<Value> = question.ids.iter().zip(&checked.allowed).map(answer).collect();
    let reply = Reply::ok(&json!({ "decision": checked.decision, "results": results })).revision(checked.revision);
    let latency = call.state.clock.monotonic().saturating_sub(started);
    let end = Entry::End {
        of: checked.index,
        status: StatusCode::OK.as_u16(),
        bytes: count(reply.len()),
        rows: count(checked.allowed.iter().filter(|allowed| **allowed == Some(true)).count()),
        complete: true,
        latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
    };
    // The list's own entries are durable; without this one, search shows the decision as unresolved.
    if let Err(error) = call.state.log.append_unwaited(end) {
        tracing::warn!(%error, "the end of an answer could not be noted");
    }
    Ok(reply)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
