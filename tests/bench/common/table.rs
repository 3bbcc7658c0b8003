//! What was measured, as a table, and the place for it in docs/performance.md.

use std::fmt;

/// One table, with what it says and how it came about.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub title: String,
    pub method: String,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// What is not in the table, and why.
    pub left_out: Vec<String>,
}

impl Table {
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn left_out(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}\n", self.title, self.method)?;
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(self.head[column].chars().count())
            })
            .collect();
        let mut line = |cells: Vec<&str>| {
            let padded = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "| {} |", padded.collect::<Vec<_>>().join(" | "))
        };
        line(self.head.clone())?;
        line(vec!["---"; self.head.len()])?;
        for row in &self.rows {
            line(row.iter().map(String::as_str).collect())?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "\nNot measured: {}.", self.left_out.join("; "))?;
        }
        Ok(())
    }
}

/// `page` with `table` in the place of part `name`, which lies between two comments; a part that is new comes
/// behind the others, or at the end. All else is left as it is.
pub fn put(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- measured: {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let block = format!("{begin}{table}{end}");
    let around = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    match around {
        Some((before, after)) => format!("{before}{block}{after}"),
        None => format!("{}\n\n{block}", page.trim_end()),
    }
}

/// Milliseconds with three figures that mean something.
pub fn ms(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 1.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// Megabytes, of 1,000,000 bytes.
pub fn mb(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// A ratio, or a dash where there is nothing to compare with.
pub fn ratio(value: f64, to: f64) -> String {
    match value / to {
        ratio if !ratio.is_finite() => "–".into(),
        ratio if ratio < 0.1 => format!("{ratio:.4}"),
        ratio => format!("{ratio:.2}"),
    }
}

/// A number with its thousands apart.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
