//! Columns for people: aligned by characters, cells cut with `…`, at most 120 columns, no boxes.

/// Rows under a head; every row has as many cells as the head.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// No cell is wider than this.
const CELL_CHARS_MAX: usize = 40;
pub(super) const LINE_CHARS_MAX: usize = 120;

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| cut(&cell, CELL_CHARS_MAX)).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    pub(super) fn render(&self) -> String {
        let lines: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let widest = |i: usize| lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths = fit((0..self.head.len()).map(widest).collect());
        let rendered: Vec<String> = lines.iter().map(|line| render_line(line, &widths)).collect();
        rendered.join("\n")
    }
}

/// Takes from the widest column, one by one, until a line has room: no column is lost.
fn fit(mut widths: Vec<usize>) -> Vec<usize> {
    let gaps = widths.len().saturating_sub(1) * 2;
    while widths.iter().sum::<usize>() + gaps > LINE_CHARS_MAX {
        let Some(widest) = widths.iter_mut().max() else { break };
        *widest -= 1;
    }
    widths
}

fn render_line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width))).collect();
    padded.join("  ").trim_end().to_owned()
}

/// At most `chars_max` characters; control characters of foreign text are replaced, so that a value cannot move the cursor.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let clean: Vec<char> = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if clean.len() <= chars_max {
        return clean.into_iter().collect();
    }
    clean.into_iter().take(chars_max.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters_and_lines_do_not_trail() {
        let mut table = Table::new(&["app", "why"]);
        table.row(["ünï".to_owned(), "–".to_owned()]);
        table.row(["crm-desk".to_owned(), String::new()]);
        assert_eq!(table.render(), "app       why\nünï       –\ncrm-desk");
    }

    #[test]
    fn a_wide_table_takes_from_its_widest_column_and_loses_none() {
        let mut table = Table::new(&["one", "two", "three", "four"]);
        table.row([40, 40, 40, 12].map(|n| "x".repeat(n)));
        let rendered = table.render();
        assert!(rendered.lines().all(|line| line.chars().count() <= LINE_CHARS_MAX), "{rendered}");
        assert!(rendered.ends_with(&format!("…  {}", "x".repeat(12))), "{rendered}");
    }

    #[test]
    fn long_and_hostile_cells_are_cut_and_cleaned() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("\u{1b}[2Jx", 10), "\u{fffd}[2Jx");
    }
}
