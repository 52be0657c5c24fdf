//! What an agent can do, by its version, and how long it takes for what it does.

use std::time::Duration;

/// Mux from the version after this one (the original's `TCPMultiplexingSupportedAfterThisAgentVersion`).
const MULTIPLEXING_AFTER: [u32; 4] = [3, 0, 196, 0];
/// Without signs of life inside smux from the version after this one.
const NO_KEEPALIVE_AFTER: [u32; 4] = [3, 1, 1511, 0];
/// The TerminateSession flag from the version after this one.
const TERMINATE_FLAG_AFTER: [u32; 4] = [2, 3, 722, 0];

/// How long an agent that connects to the destination first, and says nothing if that worked, may take to say that it did not: a
/// destination that does not answer is given up by the agent's system after 127 s (Linux).
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(150);

/// Whether many connections at a time can be had. Both ends must come to the same answer.
pub(crate) fn can_multiplex(agent: &str) -> bool {
    is_after(agent, MULTIPLEXING_AFTER)
}

/// Whether the multiplexer of the agent wants signs of life, and closes without.
pub(crate) fn wants_keepalive(agent: &str) -> bool {
    !is_after(agent, NO_KEEPALIVE_AFTER)
}

/// Whether the agent ends a session on a flag; with others it takes the API. Who multiplexes can always.
pub(super) fn knows_terminate_flag(agent: &str) -> bool {
    is_after(agent, TERMINATE_FLAG_AFTER)
}

/// The original's rule: four numbers, compared from the left; anything else is after nothing.
fn is_after(version: &str, limit: [u32; 4]) -> bool {
    let parts: Option<Vec<u32>> = version
        .split('.')
        .map(|part| {
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| part.parse().ok())?
        })
        .collect();
    parts.is_some_and(|parts| parts.len() == limit.len() && parts[..] > limit[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_not_after() {
        for (version, multiplexes) in [
            ("3.0.196.0", false),
            ("3.0.196.1", true),
            ("3.0.197.0", true),
            ("3.3.0.0", true),
            ("10.0.0.0", true),
            ("2.9.999.9", false),
        ] {
            assert_eq!(can_multiplex(version), multiplexes, "{version}");
        }
        assert!(wants_keepalive("3.1.1511.0"));
        assert!(!wants_keepalive("3.1.1511.1"));
        assert!(!knows_terminate_flag("2.3.722.0"));
        assert!(knows_terminate_flag("2.3.750.0"));
    }

    #[test]
    fn what_is_not_four_numbers_is_after_nothing() {
        for version in [
            "",
            "9.9.9",
            "9.9.9.9.9",
            "9.9.9.x",
            "9.9.9.-1",
            "+9.9.9.9",
            "9..9.9",
            "99999999999.0.0.0",
        ] {
            assert!(!can_multiplex(version), "{version}");
        }
    }
}
