//! Lists of things.

use std::fmt::Display;

use super::look::{FAINT, Look, STRONG};
use super::sanitise;

/// One value in a table.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    faint: bool,
}

impl Cell {
    /// Any text, also one that others wrote.
    pub(crate) fn new(text: impl Display) -> Self {
        Self {
            text: text.to_string(),
            faint: false,
        }
    }

    /// A text that isn't looked at first.
    pub(crate) fn faint(text: impl Display) -> Self {
        Self {
            faint: true,
            ..Self::new(text)
        }
    }
}

/// The rows under their headings: aligned for a person, for a program without headings and with tabs between.
pub(crate) fn table<const N: usize>(
    look: &Look,
    headings: [&str; N],
    rows: Vec<[Cell; N]>,
) -> String {
    let mut text = String::new();
    if !look.terminal {
        for row in rows {
            let fields: Vec<_> = row.iter().map(|c| sanitise::field(&c.text)).collect();
            text.push_str(&fields.join("\t"));
            text.push('\n');
        }
        return text;
    }
    if rows.is_empty() {
        return text;
    }
    let rows: Vec<[Cell; N]> = rows
        .into_iter()
        .map(|row| {
            row.map(|cell| Cell {
                text: sanitise::line(&cell.text),
                ..cell
            })
        })
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].text.chars().count());
        cells.max().unwrap_or(0).max(headings[column].len())
    });
    let headings = headings.map(|heading| Cell::new(heading.to_uppercase()));
    for (index, row) in std::iter::once(&headings).chain(&rows).enumerate() {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(&match (index, cell.faint) {
                (0, _) => look.paint(&cell.text, STRONG),
                (_, true) => look.paint(&cell.text, FAINT),
                (_, false) => cell.text.clone(),
            });
            if column + 1 < N {
                let padding = widths[column] - cell.text.chars().count() + 2;
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[Cell; 2]> {
        vec![
            [Cell::faint(7), Cell::new("tea")],
            [Cell::faint(123), Cell::new("a\tb\x1b[31m")],
        ]
    }

    #[test]
    fn a_person_reads_columns_and_a_program_fields() {
        assert_eq!(
            table(&Look::person(), ["id", "name"], rows()),
            "ID   NAME\n7    tea\n123  a b[31m\n"
        );
        assert_eq!(
            table(&Look::program(), ["id", "name"], rows()),
            "7\ttea\n123\ta\\tb[31m\n"
        );
    }
}
