//! This process's terminal and limits.

use rustix::process::{Resource, getrlimit};
use rustix::termios::{isatty, tcgetwinsize};

use super::check::Check;
use crate::environment::Environment;

/// Fewer descriptors than this are soon used up by a forward with many connections.
const FEW_DESCRIPTORS: u64 = 256;

pub(super) fn terminal(environment: &Environment) -> Check {
    let streams = [
        ("stdin", isatty(rustix::stdio::stdin())),
        ("stdout", isatty(rustix::stdio::stdout())),
        ("stderr", isatty(rustix::stdio::stderr())),
    ];
    let terminals: Vec<&str> = streams
        .into_iter()
        .filter_map(|(name, is_terminal)| is_terminal.then_some(name))
        .collect();
    if terminals.is_empty() {
        return Check::fine(
            "terminal",
            "none; a shell would be 300 columns by 100 lines wide",
        );
    }
    let size = tcgetwinsize(rustix::stdio::stdout()).ok();
    let size = size.map_or(String::new(), |size| {
        format!(", {} columns by {} lines", size.ws_col, size.ws_row)
    });
    let term = environment.get("TERM").unwrap_or("not set");
    let detail = format!("on {}{size}, TERM is {term}", terminals.join(", "));
    Check::fine("terminal", detail)
}

pub(super) fn limits() -> Check {
    let descriptors = getrlimit(Resource::Nofile).current;
    let processes = getrlimit(Resource::Nproc).current;
    let shown =
        |limit: Option<u64>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
    let detail = format!(
        "{} descriptors, {} processes and threads",
        shown(descriptors),
        shown(processes)
    );
    if descriptors.is_some_and(|limit| limit < FEW_DESCRIPTORS) {
        let next = "raise it by `ulimit -n 1024` before many connections are forwarded";
        Check::warning("limits", detail, next)
    } else {
        Check::fine("limits", detail)
    }
}
