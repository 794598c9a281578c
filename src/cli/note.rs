//! `consentry consent delegate` and `consentry consent occurred`: who may speak for a customer, and what came to pass.

use serde_json::{Map, Value, json};

use super::client::ServerArgs;
use super::consent::{acknowledge, evidence, put, put_list};
use super::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
pub(super) struct DelegateArgs {
    /// The customer: `party:<id>` or `<space>:<value>`.
    party: String,
    /// guardian or representative.
    #[arg(long)]
    holder: String,
    /// Only for a purpose and what is below it; may be repeated.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// Since when it holds, with offset; now without it.
    #[arg(long = "at", value_name = "TIME")]
    event_time: Option<String>,
    /// When it ends, with offset.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What shows it, `<kind>=<reference>`; may be repeated.
    #[arg(long = "evidence", value_name = "KIND=REFERENCE", required = true)]
    evidence: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct OccurredArgs {
    /// The customer: `party:<id>` or `<space>:<value>`.
    party: String,
    /// As grants name it, e.g. `contract-ended`.
    name: String,
    /// When it came to pass, with offset; now without it.
    #[arg(long = "at", value_name = "TIME")]
    event_time: Option<String>,
    /// What shows it, `<kind>=<reference>`; may be repeated.
    #[arg(long = "evidence", value_name = "KIND=REFERENCE")]
    evidence: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl DelegateArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let mut body = Map::from_iter([("party".to_owned(), json!(self.party)), ("holder".to_owned(), json!(self.holder))]);
        put_list(&mut body, "purposes", &self.purposes);
        put(&mut body, "event_time", self.event_time.as_deref());
        put(&mut body, "until", self.until.as_deref());
        body.insert("evidence".to_owned(), evidence(&self.evidence)?);
        acknowledge(output, &self.server.connect()?.post("/v1/delegations", &Value::Object(body))?)
    }
}

impl OccurredArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let mut body = Map::from_iter([("party".to_owned(), json!(self.party)), ("name".to_owned(), json!(self.name))]);
        put(&mut body, "event_time", self.event_time.as_deref());
        body.insert("evidence".to_owned(), evidence(&self.evidence)?);
        acknowledge(output, &self.server.connect()?.post("/v1/occurrences", &Value::Object(body))?)
    }
}
