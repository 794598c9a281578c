//! The governed part in one canonical form, hashed: comments, white space, key order and the layout of tables do not count. The
//! GraphQL schemas that it names count byte for byte.

use aws_lc_rs::digest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::Cx;
use crate::model::Finding;

/// Keys of the governed part.
pub(super) const GOVERNED: [&str; 4] = ["ids", "shape", "api", "budget"];

/// SHA-256 in hex over the governed tables of all files, in their order. A schema that cannot be read is noted.
pub(super) fn governed<'a>(documents: impl Iterator<Item = (Cx<'a>, &'a DeTable<'a>)>) -> String {
    let mut text = String::new();
    for (cx, document) in documents {
        for key in GOVERNED {
            if let Some(value) = document.get(key) {
                quote(&mut text, 'k', key);
                write(&mut text, value.get_ref());
                text.push('\n');
            }
        }
        for schema in schemas(document) {
            let path = cx.resolve(schema);
            let contents = cx.governed(&path).unwrap_or_else(|problem| {
                // Whoever has read the declaration has said so.
                if cx.notes.findings.borrow().is_empty() {
                    cx.push(Finding::of_file(&path, problem));
                }
                Vec::new()
            });
            let hash = digest::digest(&digest::SHA256, &contents);
            quote(&mut text, 'g', &hex(hash.as_ref()));
            text.push('\n');
        }
    }
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hex(hash.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files that belong to a document's `[[api.route]]`, in their order.
fn schemas<'a>(document: &'a DeTable<'a>) -> impl Iterator<Item = &'a str> {
    let list = |value: Option<&'a Spanned<DeValue<'a>>>| value.and_then(|value| value.get_ref().as_array()).into_iter().flat_map(|list| list.iter());
    let routes = list(document.get("api")).filter_map(|api| api.get_ref().as_table()).flat_map(move |api| list(api.get("route")));
    let declared = routes.filter_map(|route| route.get_ref().as_table()?.get("graphql")?.get_ref().as_table());
    declared.filter_map(|graphql| graphql.get("schema")?.get_ref().as_str())
}

fn write(out: &mut String, value: &DeValue<'_>) {
    match value {
        DeValue::String(text) => quote(out, 's', text),
        DeValue::Integer(number) => quote(out, 'i', &format!("{}:{}", number.radix(), number.as_str())),
        DeValue::Float(number) => quote(out, 'f', number.as_str()),
        DeValue::Boolean(yes) => quote(out, 'b', if *yes { "true" } else { "false" }),
        DeValue::Datetime(time) => quote(out, 'd', &time.to_string()),
        DeValue::Array(items) => {
            out.push('[');
            items.iter().for_each(|item| write(out, item.get_ref()));
            out.push(']');
        }
        // A table's entries come sorted.
        DeValue::Table(entries) => {
            out.push('{');
            for (key, item) in entries {
                quote(out, 'k', key.get_ref());
                write(out, item.get_ref());
            }
            out.push('}');
        }
    }
}

/// Length first, so that no text can imitate the structure around it.
fn quote(out: &mut String, tag: char, text: &str) {
    out.push(tag);
    out.push_str(&text.len().to_string());
    out.push(':');
    out.push_str(text);
}
