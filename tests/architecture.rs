//! How the sources hang together: a module uses only what stands below it in the table of `src/lib.rs`, no two files use each other, and
//! a type's name exists once. Also how long files and how wide lines may be.
//!
//! The check reads the text of `src`: `use` trees, and paths that begin with `crate`, `super`, `self` or the name of a child module.
//! Unit tests may use anything.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sources::{Module, OUTSIDE, Sources, files, paths, root};

/// Types that have one name and several shapes, each with its reason.
const ONE_FOR_EACH_SYSTEM: [&str; 2] = [
    // An eventfd on Linux, a pair of sockets elsewhere.
    "Bell",
    // A netlink socket on Linux, and a type without a value elsewhere.
    "RouteWatch",
];

/// The longest file of `src`, in lines: one concept a file.
const LINES: usize = 500;

/// The longest line, in characters.
const COLUMNS: usize = 140;
/// The modules of the table in `src/lib.rs`, from top to bottom and from left to right.
fn layers() -> Vec<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = lib.lines().filter(|line| line.starts_with("//! | `"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_module_has_its_place_in_the_table() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<_> = lib
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        })
        .filter(|module| !OUTSIDE.contains(module))
        .map(str::to_owned)
        .collect();
    assert_eq!(layers().into_iter().collect::<BTreeSet<_>>(), declared);
}

