//! OpenTelemetry's [logs](https://opentelemetry.io/docs/specs/otel/logs/data-model/) in the JSON of OTLP: an
//! `ExportLogsServiceRequest`, as it is posted to `/v1/logs`. `log.record.uid` is by convention what duplicates are told by.

use serde_json::{Value, json};

use super::VERSION;
use super::event::{Event, Severity, What};
use super::fields::{Field, fields};

/// A `LogRecord`. 64-bit numbers are texts in the JSON of OTLP, ids are hexadecimal.
pub(super) fn record(event: &Event) -> Value {
    let (number, severity) = match event.severity() {
        Severity::Informational => (9, "INFO"),
        Severity::Low => (13, "WARN"),
        Severity::Medium => (14, "WARN2"),
    };
    let nanos = event.at.as_nanosecond().to_string();
    let mut attributes = vec![attribute("log.record.uid", Field::Text(event.id()))];
    attributes.extend(fields(event).into_iter().map(|(name, field)| attribute(&format!("consentry.{name}"), field)));
    let mut record = json!({
        "timeUnixNano": nanos, "observedTimeUnixNano": nanos,
        "severityNumber": number, "severityText": severity,
        "eventName": format!("consentry.{}", event.name()),
        "body": { "stringValue": event.message() },
        "attributes": attributes,
    });
    if let (What::Decision(decided), Some(members)) = (&event.what, record.as_object_mut())
        && let Some(id) = decided.trace_id.as_ref().filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        members.insert("traceId".to_owned(), id.as_str().into());
    }
    record
}

fn attribute(key: &str, field: Field) -> Value {
    let value = match field {
        Field::Text(text) => json!({ "stringValue": text }),
        Field::Number(number) => json!({ "intValue": number.to_string() }),
        Field::Bool(is) => json!({ "boolValue": is }),
        Field::List(list) => {
            let values: Vec<Value> = list.into_iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    };
    json!({ "key": key, "value": value })
}

/// Wraps records that are written already.
pub(super) fn request<'a>(origin: &str, records: impl IntoIterator<Item = &'a str>) -> String {
    let resource = [("service.name", "consentry"), ("service.version", VERSION), ("service.instance.id", origin)]
        .map(|(key, value)| attribute(key, Field::Text(value.to_owned())));
    let resource = super::text::json(&json!({ "attributes": resource }));
    let scope = super::text::json(&json!({ "name": "consentry.audit", "version": VERSION }));
    let mut out = format!("{{\"resourceLogs\":[{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":[");
    for (at, record) in records.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(record);
    }
    out + "]}]}]}"
}
