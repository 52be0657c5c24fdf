//! One line of ours below the cursor of the terminal on stderr, which is drawn anew for as long as it is true, and removed without a trace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{isatty, tcgetwinsize};

use super::bounded_write::draw;
use super::raw;
use crate::sanitise;

/// Where the terminal does not know its width, in columns.
const USUAL_WIDTH: usize = 80;
/// Makes sure that there is a line below (IND, which keeps the column, and back up), keeps the cursor, and empties that line.
const BEGIN: &str = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[K";
/// The cursor goes back.
const END: &str = "\x1b8";

/// Whether the line is there. Set under [`DRAWING`], looked at without it.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);
/// Two threads draw: the one that knows the text, and the one that is about to write output.
static DRAWING: Mutex<()> = Mutex::new(());

/// Whether there is a terminal that can show it, and nobody else's program has it.
pub fn is_possible(term: Option<&str>) -> bool {
    let can_move = term.is_some_and(|term| !term.is_empty() && term != "dumb");
    can_move && isatty(rustix::stdio::stderr()) && raw::in_foreground()
}

/// Draws it, cut to the terminal's width.
pub fn show(text: &str) {
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let width = tcgetwinsize(rustix::stdio::stderr()).map_or(0, |size| usize::from(size.ws_col));
    let width = if width == 0 { USUAL_WIDTH } else { width };
    // The last column stays free: some terminals wrap when it is written. What is cut ends with one character more.
    let text = sanitise::line_within(text, width.saturating_sub(2));
    IS_SHOWN.store(true, Ordering::SeqCst);
    draw(&format!("{BEGIN}{text}{END}"));
}

/// Removes it, if it is there.
pub fn hide() {
    if !IS_SHOWN.load(Ordering::SeqCst) {
        return;
    }
    let _drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    if IS_SHOWN.swap(false, Ordering::SeqCst) {
        draw(&format!("{BEGIN}{END}"));
    }
}
