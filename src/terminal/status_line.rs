//! One line of ours below the cursor of the terminal on stderr, which is drawn anew for as long as it is true, and removed without a trace.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::termios::{isatty, tcgetwinsize};

use super::bounded_write::draw;
use super::raw;
use crate::mutex::lock;
use crate::sanitise;

/// Where the terminal does not know its width, in columns.
const USUAL_WIDTH: usize = 80;
/// Makes sure that there is a line below (IND, which keeps the column, and back up), keeps the cursor, and empties that line.
const BEGIN: &str = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[K";
/// The cursor goes back.
const END: &str = "\x1b8";

/// Whether the line is there, or about to be. Set under [`DRAWING`], looked at without it.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);
/// How many threads write what the line must not stand in the way of.
static WRITERS: AtomicUsize = AtomicUsize::new(0);
/// Two threads draw: the one that knows the text, and the one that is about to write output.
static DRAWING: Mutex<()> = Mutex::new(());

/// Whether there is a terminal that can show it, and nobody else's program has it.
pub fn is_possible(term: Option<&str>) -> bool {
    can_be_drawn(term) && raw::in_foreground()
}

/// Whether stderr is a terminal that can draw over a line.
pub(super) fn can_be_drawn(term: Option<&str>) -> bool {
    let can_move = term.is_some_and(|term| !term.is_empty() && term != "dumb");
    can_move && isatty(rustix::stdio::stderr())
}

/// The width of the terminal on stderr, in columns.
pub(super) fn columns() -> usize {
    let width = tcgetwinsize(rustix::stdio::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if width == 0 { USUAL_WIDTH } else { width }
}

/// Draws it, cut to the terminal's width; not while something is being written.
pub fn show(text: &str) {
    let _drawing = lock(&DRAWING);
    // The last column stays free: some terminals wrap when it is written. What is cut ends with one character more.
    let text = sanitise::line_within(text, columns().saturating_sub(2));
    // In this order, and the other one in `hide`: one of the two sees the other.
    IS_SHOWN.store(true, Ordering::SeqCst);
    if WRITERS.load(Ordering::SeqCst) > 0 {
        IS_SHOWN.store(false, Ordering::SeqCst);
        return;
    }
    draw(&format!("{BEGIN}{text}{END}"));
}

/// The line is not there while this lives.
#[must_use = "it may come back at once"]
pub struct Hidden(());

/// Removes it, if it is there.
pub fn hide() -> Hidden {
    WRITERS.fetch_add(1, Ordering::SeqCst);
    if IS_SHOWN.load(Ordering::SeqCst) {
        let _drawing = lock(&DRAWING);
        if IS_SHOWN.swap(false, Ordering::SeqCst) {
            draw(&format!("{BEGIN}{END}"));
        }
    }
    Hidden(())
}

impl Drop for Hidden {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Ordering::SeqCst);
    }
}
