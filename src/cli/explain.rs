//! `consentry explain`: why a request is, or was, answered as it is. Asks the gateway, which decides without sending.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{ServerArgs, segment};
use super::{Exit, Failure, Output, audit};

/// Says why a request would be, or a logged decision was, permitted or refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry explain GET /crm/customers/0044 --as crm --purpose sales.outreach
         consentry explain --decision 88120")]
pub(super) struct ExplainArgs {
    /// The request's method.
    #[arg(required_unless_present = "decision", conflicts_with = "decision")]
    method: Option<String>,
    /// The request's path and query, as the app sends it; of a call with its method: `/rpc#customer.get`.
    #[arg(required_unless_present = "decision", conflicts_with = "decision")]
    url: Option<String>,
    /// The calling app.
    #[arg(long = "as", value_name = "APP", required_unless_present = "decision", conflicts_with = "decision")]
    app: Option<String>,
    /// The declared purpose; may be left out when only one is possible.
    #[arg(long, conflicts_with = "decision")]
    purpose: Option<String>,
    /// A file with the request's body: of a GraphQL query, a call, or a search that names its customer.
    #[arg(long, value_name = "FILE", conflicts_with = "decision")]
    body: Option<PathBuf>,
    /// A logged decision: `<origin>#<index>` or its index.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl ExplainArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let admin = self.server.connect()?;
        let answer = match &self.decision {
            Some(id) => {
                let (origin, index) = audit::decision_id(id)?;
                admin.get(&format!("/v1/decisions/{}/{index}/explanation", segment(&origin)))?
            }
            None => {
                let mut body = json!({ "method": self.method, "url": self.url, "app": self.app });
                if let (Some(members), Some(purpose)) = (body.as_object_mut(), &self.purpose) {
                    members.insert("purpose".to_owned(), json!(purpose));
                }
                if let (Some(members), Some(path)) = (body.as_object_mut(), &self.body) {
                    let text = fs::read_to_string(path)
                        .map_err(|error| Failure::new(Exit::NotFound, format!("cannot read `{}`: {error}", path.display())))?;
                    members.insert("body".to_owned(), json!(text));
                }
                admin.post("/v1/explain", &body)?
            }
        };
        if output.is_json() {
            output.json(&answer)?;
        } else {
            output.line(answer.get("text").and_then(Value::as_str).unwrap_or_default())?;
        }
        let permitted = answer.get("permitted").and_then(Value::as_bool).unwrap_or(false);
        Ok(if permitted { Exit::Done } else { Exit::Denied })
    }
}
