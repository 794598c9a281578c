//! A report as a page: without script, complete without any other file, made to be printed.

use std::sync::LazyLock;

use serde_json::Value;

use super::report::{Report, Table, plain};
use crate::console::page::{Language, escaped, style_only};

/// With more columns a row becomes a card.
const COLUMNS_SIDE_BY_SIDE_MAX: usize = 10;

const CSS: &str = include_str!("page.css");

/// The page's style sheet by its hash, and nothing else.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| style_only(CSS));
    &POLICY
}

impl Report {
    /// As a page.
    #[must_use]
    pub fn html(&self) -> String {
        let title = shown(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n</header>\n<dl>\n",
            self.language.tag(),
            shown(&self.lead)
        );
        for (label, text) in &self.facts {
            page.extend(["<div><dt>", &shown(label), "</dt><dd>", &shown(text), "</dd></div>\n"]);
        }
        page.push_str("</dl>\n");
        for table in &self.tables {
            page.push_str(&section(table, self.language));
        }
        if !self.notes.is_empty() {
            page.push_str("<footer>\n");
            for note in &self.notes {
                page.extend(["<p>", &shown(note), "</p>\n"]);
            }
            page.push_str("</footer>\n");
        }
        page.push_str("</main>\n</body>\n</html>\n");
        page
    }
}

fn section(table: &Table, language: Language) -> String {
    let mut out = format!("<section>\n<h2>{}</h2>\n", shown(&table.title));
    if table.rows.is_empty() {
        let none = if language == Language::Danish { "Intet." } else { "None." };
        return out + &format!("<p class=\"none\">{none}</p>\n</section>\n");
    }
    if table.columns.len() > COLUMNS_SIDE_BY_SIDE_MAX {
        table.rows.iter().for_each(|row| card(&mut out, table, row));
    } else {
        lines(&mut out, table);
    }
    if table.left_out > 0 {
        let text = match language {
            Language::English => format!("{} more rows are left out; ask for a shorter time.", table.left_out),
            Language::Danish => format!("{} rækker mere er udeladt; spørg om en kortere periode.", table.left_out),
        };
        out.extend(["<p class=\"none\">", &text, "</p>\n"]);
    }
    out + "</section>\n"
}

/// Side by side.
fn lines(out: &mut String, table: &Table) {
    out.push_str("<table>\n<thead><tr>");
    let is_number = |at: usize| table.rows.iter().all(|row| row.get(at).is_none_or(|cell| cell.is_number() || cell.is_null()));
    let classes: Vec<&str> = (0..table.columns.len()).map(|at| if is_number(at) { " class=\"n\"" } else { "" }).collect();
    for (column, class) in table.columns.iter().zip(&classes) {
        out.extend(["<th", *class, ">", &shown(&column.label), "</th>"]);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (cell, class) in row.iter().zip(&classes) {
            out.extend(["<td", *class, ">", &shown(&text(cell)), "</td>"]);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
}

/// One below another, for rows that are too long for a line.
fn card(out: &mut String, table: &Table, row: &[Value]) {
    out.push_str("<dl class=\"card\">\n");
    for (column, cell) in table.columns.iter().zip(row) {
        out.extend(["<div><dt>", &shown(&column.label), "</dt><dd>", &shown(&text(cell)), "</dd></div>\n"]);
    }
    out.push_str("</dl>\n");
}

/// A dash where there is nothing.
fn text(cell: &Value) -> String {
    let text = if let Value::Array(items) = cell { items.iter().map(plain).collect::<Vec<_>>().join(", ") } else { plain(cell) };
    if text.is_empty() { "–".to_owned() } else { text }
}

/// Escaped, and without what a terminal or a reader's eye could be led astray by.
fn shown(text: &str) -> String {
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    escaped(&text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let rows = vec![vec![json!("<script>alert(1)</script>"), json!(["a&b", "\"c\""])], vec![json!("\u{1b}[31m\u{202e}x"), json!([])]];
        let table = Table::new("t", "<i>", &[("a", "A"), ("b", "B")], rows);
        let page = Report::new("denies", Language::English, "x < y", "\"lead\"".to_owned()).table(table).fact("<", ">").note("<hr>").html();
        for hostile in ["<script>", "<i>", "<hr>", "\u{1b}", "\u{202e}", "x < y"] {
            assert!(!page.contains(hostile), "{hostile}: {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("a&amp;b, &quot;c&quot;"), "{page}");
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
