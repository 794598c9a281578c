//! Syslog over TLS: [RFC 5424](https://www.rfc-editor.org/rfc/rfc5424) messages, each with its length before it
//! ([RFC 5425](https://www.rfc-editor.org/rfc/rfc5425#section-4.3)).
//!
//! ```text
//! 187 <109>1 2026-07-24T10:02:15.123456Z gw-1.example.com consentry - decision - CEF:0|…
//! ```

use super::event::{Event, Severity};

/// Log audit.
const FACILITY: u8 = 13;

/// One event whose `record` is the message.
#[must_use]
pub fn syslog_frame(event: &Event, record: &str) -> String {
    let severity = match event.severity() {
        Severity::Informational => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
    };
    let (host, id) = (name(&event.origin, 255), name(event.kind(), 32));
    let message = format!("<{}>1 {} {host} consentry - {id} - {record}", FACILITY * 8 + severity, event.at);
    format!("{} {message}", message.len())
}

/// Printable ASCII without spaces, `-` for nothing.
fn name(text: &str, max: usize) -> String {
    let name: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(max).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}
