//! `consentry audit prune`: has a running gateway let go of what is past its time.

use http::Method;
use serde_json::{Value, json};

use super::client::{Send, ServerArgs};
use super::table::Table;
use super::text::{list, number, text, time};
use super::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = false)]
pub(super) struct What {
    /// Only say how many entries and which keys of free text are past their time.
    #[arg(long)]
    dry_run: bool,
    /// Let them go now; the gateway does so once a day by itself.
    #[arg(long)]
    now: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    server: ServerArgs,
}

impl PruneArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let progress = output.spinner("reading the log");
        let asked = json!({ "dry_run": !self.what.now });
        let answer = self.server.connect()?.call(&Method::POST, "/v1/decisions:prune", Send::Json(&asked));
        progress.finish_and_clear();
        let document = answer?;
        output.answer(&document, || render(&document, self.what.now))?;
        Ok(Exit::Done)
    }
}

fn render(document: &Value, is_run: bool) -> String {
    let mut table = Table::new(&["class", "kept", "entries", "since", "before"]);
    for class in list(document, "classes") {
        let at = |key| time(class, key);
        table.row([text(class, "class"), text(class, "kept"), number(class, "entries").to_string(), at("since"), at("before")]);
    }
    let (dictionary, remains, held) = (number(document, "dictionary"), number(document, "remains"), number(document, "held"));
    let mut lines = vec![table.render()];
    if dictionary + remains > 0 {
        lines.push(format!("with {dictionary} dictionary entries, and {remains} left of an earlier run"));
    }
    if held > 0 {
        lines.push(format!("{held} decisions and entries stay for a legal hold"));
    }
    let keys = |key| list(document, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    if !list(document, "keys").is_empty() {
        lines.push(format!("with the keys of free text {}: what was written in these months cannot be read any more", keys("keys")));
    }
    if !list(document, "keys_held").is_empty() {
        lines.push(format!("the keys of free text {} stay for a legal hold", keys("keys_held")));
    }
    lines.push(match (document.get("announced").and_then(Value::as_u64), is_run) {
        (Some(index), _) => format!("announced as entry {index}; they go in the background"),
        (None, true) => "nothing is past its time".to_owned(),
        (None, false) => "nothing was changed".to_owned(),
    });
    lines.join("\n")
}
