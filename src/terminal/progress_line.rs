//! A line of progress at the cursor of the terminal on stderr: drawn over itself, and gone before anything else is printed.

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use super::{print, status_line};

/// Columns that stay free: some terminals wrap when the last one is written, and an echoed ^C is to stand on the same line.
const FREE_COLUMNS: usize = 3;

/// The line. Without a terminal that can show it there is none.
#[derive(Debug)]
pub struct ProgressLine {
    is_possible: bool,
    stands: bool,
}

impl ProgressLine {
    /// A line for the terminal on stderr, if there is one; `term` is the variable `TERM`.
    pub fn new(term: Option<&str>) -> Self {
        Self {
            is_possible: status_line::can_be_drawn(term),
            stands: false,
        }
    }

    /// No line, whatever stderr is.
    pub const fn none() -> Self {
        Self {
            is_possible: false,
            stands: false,
        }
    }

    /// Whether there is a terminal for it.
    pub const fn is_possible(&self) -> bool {
        self.is_possible
    }

    /// Draws it, cut to the terminal's width, unless another program has the terminal. Whether it was drawn.
    pub fn show(&mut self, text: &str) -> bool {
        self.stands = self.is_possible && has_terminal();
        if self.stands {
            let most = status_line::columns().saturating_sub(FREE_COLUMNS);
            print::to_stderr(&format!("\r{text:.most$}\x1b[K"));
        }
        self.stands
    }

    /// Removes it, if it is there. In the background it is not: the shell has gone on below it.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.stands) && has_terminal() {
            print::to_stderr("\r\x1b[K");
        }
    }
}

/// Whether the terminal on stderr is this program's at the moment. So is one that is no session's.
fn has_terminal() -> bool {
    tcgetpgrp(rustix::stdio::stderr()).map_or(true, |foreground| foreground == getpgrp())
}
