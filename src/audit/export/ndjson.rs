//! Newline-delimited JSON: a decision as the API shows it, an entry as it stands in the log.

use serde_json::{Value, json};

use super::event::{Event, What};
use crate::audit::document::found_json;

/// Every event has `id`, `kind`, `index` and `at`.
pub(super) fn document(event: &Event) -> Value {
    let mut document = json!({ "id": event.id(), "kind": event.kind(), "index": event.index, "at": event.at.to_string() });
    let own = match &event.what {
        What::Decision(decided) => {
            let mut own = found_json(&decided.found);
            let more = json!({
                "customers": decided.parties, "entries_total": decided.entries_total, "rid": decided.rid, "trace_id": decided.trace_id,
                "latency_us": decided.latency_us, "abridged": decided.is_abridged, "disclosed": decided.found.disclosed,
            });
            if let (Some(own), Value::Object(more)) = (own.as_object_mut(), more) {
                own.extend(more);
            }
            own
        }
        What::Entry(other) => json!({ "entry": other.entry }),
    };
    if let (Some(all), Value::Object(own)) = (document.as_object_mut(), own) {
        all.extend(own);
    }
    document
}
