//! The remote scripts: a few lines of POSIX sh that are sent as the session's command.
//!
//! They are for dash, bash, busybox's ash and ksh, need no file of their own, and no directory but the one that is written to. Where they
//! are done they wait until the session is ended: an agent gives a command that has ended only 2 s to deliver its output.
//!
//! What they report begins with `!` and is a line; all else is base64, which has no `!`. The first word is listed in
//! [`reply`](super::reply).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What dd counts in: offsets are multiples of it.
pub(super) const BLOCK: u64 = 65_536;
/// What one hash of a file that is half there covers: 128 of [`BLOCK`], as `common.sh` has it.
pub(super) const HASHED: u64 = 128 * BLOCK;

const COMMON: &str = include_str!("common.sh");
const TERMINAL: &str = include_str!("terminal.sh");
const DOWN: &str = include_str!("down.sh");
const WALK: &str = include_str!("walk.sh");
const UP: &str = include_str!("up.sh");
const EXEC: &str = include_str!("exec.sh");

/// What a download asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Down {
    /// Where the range begins, in [`BLOCK`]s.
    pub from: u64,
    /// How long it is, in [`BLOCK`]s; what reaches beyond the end is not there.
    pub count: u64,
    /// Of how many [`HASHED`] pieces from the beginning the hash is wanted.
    pub hashes: u64,
    /// Whether the hash of the whole is wanted, after all else.
    pub whole: bool,
    /// How long the whole was when it was first looked at, if that was in another session: it may have grown since.
    pub size: Option<u64>,
}

/// Prints facts, hashes, a range and the hash of the whole.
pub(super) fn down(path: &Path, asked: Down) -> String {
    let Down {
        from,
        count,
        hashes,
        whole,
        size,
    } = asked;
    let size = size.map_or(String::new(), |size| size.to_string());
    let whole = u8::from(whole);
    let path = name(path);
    command(&format!(
        "{COMMON}p='{path}' o={from} k={count} b={hashes} w={whole} z={size}\n{DOWN}"
    ))
}

/// Prints what is in a folder, from entry number `skip` on: small files in archives where the target has tar, or, where so many entries
/// are asked for, each with its content.
pub(super) fn walk(path: &Path, skip: u64, one_by_one: Option<u64>) -> String {
    let path = name(path);
    let most = one_by_one.unwrap_or(0);
    command(&format!("{COMMON}p='{path}' q={skip} v={most}\n{WALK}"))
}

/// Takes files from its terminal.
pub(super) fn up() -> String {
    command(&format!("{COMMON}need dd stty\n{TERMINAL}{UP}"))
}

/// Runs a command with what comes over its terminal as stdin.
pub(super) fn exec<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().map(quote).collect();
    let words = words.join(" ");
    command(&format!(
        "was_path=${{PATH-}}; was_lc=${{LC_ALL-}}\n{COMMON}need dd stty base64\n{TERMINAL}set -- {words}\n{EXEC}"
    ))
}

/// A path in a form that goes through everything: a format for printf.
pub(super) fn name(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut text = String::with_capacity(bytes.len() + 2);
    // `~` is where relative paths begin anyway.
    let bytes = bytes.strip_prefix(b"~/").unwrap_or(bytes);
    if !bytes.starts_with(b"/") {
        text.push_str("./");
    }
    text.push_str(&escaped(bytes));
    text
}

/// Bytes as a format for printf; `\056` for none, which is as good for a path.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_') {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("\\{byte:03o}"));
        }
    }
    if text.is_empty() {
        text.push_str("\\056");
    }
    text
}

/// The command line of a script: agents take a line into words as a shell does, some of them for every kind of command.
fn command(script: &str) -> String {
    format!("sh -c {}", quote(script))
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_go_through_the_agents_splitting_and_have_no_parameters_of_documents() {
        let all = [
            down(Path::new("it's\n\u{fffd}"), Down::default()),
            walk(Path::new("/a b"), 7, None),
            up(),
            exec(["printf", "it's", ""]),
        ];
        for line in all {
            let words = shlex::split(&line).expect("words");
            assert_eq!(words.len(), 3, "{line}");
            assert!(!line.contains("{{") && !line.contains("}}"), "{line}");
            // The API's bound of a parameter is 65,535 characters.
            assert!(line.len() < 8_000, "{}", line.len());
        }
    }

    #[test]
    fn names_are_made_of_plain_characters() {
        let plain = |path: &str| name(Path::new(path));
        assert_eq!(plain("/srv/a.b_c"), "/srv/a.b_c");
        assert_eq!(plain("-rf"), "./\\055rf");
        assert_eq!(plain("~/x"), "./x");
        assert_eq!(plain(""), "./\\056");
        assert_eq!(plain("/a b'\n%"), "/a\\040b\\047\\012\\045");
    }
}
