//! Keys and tables that dirpost does not know: named, with what they may have
//! been meant to be.

use super::error::Problem;
use super::read::{Source, dotted, line_of};
use super::suggest;
use toml::de::{DeTable, DeValue};

impl Source<'_> {
    /// Reports what is in the tree and was never asked for.
    pub fn unknown(&self, map: &DeTable<'_>) {
        self.unknown_in("", map);
    }

    fn unknown_in(&self, table: &str, map: &DeTable<'_>) {
        for (name, value) in map {
            let key = dotted(table, name.get_ref());
            if self.known.borrow().contains(&key) {
                continue;
            }
            if self.tables.borrow().contains(&key) {
                if let DeValue::Table(inner) = value.get_ref() {
                    self.unknown_in(&key, inner);
                }
                continue;
            }
            let line = Some(line_of(self.text, name.span().start));
            let text = self.unknown_text(&key, value.get_ref());
            self.push(Problem { line, key, text });
        }
    }

    fn unknown_text(&self, key: &str, value: &DeValue<'_>) -> String {
        let (known, tables) = (self.known.borrow(), self.tables.borrow());
        let is_table = value.is_table();
        let near = if is_table {
            suggest::nearest(key, tables.iter().map(String::as_str))
        } else {
            suggest::nearest(key, known.iter().map(String::as_str))
        };
        let quote = |name: &&str| {
            if is_table {
                format!("[{name}]")
            } else {
                format!("`{name}`")
            }
        };
        let near: Vec<String> = near.iter().map(quote).collect();
        let what = if is_table {
            "unknown table"
        } else {
            "unknown key"
        };
        if !near.is_empty() {
            return format!("{what}; did you mean {}?", suggest::either(&near));
        }
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        let inside = |name: &&String| name.rsplit_once('.').map_or("", |(t, _)| t) == table;
        let all: Vec<&str> = known
            .iter()
            .chain(tables.iter())
            .filter(inside)
            .map(|name| {
                name.rsplit_once('.')
                    .map_or(name.as_str(), |(_, last)| last)
            })
            .collect();
        let place = if table.is_empty() {
            "at the top".into()
        } else {
            format!("in [{table}]")
        };
        format!("{what}; {place} there is: {}", all.join(", "))
    }
}
