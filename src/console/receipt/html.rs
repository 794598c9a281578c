//! A receipt as a page: readable and printable without script, complete without any other file. It shows what the JSON-LD says and
//! nothing else, and holds the JWS, so that a page that was kept can still be verified.

use std::fmt::Write as _;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;

use crate::console::page::style_only;

const CSS: &str = include_str!("page.css");

/// The page's style sheet by its hash, and nothing else.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| style_only(CSS));
    &POLICY
}

pub(super) fn page(document: &Value, jws: &str) -> String {
    let record = &document["record"];
    let event = &record["event"];
    let title = title(event);
    let mut page = Page::default();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n");
    page.raw("<title>").text("Receipt: ").text(&title).raw("</title>\n<style>").raw(CSS).raw("</style>\n</head>\n<body>\n<main>\n<header>\n");
    page.raw("<p class=\"kind\">Receipt</p>\n<h1>").text(&title).raw("</h1>\n");
    page.raw("<p class=\"lead\">").text(&lead(record, event)).raw("</p>\n</header>\n");
    what(&mut page, record, event);
    how(&mut page, record, event);
    items(record, "pii_processing").for_each(|activity| processing(&mut page, activity));
    for party in items(record, "pii_controllers") {
        page.section("Who answers for it");
        page.row("Controller", text(party, "party_name"));
        page.row("Address", text(party, "party_address"));
        page.row("Contact", text(party, "party_contact"));
        page.close();
    }
    let withdrawal = text(&record["withdrawal_method"], "description");
    if !withdrawal.is_empty() {
        page.raw("<section class=\"withdraw\">\n<h2>Withdrawing</h2>\n<p>").text(withdrawal);
        page.raw(" What was done before stays lawful.</p>\n</section>\n");
    }
    page.raw("<footer>\n<dl>\n");
    page.row("Receipt", text(document, "receipt_id"));
    page.row("Issued", &time(document, "issued_at").unwrap_or_default());
    page.row("Issuer", text(document, "issuer"));
    page.raw("</dl>\n<details>\n<summary>Signed form</summary>\n");
    page.raw("<p>A JSON Web Signature over this receipt. Its public key stands at <code>/.well-known/jwks.json</code> of the issuer.</p>\n");
    page.raw("<pre id=\"jws\">").text(jws).raw("</pre>\n</details>\n</footer>\n</main>\n</body>\n</html>\n");
    page.0
}

fn what(page: &mut Page, record: &Value, event: &Value) {
    page.section("What was recorded");
    page.row("Person", text(record, "pii_principal_id"));
    page.row("When", time(event, "event_time").as_deref().unwrap_or("not told"));
    page.row("Recorded", &time(event, "record_time").unwrap_or_default());
    page.list("Purposes", &purposes(event));
    page.list("Data", &covers(event, "pii_information", "every category"));
    page.list("Recipients", &covers(event, "recipients", "every recipient"));
    page.list("Channels", &names(event, "channels"));
    page.row("Kind of consent", &spoken(key(&event["event_type"])));
    page.row("Lawful basis", &spoken(key(&record["lawful_basis"])));
    page.row("Still done", still_done(key(&event["stop"])));
    page.row("Ends", &ends(event));
    page.row("About", text(event, "about"));
    page.row("Reason", text(event, "reason"));
    page.close();
}

fn how(page: &mut Page, record: &Value, event: &Value) {
    let (captured_by, source, notice) = (text(event, "captured_by"), text(event, "source_system"), &record["privacy_notice"]);
    page.section("How it was said");
    page.row("By", &spoken(text(event, "author")));
    page.row("Through", text(event, "channel"));
    page.row("Captured by", captured_by);
    page.row("Source", if captured_by.ends_with(source) { "" } else { source });
    page.row("Notice", text(notice, "id"));
    page.row("Version of the notice", text(notice, "version"));
    page.row("Language of the notice", text(notice, "language"));
    page.row("Text of the notice", text(notice, "url"));
    page.row("Hash of its text", text(notice, "hash"));
    let evidence = items(event, "evidence").map(|piece| format!("{}: {}", text(piece, "kind"), text(piece, "reference")));
    page.list("Evidence", &evidence.collect::<Vec<_>>());
    page.close();
}

fn processing(page: &mut Page, activity: &Value) {
    page.section(&format!("Processing: {}, version {}", text(activity, "activity"), activity["version"]));
    page.row("Department", text(activity, "department"));
    page.list("Purposes", &names(activity, "purposes"));
    page.row("Lawful basis", &spoken(key(&activity["lawful_basis"])));
    page.row("Special categories by", &spoken(key(&activity["special_category_basis"])));
    page.list("Data", &names(activity, "pii_information"));
    page.list("Third parties", &names(activity, "recipient_third_parties"));
    page.row("Kept for", text(activity, "retention_period"));
    page.row("Jurisdiction", text(activity, "jurisdiction"));
    page.row("Impact assessment", text(activity, "impact_assessment"));
    page.row("Confidentiality", text(activity, "confidentiality"));
    page.close();
}

