//! A receipt as a page: readable and printable without script, complete without any other file. It shows what the JSON-LD says and
//! nothing else, and holds the JWS, so that a page that was kept can still be verified.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

const CSS: &str = include_str!("page.css");

/// The page's style sheet by its hash, and nothing else.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(digest(&SHA256, CSS.as_bytes()).as_ref());
        format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
    });
    &POLICY
}

pub(super) fn page(document: &Value, jws: &str) -> String {
    let (record, event) = (&document["record"], &document["record"]["event"]);
    let title = title(event);
    let mut page = Page::default();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n");
    page.raw("<title>").text("Receipt: ").text(&title).raw("</title>\n<style>").raw(CSS).raw("</style>\n</head>\n<body>\n<main>\n<header>\n");
    page.raw("<p class=\"kind\">Receipt</p>\n<h1>").text(&title).raw("</h1>\n");
    page.raw("<p class=\"lead\">").text(&lead(record, event)).raw("</p>\n</header>\n");

    page.section("What was recorded");
    page.row("Person", text(record, "pii_principal_id"));
    page.row("When", time(event, "event_time").unwrap_or_else(|| "not told".to_owned()));
    page.row("Recorded", time(event, "record_time").unwrap_or_default());
    page.list("Purposes", covers(event, "purposes", "every purpose"));
    page.list("Data", covers(event, "pii_information", "every category"));
    page.list("Recipients", covers(event, "recipients", "every recipient"));
    page.list("Channels", words(event, "channels"));
    page.row("Kind of consent", capital(key(&event["event_type"])));
    page.row("Lawful basis", capital(key(&record["lawful_basis"]).replace('-', " ")));
    page.row("Ends", ends(event));
    page.row("About", text(event, "about"));
    page.row("Reason", text(event, "reason"));
    page.close();

    page.section("How it was said");
    page.row("By", capital(text(event, "author")));
    page.row("Through", text(event, "channel"));
    page.row("Captured by", text(event, "captured_by"));
    page.row("Source", text(event, "source_system"));
    let notice = &record["privacy_notice"];
    page.row("Notice", [text(notice, "id"), text(notice, "version")].join(" ").trim().to_owned());
    page.list("Evidence", items(event, "evidence").map(|piece| format!("{}: {}", text(piece, "kind"), text(piece, "reference"))).collect());
    page.close();

    for activity in items(record, "pii_processing") {
        page.section(&format!("Processing: {}, version {}", text(activity, "activity"), activity["version"]));
        page.row("Department", text(activity, "department"));
        page.list("Purposes", names(activity, "purposes"));
        page.row("Lawful basis", capital(key(&activity["lawful_basis"]).replace('-', " ")));
        page.row("Special categories by", capital(key(&activity["special_category_basis"]).replace('-', " ")));
        page.list("Data", names(activity, "pii_information"));
        page.list("Third parties", words(activity, "recipient_third_parties"));
        page.row("Kept for", text(activity, "retention_period"));
        page.row("Jurisdiction", text(activity, "jurisdiction"));
        page.row("Impact assessment", text(activity, "impact_assessment"));
        page.row("Confidentiality", text(activity, "confidentiality"));
        page.close();
    }

    for party in items(record, "pii_controllers") {
        page.section("Who answers for it");
        page.row("Controller", text(party, "party_name"));
        page.row("Address", text(party, "party_address"));
        page.row("Contact", text(party, "party_contact"));
        page.close();
    }
    let withdrawal = text(&record["withdrawal_method"], "description");
    if !withdrawal.is_empty() {
        page.raw("<section class=\"withdraw\">\n<h2>Withdrawing</h2>\n<p>")
            .text(&withdrawal)
            .raw(" What was done before stays lawful.</p>\n</section>\n");
    }

    page.raw("<footer>\n<dl>\n");
    page.row("Receipt", text(document, "receipt_id"));
    page.row("Issued", time(document, "issued_at").unwrap_or_default());
    page.row("Issuer", text(document, "issuer"));
    page.raw("</dl>\n<details>\n<summary>Signed form</summary>\n");
    page.raw("<p>A JSON Web Signature over this receipt. Its public key stands at <code>/.well-known/jwks.json</code> of the issuer.</p>\n");
    page.raw("<pre id=\"jws\">").text(jws).raw("</pre>\n</details>\n</footer>\n</main>\n</body>\n</html>\n");
    page.0
}

