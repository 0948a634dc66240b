//! What `ps` and its kin print, column by column.

/// A table by its headers. Columns are at least two spaces apart and begin where their header begins.
#[derive(Clone, Debug)]
pub struct Table {
    /// The headers, in order.
    pub headers: Vec<String>,
    /// The cells of each row, in the order of the headers.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads one.
    pub fn read(text: &str) -> Table {
        let mut lines = text.lines();
        let header: Vec<char> = lines.next().unwrap_or_default().chars().collect();
        let mut starts = Vec::new();
        for (at, letter) in header.iter().enumerate() {
            let after_gap = at == 0 || (at >= 2 && header[at - 1] == ' ' && header[at - 2] == ' ');
            if *letter != ' ' && after_gap {
                starts.push(at);
            }
        }
        let cut = |line: &[char]| -> Vec<String> {
            let end = |column: usize| starts.get(column + 1).copied().unwrap_or(line.len()).min(line.len());
            let cell = |(column, start): (usize, &usize)| {
                let text: String =
                    line[(*start).min(line.len())..end(column).max((*start).min(line.len()))].iter().collect();
                text.trim_end().to_owned()
            };
            starts.iter().enumerate().map(cell).collect()
        };
        let headers = cut(&header);
        let rows = lines.map(|line| cut(&line.chars().collect::<Vec<char>>())).collect();
        Table { headers, rows }
    }

    /// The cell under `header` in the first row that has `value` under `key`.
    #[track_caller]
    pub fn cell(&self, key: &str, value: &str, header: &str) -> &str {
        let (key, wanted) = (self.column(key), self.column(header));
        let row = self.rows.iter().find(|row| row[key] == value);
        &row.unwrap_or_else(|| panic!("no row with {value} in {self:?}"))[wanted]
    }

    /// All cells under `header`.
    #[track_caller]
    pub fn cells(&self, header: &str) -> Vec<&str> {
        let column = self.column(header);
        self.rows.iter().map(|row| row[column].as_str()).collect()
    }

    #[track_caller]
    fn column(&self, header: &str) -> usize {
        let found = self.headers.iter().position(|found| found == header);
        found.unwrap_or_else(|| panic!("no column {header} in {:?}", self.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_their_headers_even_where_some_are_empty() {
        let table = Table::read(
            "CONTAINER ID  IMAGE       COMMAND     NAMES\n\
             0123456789ab                          infra\n\
             ba9876543210  alpine      top         web\n",
        );
        assert_eq!(table.headers, ["CONTAINER ID", "IMAGE", "COMMAND", "NAMES"]);
        assert_eq!(table.cell("NAMES", "infra", "IMAGE"), "");
        assert_eq!(table.cell("NAMES", "web", "COMMAND"), "top");
        assert_eq!(table.cells("CONTAINER ID"), ["0123456789ab", "ba9876543210"]);
    }
}