/// What happened, in three words.
fn title(event: &Value) -> String {
    match text(event, "kind") {
        "stop" => return format!("{} recorded", stop_title(key(&event["stop"]))),
        "lift" => return "Stop lifted".to_owned(),
        "delegation" => return format!("{} recorded", spoken(text(event, "holder"))),
        "occurrence" => return format!("Recorded: {}", text(event, "occurrence")),
        _ => {}
    }
    match key(&event["event_state"]) {
        "unknown" => "No consent known".to_owned(),
        "deferred" => "Decision put off".to_owned(),
        "pending_confirmation" => "Consent waits for confirmation".to_owned(),
        "superseded" => "Consent replaced by a new notice".to_owned(),
        "invalidated" => "Consent declared invalid".to_owned(),
        other => format!("Consent {other}"),
    }
}

fn stop_title(kind: &str) -> String {
    match kind {
        "objection-marketing" => "Objection to direct marketing".to_owned(),
        "opt-out-sale" => "Opt-out of sale and sharing".to_owned(),
        "opt-out-sensitive" => "Opt-out for sensitive data".to_owned(),
        "opt-out-gpc" => "Opt-out by Global Privacy Control".to_owned(),
        "deceased" => "Death".to_owned(),
        "legal" => "Legal order".to_owned(),
        other => spoken(other),
    }
}

fn lead(record: &Value, event: &Value) -> String {
    let purposes = purposes(event).join(", ");
    let about = if purposes.is_empty() { String::new() } else { format!("For {purposes}. ") };
    let whom = items(record, "pii_controllers").map(|party| text(party, "party_name")).next();
    let whom = whom.map(|name| format!(" by {name}")).unwrap_or_default();
    format!("{about}Kept as {}{whom}.", text(record, "record_id"))
}

fn purposes(event: &Value) -> Vec<String> {
    let everything = if key(&event["stop"]) == "objection-marketing" { "direct marketing and its profiling" } else { "every purpose" };
    covers(event, "purposes", everything)
}

/// What a stop leaves open, whatever policies say.
fn still_done(stop: &str) -> &'static str {
    match stop {
        "" => "",
        "erasure" | "deceased" | "legal" => "only what the law obliges to",
        "restriction" => "only what the law obliges to, and what saves lives",
        "objection-marketing" => "everything else",
        "objection" => "what rests on consent, a contract, the law or a vital interest",
        _ => "everything outside what is named here",
    }
}

/// Until when a grant holds.
fn ends(event: &Value) -> String {
    let mut found: Vec<String> = time(event, "expires").into_iter().collect();
    found.extend(event["until"].as_str().map(|name| format!("when this occurs: {name}")));
    found.extend(event["uses"].as_u64().map(|uses| if uses == 1 { "after one use".to_owned() } else { format!("after {uses} uses") }));
    let first = if found.len() > 1 { ", whichever comes first" } else { "" };
    format!("{}{first}", found.join(" or "))
}

/// What an event names; a statement that names nothing covers everything. What has no extent at all says nothing.
fn covers(event: &Value, member: &str, everything: &str) -> Vec<String> {
    let named = names(event, member);
    let has_extent = ["consent", "stop", "delegation"].contains(&text(event, "kind"));
    if named.is_empty() && has_extent { vec![everything.to_owned()] } else { named }
}

/// Labels, else keys, of terms, and plain words as they are.
fn names(value: &Value, member: &str) -> Vec<String> {
    let name = |item: &Value| item["label"].as_str().or_else(|| item["key"].as_str()).or_else(|| item.as_str()).map(str::to_owned);
    items(value, member).filter_map(name).collect()
}

fn items<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v Value> {
    value[member].as_array().into_iter().flatten()
}

fn key(term: &Value) -> &str {
    text(term, "key")
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn time(value: &Value, member: &str) -> Option<String> {
    let time: Timestamp = value[member].as_str()?.parse().ok()?;
    Some(time.strftime("%-d %B %Y, %H:%M:%S UTC").to_string())
}

/// A word of a closed list as it stands in a sentence of its own.
fn spoken(word: &str) -> String {
    let mut chars = word.chars();
    let capital = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{capital}{}", chars.as_str().replace('-', " "))
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
    fn row(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.list(name, &[value]);
        }
    }

    fn list(&mut self, name: &'static str, values: &[impl AsRef<str>]) {
        if values.is_empty() {
            return;
        }
        self.raw("<div><dt>").raw(name).raw("</dt>");
        for value in values {
            self.raw("<dd>").text(value.as_ref()).raw("</dd>");
        }
        self.raw("</div>\n");
    }
}