/// What happened, in three words.
fn title(event: &Value) -> String {
    let word = match text(event, "kind").as_str() {
        "stop" => return format!("{} recorded", capital(spoken_stop(&key(&event["stop"])))),
        "lift" => return "Stop lifted".to_owned(),
        "delegation" => return format!("{} recorded", capital(text(event, "holder"))),
        "occurrence" => return format!("Recorded: {}", text(event, "occurrence")),
        _ => key(&event["event_state"]),
    };
    match word.as_str() {
        "unknown" => "No consent known".to_owned(),
        "deferred" => "Decision put off".to_owned(),
        "pending_confirmation" => "Consent waits for confirmation".to_owned(),
        "superseded" => "Consent replaced by a new notice".to_owned(),
        "invalidated" => "Consent declared invalid".to_owned(),
        other => format!("Consent {other}"),
    }
}

fn spoken_stop(kind: &str) -> String {
    match kind {
        "objection-marketing" => "objection to direct marketing".to_owned(),
        "opt-out-sale" => "opt-out of sale and sharing".to_owned(),
        "opt-out-sensitive" => "opt-out for sensitive data".to_owned(),
        "opt-out-gpc" => "opt-out by Global Privacy Control".to_owned(),
        "deceased" => "death".to_owned(),
        "legal" => "legal order".to_owned(),
        other => other.to_owned(),
    }
}

fn lead(record: &Value, event: &Value) -> String {
    let purposes = covers(event, "purposes", "every purpose").join(", ");
    let about = if purposes.is_empty() { String::new() } else { format!("For {purposes}. ") };
    let whom = items(record, "pii_controllers").map(|party| text(party, "party_name")).next();
    let whom = whom.map(|name| format!(" by {name}")).unwrap_or_default();
    format!("{about}Kept as {}{whom}.", text(record, "record_id"))
}

/// Until when a grant holds.
fn ends(event: &Value) -> String {
    let mut found: Vec<String> = time(event, "expires").into_iter().collect();
    found.extend(Some(text(event, "until")).filter(|name| !name.is_empty()).map(|name| format!("when this occurs: {name}")));
    found.extend(event["uses"].as_u64().map(|uses| if uses == 1 { "after one use".to_owned() } else { format!("after {uses} uses") }));
    let first = if found.len() > 1 { ", whichever comes first" } else { "" };
    format!("{}{first}", found.join(" or "))
}

/// What an event names; a statement that names nothing covers everything. What has no extent at all says nothing.
fn covers(event: &Value, member: &str, everything: &str) -> Vec<String> {
    let named = names(event, member);
    if named.is_empty() && ["consent", "stop", "delegation"].contains(&text(event, "kind").as_str()) { vec![everything.to_owned()] } else { named }
}

/// Labels, else keys, of terms or plain words.
fn names(value: &Value, member: &str) -> Vec<String> {
    let name = |item: &Value| match (item["label"].as_str(), item["key"].as_str(), item.as_str()) {
        (Some(label), Some(key), _) if !label.eq_ignore_ascii_case(key) => format!("{label} ({key})"),
        (Some(name), _, _) | (None, Some(name), _) | (None, None, Some(name)) => name.to_owned(),
        (None, None, None) => String::new(),
    };
    items(value, member).map(name).collect()
}

fn words(value: &Value, member: &str) -> Vec<String> {
    items(value, member).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn items<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().into_iter().flatten()
}

fn key(term: &Value) -> String {
    text(term, "key")
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

fn time(value: &Value, member: &str) -> Option<String> {
    let time: Timestamp = value[member].as_str()?.parse().ok()?;
    Some(time.strftime("%-d %B %Y, %H:%M:%S UTC").to_string())
}

fn capital(text: String) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// HTML under way. INVARIANT: text comes in by [`Page::text`] alone, which escapes it.
#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Nobody makes text run backwards.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => drop(write!(self.0, "&lt;U+{:04X}&gt;", u32::from(c))),
                other => self.0.push(other),
            }
        }
        self
    }

    fn section(&mut self, title: &str) {
        self.raw("<section>\n<h2>").text(title).raw("</h2>\n<dl>\n");
    }

    fn close(&mut self) {
        self.raw("</dl>\n</section>\n");
    }

    /// Nothing to say: no row.
    fn row(&mut self, name: &'static str, value: String) {
        self.list(name, Some(value).into_iter().filter(|value| !value.is_empty()).collect());
    }

    fn list(&mut self, name: &'static str, values: Vec<String>) {
        if values.is_empty() {
            return;
        }
        self.raw("<div><dt>").raw(name).raw("</dt>");
        for value in &values {
            self.raw("<dd>").text(value).raw("</dd>");
        }
        self.raw("</div>\n");
    }
}
