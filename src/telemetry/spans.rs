//! Spans as OTLP/HTTP takes them (`ExportTraceServiceRequest` in JSON, opentelemetry-proto 1.x): ids in hex, 64-bit numbers as text.
//! By hand, since it is one small document: the libraries for it would be some thirty crates, and a tracer beside the one that is here.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// One of a request, or of a request to an upstream for it. Names and words of closed lists only: no path that was asked for, no id, no
/// token.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace_id: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub kind: SpanKind,
    pub name: String,
    pub ended: Timestamp,
    pub took: Duration,
    pub is_error: bool,
    pub attributes: Vec<(&'static str, Attribute)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Server,
    Client,
}

#[derive(Clone, Debug)]
pub enum Attribute {
    Text(String),
    Number(i64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The document for some spans of one gateway.
#[must_use]
pub fn document(gateway: &str, spans: &[Span]) -> Value {
    let resource = [("service.name", "consentry"), ("service.instance.id", gateway), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource: Vec<Value> = resource.into_iter().map(|(key, text)| attribute(key, &text.into())).collect();
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let scope = json!({ "name": "consentry", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": [{ "scope": scope, "spans": spans }] }] })
}

fn span(span: &Span) -> Value {
    let ended = span.ended.as_nanosecond();
    let began = ended.saturating_sub(i128::try_from(span.took.as_nanos()).unwrap_or(i128::MAX));
    let attributes: Vec<Value> = span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut document = json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.id),
        // SPAN_KIND_SERVER, SPAN_KIND_CLIENT
        "kind": match span.kind { SpanKind::Server => 2, SpanKind::Client => 3 },
        "name": span.name,
        "startTimeUnixNano": began.to_string(),
        "endTimeUnixNano": ended.to_string(),
        "attributes": attributes,
        // STATUS_CODE_ERROR, STATUS_CODE_UNSET
        "status": if span.is_error { json!({ "code": 2 }) } else { json!({}) },
    });
    if let (Some(parent), Some(members)) = (&span.parent, document.as_object_mut()) {
        members.insert("parentSpanId".to_owned(), hex(parent).into());
    }
    document
}

fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_form_of_the_protocol() {
        let span = Span {
            trace_id: [0xab; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            kind: SpanKind::Client,
            name: "GET crm".to_owned(),
            ended: Timestamp::from_second(10).unwrap(),
            took: Duration::from_millis(1500),
            is_error: true,
            attributes: vec![("http.response.status_code", Attribute::Number(502))],
        };
        let document = document("gw-1", &[span]);
        let span = &document["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "abababababababababababababababab");
        assert_eq!((&span["spanId"], &span["parentSpanId"]), (&json!("0101010101010101"), &json!("0202020202020202")));
        assert_eq!((&span["startTimeUnixNano"], &span["endTimeUnixNano"]), (&json!("8500000000"), &json!("10000000000")));
        assert_eq!((&span["kind"], &span["status"]["code"]), (&json!(3), &json!(2)));
        assert_eq!(span["attributes"][0]["value"]["intValue"], "502");
        let resource = document["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(resource.contains("\"gw-1\"") && resource.contains("service.name"), "{resource}");
    }
}
