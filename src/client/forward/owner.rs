//! Which program listens on a local port, where /proc tells.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sanitise;

/// The search is cut off after this: it only adds to an error message.
const TIME: Duration = Duration::from_millis(500);
/// The state of sockets that listen, in /proc/net/tcp.
const LISTENS: &str = "0A";

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortOwner {
    /// This process.
    Us,
    /// `postgres (pid 123)`.
    Other(String),
}

/// Who listens; nothing where the system does not tell: another user's program, another network namespace, no /proc.
pub(super) fn of_port(address: SocketAddr) -> Option<PortOwner> {
    let deadline = Instant::now() + TIME;
    let inodes = inodes(address.port());
    if inodes.is_empty() {
        return None;
    }
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        if Instant::now() >= deadline {
            return None;
        }
        let name = process.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        if has_socket(&process.path(), &inodes) {
            if pid.parse() == Ok(std::process::id()) {
                return Some(PortOwner::Us);
            }
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let command = sanitise::line(command.trim());
            return Some(PortOwner::Other(format!("{command} (pid {pid})")));
        }
    }
    None
}

/// The inodes of sockets that listen on this port, of either family.
fn inodes(port: u16) -> Vec<String> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
                continue;
            };
            let is_port = local
                .rsplit(':')
                .next()
                .is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(port));
            if is_port && *state == LISTENS {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    inodes
}

fn has_socket(process: &Path, inodes: &[String]) -> bool {
    let descriptors = std::fs::read_dir(process.join("fd"));
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|link| {
                inodes
                    .iter()
                    .any(|inode| link.as_os_str().as_bytes() == inode.as_bytes())
            })
        })
}