#[test]
fn a_module_uses_only_what_is_below_it() {
    let layers = layers();
    let place = |module: &Module| layers.iter().position(|layer| *layer == module[0]).unwrap();
    let mut upward = Vec::new();
    for (module, used) in Sources::read().uses() {
        for other in used {
            if other[0] != module[0] && place(&other) < place(&module) {
                upward.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(
        upward.is_empty(),
        "upwards in the table of src/lib.rs:\n{}",
        upward.join("\n")
    );
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let uses = Sources::read().uses();
    let reached: BTreeMap<_, _> = uses
        .keys()
        .map(|module| (module, reached(&uses, module)))
        .collect();
    let circles: Vec<_> = uses
        .iter()
        .flat_map(|(module, used)| used.iter().map(move |other| (module, other)))
        .filter(|(module, other)| reached[other].contains(*module))
        .map(|(module, other)| format!("{} uses {}", module.join("::"), other.join("::")))
        .collect();
    assert!(circles.is_empty(), "in a circle:\n{}", circles.join("\n"));
}

fn reached(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for other in &uses[module] {
            if reached.insert(other.clone()) {
                open.push(other);
            }
        }
    }
    reached
}

/// The names of the types that these tokens define, those inside functions among them: somebody who looks for a name finds them all.
fn types(tokens: &[String]) -> Vec<String> {
    let is_kind = |word: &str| ["struct", "enum", "trait", "union"].contains(&word);
    tokens
        .windows(2)
        .filter(|pair| is_kind(&pair[0]) && pair[1].starts_with(|c: char| c.is_uppercase()))
        .map(|pair| pair[1].clone())
        .collect()
}

#[test]
fn a_types_name_exists_once() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, tokens) in Sources::read().texts {
        for name in types(&tokens) {
            homes.entry(name).or_default().push(module.join("::"));
        }
    }
    assert!(
        homes.len() > 300,
        "the sources were not understood: {}",
        homes.len()
    );
    let again: Vec<_> = homes
        .iter()
        .filter(|(name, homes)| homes.len() > 1 && !ONE_FOR_EACH_SYSTEM.contains(&name.as_str()))
        .map(|(name, homes)| format!("{name}: {}", homes.join(", ")))
        .collect();
    assert!(
        again.is_empty(),
        "defined more than once:\n{}",
        again.join("\n")
    );
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for file in files("src", "rs") {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > LINES {
            let name = file.strip_prefix(root()).unwrap().display();
            long.push(format!("{name} has {lines} lines"));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for file in ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
    {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display();
        // Texts are as long as they are, and the rows of tables cannot be broken.
        let is_long = |line: &str| {
            line.chars().count() > COLUMNS
                && !line.contains('"')
                && !line.trim_start().starts_with("//! |")
        };
        let lines = text.lines().enumerate().filter(|(_, line)| is_long(line));
        long.extend(lines.map(|(index, _)| format!("{name}:{} is too wide", index + 1)));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// What our own commands may use besides the library: the command line, what a session of the contract is made of, the terminal, and what
/// belongs to the process as a whole.
const BESIDE_THE_LIBRARY: [&str; 15] = [
    "VERSION",
    "cli",
    "commands",
    "environment",
    "error",
    "files",
    "logging",
    "mutex",
    "redactor",
    "remarks",
    "sanitise",
    "session",
    "settings",
    "signal_mask",
    "terminal",
];

#[test]
fn our_own_commands_use_nothing_below_the_library() {
    let mut others = BTreeSet::new();
    for (module, full) in used_by_commands(&Sources::read()) {
        let is_allowed = full[0] == "client" || BESIDE_THE_LIBRARY.contains(&full[0].as_str());
        if !is_allowed {
            others.insert(format!("{} uses {}", module.join("::"), full.join("::")));
        }
    }
    let others: Vec<_> = others.into_iter().collect();
    assert!(
        others.is_empty(),
        "below the library:\n{}",
        others.join("\n")
    );
}

/// What other programs cannot use of `client`, by the command that uses it. Each row says why; a row that nothing uses is an error, too.
///
/// Names of targets are read with the command line (`TargetName`).
const NOT_EXPORTED: [(&str, &[&str]); 10] = [
    // What is told on the way, and what secrets are kept out of the log, is the process's; a session by the contract is run by `session`.
    (
        "surroundings",
        &[
            "ClientOptions",
            "Notice",
            "RawSession",
            "channel",
            "notices",
            "terminate",
        ],
    ),
    // Outages are told as one, whichever of the sessions that the library has started says so.
    ("outages", &["Notice"]),
    // One session with the process's own stdin, stdout and terminal, as the contract has it; the key for ssh; tasks of ECS.
    (
        "session",
        &[
            "ApiError",
            "Limit",
            "RawSession",
            "StartRequest",
            "TargetError",
            "api",
            "container",
            "execute",
            "reach",
            "settings",
            "terminate",
        ],
    ),
    // A signal ends the process, and credential_process with it.
    ("signal_guard", &["end_programs"]),
    // Ctrl-C goes to the commands, and a second one ends their sessions.
    (
        "exec",
        &[
            "DataChannel",
            "Limit",
            "OutputPiece",
            "TargetError",
            "TargetName",
            "TerminateSession",
            "Urgency",
            "channel",
            "command_line",
            "reach",
            "session",
            "start_command",
            "terminate",
        ],
    ),
    // With `--wait` a name is looked up until it is there.
    ("cp", &["TargetError", "reach"]),
    // One select over events, signals and the command.
    ("port_forward", &["LocalForward", "TargetName", "receiver"]),
    // AWS's own calls, for which there are SDKs: the library is about sessions.
    (
        "list",
        &[
            "Api",
            "ApiError",
            "InstanceFilter",
            "Limit",
            "Node",
            "NodeFilter",
            "api",
        ],
    ),
    (
        "run",
        &[
            "Api",
            "ApiError",
            "CommandInvocation",
            "CommandInvocations",
            "CommandOutput",
            "CommandSummary",
            "CommandTarget",
            "Limit",
            "Node",
            "NodeFilter",
            "Nodes",
            "SendCommand",
            "TargetError",
            "TargetName",
            "api",
            "container",
        ],
    ),
    // It looks at each part by itself: settings, credentials, proxies, the way, the target.
    (
        "doctor",
        &[
            "Api",
            "ApiError",
            "ApiOptions",
            "CallerEndpoint",
            "Configured",
            "ConnectError",
            "CredentialsError",
            "FoundCredentials",
            "Limit",
            "Network",
            "Node",
            "NodeFilter",
            "Probe",
            "ProxySettings",
            "StartRequest",
            "TargetError",
            "TargetName",
            "Trust",
            "container",
            "node",
        ],
    ),
];

#[test]
fn our_own_commands_use_what_others_can_use() {
    let sources = Sources::read();
    let exported = exported();
    let internal = internal_functions(&sources);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, full) in used_by_commands(&sources) {
        let name = full[1..]
            .iter()
            .find(|part| part.starts_with(char::is_uppercase))
            .or(full.last());
        if full[0] == "client"
            && let (Some(command), Some(name)) = (module.get(1), name)
            && !exported.contains(name)
        {
            used.entry(command.clone())
                .or_default()
                .insert(name.clone());
        }
    }
    for (module, tokens) in &sources.texts {
        let Some(command) = module.get(1).filter(|_| module[0] == "commands") else {
            continue;
        };
        for call in tokens.windows(3) {
            if call[0] == "." && call[2] == "(" && internal.contains(&call[1]) {
                used.entry(command.clone())
                    .or_default()
                    .insert(call[1].clone());
            }
        }
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = NOT_EXPORTED
        .iter()
        .map(|(command, names)| {
            let names = names.iter().map(|name| (*name).to_owned());
            ((*command).to_owned(), names.collect())
        })
        .collect();
    assert_eq!(used, allowed);
}

/// Which paths our commands use, from the root of the crate.
fn used_by_commands(sources: &Sources) -> Vec<(Module, Vec<String>)> {
    let commands = sources
        .texts
        .iter()
        .filter(|(module, _)| module[0] == "commands");
    commands
        .flat_map(|(module, tokens)| {
            let paths = paths(tokens).into_iter();
            let full = paths.filter_map(|(_, path)| sources.full(module, &path));
            full.map(|full| (module.clone(), full)).collect::<Vec<_>>()
        })
        .collect()
}

/// The names that `src/lib.rs` makes public of `client`.
fn exported() -> BTreeSet<String> {
    let lib = sources::tokens(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let names = paths(&lib).into_iter();
    let names: BTreeSet<_> = names
        .filter(|(kind, path)| *kind == sources::Kind::PublicUse && path[0] == "client")
        .filter_map(|(_, path)| path.last().cloned())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    names
}

/// The functions of `client` that this crate alone may call, but for those that have the name of a public one.
fn internal_functions(sources: &Sources) -> BTreeSet<String> {
    let (mut internal, mut public) = (BTreeSet::new(), BTreeSet::new());
    for (_, tokens) in sources
        .texts
        .iter()
        .filter(|(module, _)| module[0] == "client")
    {
        for at in 3..tokens.len() {
            if tokens[at - 1] != "fn" {
                continue;
            }
            let before = &tokens[..at - 1];
            let before = before.strip_suffix(&["const".to_owned()]).unwrap_or(before);
            let name = tokens[at].clone();
            if before.ends_with(&["pub".to_owned()]) {
                public.insert(name);
            } else if before.ends_with(&["(", "crate", ")"].map(str::to_owned)) {
                internal.insert(name);
            }
        }
    }
    // Errors become exit codes everywhere; the others are names of methods of the commands' own types, too.
    public.extend(["into_error", "of", "run"].map(str::to_owned));
    &internal - &public
}
