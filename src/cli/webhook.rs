//! `consentry webhook`: who is told of changes.

use http::Method;
use serde_json::{Value, json};

use super::client::{Send, ServerArgs, segment};
use super::table::Table;
use super::text::{list, number, text, time};
use super::{Exit, Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(super) enum WebhookCommand {
    /// Tells a receiver of every change from now on; prints the secret, which is never shown again.
    #[command(after_help = "Example: consentry webhook add https://hooks.crm.example.com/consent --kind consent --kind stop")]
    Add(AddArgs),
    /// Shows who is told, and how far each has come.
    #[command(after_help = "Example: consentry webhook list")]
    List(ListArgs),
    /// Tells a receiver no longer.
    #[command(after_help = "Example: consentry webhook remove wh_5c1e07a93b2d4f68a011")]
    Remove(RemoveArgs),
    /// Sends everything after a revision again, or skips to one.
    #[command(after_help = "Example: consentry webhook replay wh_5c1e07a93b2d4f68a011 --from 1200")]
    Replay(ReplayArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// `https://host/path`; the host must stand in `[webhooks] hosts`.
    url: String,
    /// Only changes of this kind: consent, stop, lift, expiry, party, link, facts, delegation, occurrence, merge, split.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Only changes about this purpose, those above and below it, and those that cover or name none.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// A revision, after which everything is sent (0: from the beginning), or `now`.
    #[arg(long, default_value = "now", value_name = "REVISION", value_parser = from)]
    from: Value,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RemoveArgs {
    /// The webhook's id.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The webhook's id.
    id: String,
    /// A revision, after which everything is sent (0: from the beginning), or `now`.
    #[arg(long, value_name = "REVISION", value_parser = from)]
    from: Value,
    #[command(flatten)]
    server: ServerArgs,
}

fn from(text: &str) -> Result<Value, String> {
    match text {
        "now" => Ok(json!("now")),
        digits => digits.parse::<u64>().map(Value::from).map_err(|_other| "write a revision, or `now`".to_owned()),
    }
}

impl WebhookCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => {
                let body = json!({ "url": args.url, "kinds": args.kinds, "purposes": args.purposes, "from": args.from });
                let added = args.server.connect()?.post("/v1/webhooks", &body)?;
                output.answer(&added, || {
                    let secret = format!("secret    {} (shown this once)", text(&added, "secret"));
                    format!("webhook {} · sends what comes after revision {}\n{secret}", text(&added, "id"), number(&added, "cursor"))
                })
            }
            Self::List(args) => {
                let found = args.server.connect()?.get("/v1/webhooks")?;
                output.answer(&found, || render(&found))
            }
            Self::Remove(args) => {
                let path = format!("/v1/webhooks/{}", segment(&args.id));
                let removed = args.server.connect()?.call(&Method::DELETE, &path, Send::Nothing)?;
                output.answer(&removed, || format!("webhook {} removed", text(&removed, "removed")))
            }
            Self::Replay(args) => {
                let path = format!("/v1/webhooks/{}:replay", segment(&args.id));
                let hook = args.server.connect()?.post(&path, &json!({ "from": args.from }))?;
                output.answer(&hook, || format!("webhook {} goes on after revision {}", text(&hook, "id"), number(&hook, "cursor")))
            }
        }
    }
}

fn render(found: &Value) -> String {
    let hooks = list(found, "webhooks");
    if hooks.is_empty() {
        return "no webhooks".to_owned();
    }
    let mut table = Table::new(&["id", "url", "behind", "last received", "state"]);
    for hook in hooks {
        table.row([text(hook, "id"), text(hook, "url"), text(hook, "behind"), time(hook, "last_success"), state(hook)]);
    }
    let causes = hooks.iter().filter(|hook| hook.get("last_error").is_some_and(Value::is_string));
    let causes: String = causes.map(|hook| format!("\n{}: {}", text(hook, "id"), text(hook, "last_error"))).collect();
    let gap = if causes.is_empty() { "" } else { "\n" };
    format!("{}{gap}{causes}", table.render())
}

fn state(hook: &Value) -> String {
    match hook.get("failing_since") {
        _ if hook.get("gone") == Some(&Value::Bool(true)) => "gone (410); replay to go on".to_owned(),
        Some(Value::String(_)) => format!("failing since {}", time(hook, "failing_since")),
        _ => "ok".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_who_is_behind_and_why() {
        let found = json!({ "webhooks": [
            { "id": "wh_1", "url": "https://a.example/", "behind": 0, "last_success": "2026-03-01T12:00:00Z", "failing_since": null, "gone": false },
            { "id": "wh_2", "url": "https://b.example/", "behind": 7, "last_success": null, "failing_since": "2026-03-01T12:00:00Z", "last_error": "it answered 500", "gone": false },
            { "id": "wh_3", "url": "https://c.example/", "behind": 9, "failing_since": "2026-03-01T12:00:00Z", "last_error": "it answered 410", "gone": true },
        ]});
        let lines: Vec<String> = render(&found).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "id url behind last received state",
                "wh_1 https://a.example/ 0 2026-03-01 12:00:00 ok",
                "wh_2 https://b.example/ 7 – failing since 2026-03-01 12:00:00",
                "wh_3 https://c.example/ 9 – gone (410); replay to go on",
                "",
                "wh_2: it answered 500",
                "wh_3: it answered 410",
            ]
        );
        assert_eq!(render(&json!({"webhooks": []})), "no webhooks");
    }

    #[test]
    fn a_cursor_is_a_revision_or_now() {
        assert_eq!((from("now"), from("0")), (Ok(json!("now")), Ok(json!(0))));
        for text in ["", "-1", "ev_1", "1.5", "NOW"] {
            assert!(from(text).is_err(), "{text}");
        }
    }
}
