//! How large the terminal is, as far as the remote side should know.

use rustix::termios::{isatty, tcgetwinsize};

use crate::message::content::Size;
use crate::settings::Environment;

/// Without a terminal, as the original: programs over there do not cut their lines, which scripts search, at 80 columns.
const WITHOUT_TERMINAL: Size = Size {
    cols: 300,
    rows: 100,
};

/// The size of the terminal on stdout; without one, what `COLUMNS` and `LINES` say, else 300 by 100.
/// Nothing when the terminal does not know its size.
pub fn current(environment: &Environment) -> Option<Size> {
    let stdout = rustix::stdio::stdout();
    if !isatty(stdout) {
        return Some(from_variables(environment).unwrap_or(WITHOUT_TERMINAL));
    }
    let size = tcgetwinsize(stdout).ok()?;
    (size.ws_col != 0 && size.ws_row != 0).then_some(Size {
        cols: size.ws_col,
        rows: size.ws_row,
    })
}

fn from_variables(environment: &Environment) -> Option<Size> {
    let number = |name| {
        environment
            .get(name)?
            .trim()
            .parse()
            .ok()
            .filter(|number| *number != 0)
    };
    Some(Size {
        cols: number("COLUMNS")?,
        rows: number("LINES")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_variables_or_none() {
        let size = |columns: &str, lines: &str| {
            from_variables(&Environment::from([("COLUMNS", columns), ("LINES", lines)]))
        };
        assert_eq!(
            size("132", "43"),
            Some(Size {
                cols: 132,
                rows: 43
            })
        );
        for (columns, lines) in [
            ("132", ""),
            ("", "43"),
            ("0", "0"),
            ("x", "43"),
            ("99999", "1"),
        ] {
            assert_eq!(size(columns, lines), None, "{columns} {lines}");
        }
    }
}
