//! What every report is: the answer in a sentence, what it rests on, tables, and what must be known to read them.

use serde_json::{Value, json};

use crate::console::page::Language;

/// Rows of one table at most; what is left out is said.
pub(super) const REPORT_ROWS_MAX: usize = 100_000;

/// A report, before it is written in one of its forms.
#[derive(Clone, Debug)]
pub struct Report {
    pub kind: &'static str,
    pub(super) language: Language,
    pub(super) title: String,
    /// The answer.
    pub(super) lead: String,
    /// Label and text.
    pub(super) facts: Vec<(String, String)>,
    /// The first one is what CSV holds.
    pub(super) tables: Vec<Table>,
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) key: &'static str,
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    /// Texts, numbers, lists of texts or nothing; as many as there are columns.
    pub(super) rows: Vec<Vec<Value>>,
    /// Rows that did not fit.
    pub(super) left_out: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) label: String,
}

impl Report {
    pub(super) fn new(kind: &'static str, language: Language, title: &str, lead: String) -> Self {
        let (title, facts, tables, notes) = (title.to_owned(), Vec::new(), Vec::new(), Vec::new());
        Self { kind, language, title, lead, facts, tables, notes }
    }

    pub(super) fn fact(mut self, label: &str, text: impl Into<String>) -> Self {
        self.facts.push((label.to_owned(), text.into()));
        self
    }

    /// Where the log says that it was made.
    pub(super) fn with_entry(self, entry: String) -> Self {
        let label = self.language.say(["This report is entry", "Denne rapport er post"]);
        self.fact(label, entry)
    }

    pub(super) fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Rows of all tables.
    pub(super) fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// As one document.
    #[must_use]
    pub fn json(&self) -> Value {
        let facts: Vec<Value> = self.facts.iter().map(|(label, text)| json!({ "label": label, "text": text })).collect();
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(|table| {
                let columns: Vec<Value> = table.columns.iter().map(|column| json!({ "key": column.key, "label": column.label })).collect();
                let rows: Vec<Value> = table.rows.iter().map(|row| table.object(row)).collect();
                json!({ "key": table.key, "title": table.title, "columns": columns, "rows": rows, "left_out": table.left_out })
            })
            .collect();
        json!({
            "report": self.kind, "language": self.language.tag(), "title": self.title, "lead": self.lead,
            "facts": facts, "tables": tables, "notes": self.notes,
        })
    }

    /// A line for each row of each table.
    #[must_use]
    pub fn ndjson(&self) -> String {
        let lines = self.tables.iter().flat_map(|table| {
            table.rows.iter().map(move |row| {
                let mut object = table.object(row);
                if let Some(members) = object.as_object_mut() {
                    members.insert("table".to_owned(), json!(table.key));
                }
                format!("{object}\n")
            })
        });
        lines.collect()
    }

    /// The table of that name, or the first one, as CSV (RFC 4180); `None` without such a table.
    #[must_use]
    pub fn csv(&self, table: Option<&str>) -> Option<String> {
        let table = match table {
            Some(key) => self.tables.iter().find(|table| table.key == key)?,
            None => self.tables.first()?,
        };
        let head = table.columns.iter().map(|column| column.key.to_owned());
        let rows = table.rows.iter().map(|row| row.iter().map(plain).collect::<Vec<_>>());
        let lines = std::iter::once(head.collect::<Vec<_>>()).chain(rows);
        Some(lines.map(|cells| format!("{}\r\n", cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(","))).collect())
    }

    /// The names of its tables.
    #[must_use]
    pub fn table_names(&self) -> Vec<&'static str> {
        self.tables.iter().map(|table| table.key).collect()
    }
}

impl Table {
    /// Columns as key and label.
    pub(super) fn new(key: &'static str, title: &str, columns: &[(&'static str, &str)], rows: Vec<Vec<Value>>) -> Self {
        let columns: Vec<Column> = columns.iter().map(|&(key, label)| Column { key, label: label.to_owned() }).collect();
        let left_out = rows.len().saturating_sub(REPORT_ROWS_MAX);
        let mut rows = rows;
        rows.truncate(REPORT_ROWS_MAX);
        Self { key, title: title.to_owned(), columns, rows, left_out }
    }

    fn object(&self, row: &[Value]) -> Value {
        self.columns.iter().zip(row).map(|(column, cell)| (column.key.to_owned(), cell.clone())).collect::<serde_json::Map<_, _>>().into()
    }
}

/// A cell for people and spreadsheets.
pub(super) fn plain(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(_) => cell.to_string(),
    }
}

/// What a spreadsheet would calculate is marked as text (OWASP, CSV injection).
pub(in crate::console) fn csv_cell(text: &str) -> String {
    let marked = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() };
    if marked.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", marked.replace('"', "\"\"")) } else { marked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let rows = vec![vec![json!("=1+1"), json!(["a", "b"]), json!(3)], vec![json!("<b>\"x\", y</b>\n\u{1b}[31m"), Value::Null, json!(0)]];
        let table = Table::new("main", "Main", &[("name", "Name"), ("list", "List"), ("count", "Count")], rows);
        Report::new("denies", Language::English, "T", "lead".to_owned()).table(table.clone()).table(Table { key: "other", ..table })
    }

    #[test]
    fn csv_is_neutral_and_quoted() {
        let csv = report().csv(None).unwrap();
        assert_eq!("name,list,count\r\n'=1+1,a b,3\r\n\"<b>\"\"x\"\", y</b>\n\u{1b}[31m\",,0\r\n", csv);
        for formula in ["+1", "-1", "@x", "\tx", "\rx", "\nx"] {
            assert!(csv_cell(formula).trim_start_matches('"').starts_with('\''), "{formula:?}");
        }
        assert!(report().csv(Some("other")).is_some() && report().csv(Some("none")).is_none());
    }

    #[test]
    fn ndjson_is_a_line_a_row() {
        let text = report().ndjson();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(4, lines.len());
        assert_eq!(json!({"table": "main", "name": "=1+1", "list": ["a", "b"], "count": 3}), lines[0]);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let table = Table::new("main", "", &[("n", "N")], vec![vec![json!(1)]; REPORT_ROWS_MAX + 3]);
        assert_eq!((REPORT_ROWS_MAX, 3), (table.rows.len(), table.left_out));
    }
}
