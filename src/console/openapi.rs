//! The OpenAPI 3.1 document, made from the same table that answers the requests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::dispatch::{Access, Route, Takes};

/// A listener's table as OpenAPI 3.1.
pub(super) fn document(title: &str, tables: &[&[Route]]) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: Map<String, Value> = Map::new();
    for route in tables.iter().copied().flatten() {
        paths.entry(route.path).or_default().insert(route.method.to_ascii_lowercase(), operation(route));
        if let Takes::Json(schema) | Takes::Bulk(schema) | Takes::Bundle(schema) = route.takes {
            schemas.insert(schema.name.to_owned(), schema.to_json());
        }
    }
    for schema in super::NESTED_SCHEMAS {
        schemas.insert(schema.name.to_owned(), schema.to_json());
    }
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = path_params(route.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": param_about(name) }))
        .collect();
    parameters.extend(
        route.query.iter().map(|param| json!({ "name": param.name, "in": "query", "schema": { "type": "string" }, "description": param.about })),
    );
    if route.again.is_some() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "maxLength": 255 },
            "description": "the same key with the same body is done once; with another body it is refused (422); kept for 24 hours",
        }));
    }
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "done" },
            "default": { "description": "refused", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } },
        },
    });
    if let Some(members) = operation.as_object_mut() {
        if let Access::Roles(roles) = route.access {
            let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            members.insert("x-consentry-roles".to_owned(), json!(names));
        }
        if let Some(body) = request_body(route) {
            members.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

fn request_body(route: &Route) -> Option<Value> {
    let reference = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    match route.takes {
        Takes::Nothing => None,
        Takes::Json(schema) | Takes::Bundle(schema) => Some(json!({ "required": true, "content": { "application/json": reference(schema.name) } })),
        Takes::Bulk(schema) => Some(json!({ "required": true, "content": {
            "application/json": reference(schema.name),
            "application/x-ndjson": { "schema": { "type": "string" } },
            "text/csv": { "schema": { "type": "string" } },
        } })),
    }
}

fn path_params(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.split_once('}').map(|(name, _)| name.trim_end_matches('+')))
}

fn param_about(name: &str) -> &'static str {
    match name {
        "id" => "`party:<id>` or `<space>:<value>`, percent-encoded once; for stops, receipts and webhooks their own id",
        "key" => "the SHA-256 of the file and its options, in hexadecimal",
        "path" => "`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`, as in C2SP tlog-tiles",
        "origin" | "index" => "of the decision `<origin>#<index>`",
        _ => "",
    }
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = super::Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457",
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "code": { "type": "string", "enum": codes }, "detail": { "type": "string" }, "decision": { "type": "string" },
            "remedy": { "type": "string", "description": "what to do next" },
        },
        "required": ["type", "title", "status", "code", "remedy"],
    })
}
