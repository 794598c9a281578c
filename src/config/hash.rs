//! The governed part in one canonical form, hashed: comments, white space, key order and the layout of tables do not count.

use aws_lc_rs::digest;
use toml::de::{DeTable, DeValue};

/// Keys of the governed part.
pub(super) const GOVERNED: [&str; 3] = ["ids", "shape", "api"];

/// SHA-256 in hex over the governed tables of all files, in their order.
pub(super) fn governed<'a>(documents: impl Iterator<Item = &'a DeTable<'a>>) -> String {
    let mut text = String::new();
    for document in documents {
        for key in GOVERNED {
            if let Some(value) = document.get(key) {
                quote(&mut text, 'k', key);
                write(&mut text, value.get_ref());
                text.push('\n');
            }
        }
    }
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
