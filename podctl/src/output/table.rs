//! Columns as Go's text/tabwriter aligns them with podman's settings: at least 12 wide, 2 of it padding, filled with
//! spaces. A cell is ended by a tab; what follows the last tab of a line is no cell and is not padded. A column is a run
//! of neighbouring lines that have such a cell.

const WIDTH: usize = 12;
const PADDING: usize = 2;

/// `text` with its tabs turned into padding.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
    measure(&lines, 0, lines.len(), 0, &mut widths);
    let mut aligned = String::with_capacity(text.len() * 2);
    for (number, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if number > 0 {
            aligned.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            aligned.push_str(cell);
            if column + 1 < cells.len() {
                let fill = widths[column].saturating_sub(width(cell));
                aligned.extend(std::iter::repeat_n(' ', fill));
            }
        }
    }
    aligned
}

/// Finds the width of each block of column `column` between the lines `from` and `to`, then of the columns right of it.
fn measure(lines: &[Vec<&str>], from: usize, to: usize, column: usize, widths: &mut [Vec<usize>]) {
    let has_cell = |line: usize| column + 1 < lines[line].len();
    let mut line = from;
    while line < to {
        if !has_cell(line) {
            line += 1;
            continue;
        }
        let start = line;
        while line < to && has_cell(line) {
            line += 1;
        }
        let widest = (start..line).map(|line| width(lines[line][column]) + PADDING).max().unwrap_or(0).max(WIDTH);
        for widths in &mut widths[start..line] {
            widths[column] = widest;
        }
        measure(lines, start, line, column + 1, widths);
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_alone_is_padded_to_twelve() {
        assert_eq!(
            align("POD ID\tNAME\tSTATUS\tCREATED\tINFRA ID\t# OF CONTAINERS\n"),
            "POD ID      NAME        STATUS      CREATED     INFRA ID    # OF CONTAINERS\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = "POD ID\tNAME\tSTATUS\tCREATED\tINFRA ID\t# OF CONTAINERS\n832ac1a4d6aa\tpod1\tCreated\tLess than a second ago\t6a5dcb5eeacd\t1\n";
        assert_eq!(
            align(text),
            "POD ID        NAME        STATUS      CREATED                 INFRA ID      # OF CONTAINERS\n\
             832ac1a4d6aa  pod1        Created     Less than a second ago  6a5dcb5eeacd  1\n"
        );
    }

    #[test]
    fn an_empty_cell_keeps_its_place() {
        assert_eq!(align("A\tB\tC\nx\t\ty\n"), "A           B           C\nx                       y\n");
    }

    #[test]
    fn a_line_without_a_cell_ends_the_column() {
        assert_eq!(align("a\tb\nplain\nlonger than twelve\tb"), "a           b\nplain\nlonger than twelve  b");
    }

    #[test]
    fn characters_count_not_bytes() {
        assert_eq!(align("éé\tx"), "éé          x");
    }
}
