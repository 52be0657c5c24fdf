//! What the `SSM_PLUGIN_*` variables say.

use std::path::PathBuf;

use log::LevelFilter;
use rustix::process::Pid;

pub use crate::environment::Environment;
use crate::error::Error;
use crate::host::split_authority;

/// The most data one message may carry, in bytes. Agents up to 3.3.3572 were seen to accept it.
const MAXIMUM_PAYLOAD_SIZE: usize = 32 * 1024;
/// What both official ends send, in bytes.
const DEFAULT_PAYLOAD_SIZE: usize = 1024;
/// The variable that names the process with which this one ends. Children do not get it, as it is about this process only.
pub const PARENT_VARIABLE: &str = "SSM_PLUGIN_PARENT";
/// As in OpenSSH.
const DEFAULT_ESCAPE: u8 = b'~';

/// A host, and a port if one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address in lower case; an IPv6 address without its brackets.
    pub host: String,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.parse::<std::net::Ipv6Addr>() {
            Ok(_) => (text.to_ascii_lowercase(), None),
            Err(_) => split_authority(text)?,
        };
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        host.bytes()
            .all(is_host_byte)
            .then_some(Self { host, port })
    }
}

/// What the `SSM_PLUGIN_*` variables say (section 4 of the contract).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `SSM_PLUGIN_SKIP_CLIENT_CONFIGURE`: no credentials, no signatures, no resume.
    pub skip_client_configure: bool,
    /// `SSM_PLUGIN_LOCAL_HOST`: where listening port sessions listen, instead of both loopback addresses.
    pub local_host: Option<String>,
    /// `SSM_PLUGIN_STREAM_ENDPOINT`: takes the place of the stream URL's host.
    pub stream_endpoint: Option<HostPort>,
    /// `SSM_PLUGIN_ALLOW_STREAM_HOST`: stream hosts besides AWS's.
    pub allow_stream_host: Vec<HostPort>,
    /// `SSM_PLUGIN_PAYLOAD_SIZE`: the most data in one message, in bytes.
    pub payload_size: usize,
    /// `SSM_PLUGIN_QUIET`: our own lines go to stderr.
    pub quiet: bool,
    /// `SSM_PLUGIN_REQUIRE_ENCRYPTION`: a session that the agent does not encrypt with KMS is ended before anything is sent.
    pub require_encryption: bool,
    /// `SSM_PLUGIN_PROPAGATE_EXIT_CODE`: the remote exit code becomes ours.
    pub propagate_exit_code: bool,
    /// `SSM_PLUGIN_PARENT`: the process that started us, with which we end.
    pub parent: Option<Pid>,
    /// `SSM_PLUGIN_ESCAPE`: the byte that begins an escape, if any does.
    pub escape: Option<u8>,
    /// `SSM_PLUGIN_LOG`: what is logged.
    pub log: LevelFilter,
    /// `SSM_PLUGIN_LOG_FILE`: where to; stderr otherwise.
    pub log_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            skip_client_configure: false,
            local_host: None,
            stream_endpoint: None,
            allow_stream_host: Vec::new(),
            payload_size: DEFAULT_PAYLOAD_SIZE,
            quiet: false,
            require_encryption: false,
            propagate_exit_code: false,
            parent: None,
            escape: Some(DEFAULT_ESCAPE),
            log: LevelFilter::Off,
            log_file: None,
        }
    }
}

impl Settings {
    /// What matters while it is told that a variable cannot be used: where that is told, and whether the session may be ended by AWS's
    /// API. The rest is as if nothing were set.
    pub(crate) fn as_far_as_usable(environment: &Environment) -> Self {
        let read = Reader(environment);
        Self {
            quiet: read.switch("SSM_PLUGIN_QUIET").unwrap_or(false),
            // Whoever sets it to anything wants something of the kind.
            skip_client_configure: read
                .switch("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE")
                .unwrap_or(true),
            ..Self::default()
        }
    }

    /// Reads every `SSM_PLUGIN_*` variable.
    ///
    /// # Errors
    /// The first value that cannot be used: the text names its variable and says what is allowed. A variable that [`Environment::check`]
    /// refuses is an error too.
    pub fn from_environment(environment: &Environment) -> Result<Self, Error> {
        environment.check()?;
        let read = Reader(environment);
        let default = Self::default();
        Ok(Self {
            skip_client_configure: read.switch("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE")?,
            local_host: read.value(
                "SSM_PLUGIN_LOCAL_HOST",
                "an address of this machine or a name for one, without a port",
                local_host,
            )?,
            stream_endpoint: read.value(
                "SSM_PLUGIN_STREAM_ENDPOINT",
                "host or host:port",
                HostPort::parse,
            )?,
            allow_stream_host: read
                .value(
                    "SSM_PLUGIN_ALLOW_STREAM_HOST",
                    "a list of host or host:port, separated by commas",
                    host_list,
                )?
                .unwrap_or_default(),
            payload_size: read
                .value(
                    "SSM_PLUGIN_PAYLOAD_SIZE",
                    "a number of bytes from 1 to 32768",
                    payload_size,
                )?
                .unwrap_or(default.payload_size),
            quiet: read.switch("SSM_PLUGIN_QUIET")?,
            require_encryption: read.switch("SSM_PLUGIN_REQUIRE_ENCRYPTION")?,
            propagate_exit_code: read.switch("SSM_PLUGIN_PROPAGATE_EXIT_CODE")?,
            parent: read.value(PARENT_VARIABLE, "the number of a process", process)?,
            escape: read
                .value(
                    "SSM_PLUGIN_ESCAPE",
                    "one ASCII character that is no white space, or none",
                    escape,
                )?
                .unwrap_or(default.escape),
            log: read
                .value(
                    "SSM_PLUGIN_LOG",
                    "error, warn, info, debug, trace or off",
                    |text| text.parse().ok(),
                )?
                .unwrap_or(default.log),
            log_file: environment.path("SSM_PLUGIN_LOG_FILE"),
        })
    }
}

/// Reads variables, and says what is wrong with one.
struct Reader<'a>(&'a Environment);

impl Reader<'_> {
    fn value<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Start(format!(
                "{name} is {text:?}, which cannot be used: it must be {allowed}"
            ))),
        }
    }

    fn switch(&self, name: &str) -> Result<bool, Error> {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(true),
            "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        };
        let value = self.value(name, "1 or true, 0 or false", parse)?;
        Ok(value.unwrap_or(false))
    }
}

fn local_host(text: &str) -> Option<String> {
    let host = HostPort::parse(text)?;
    host.port.is_none().then_some(host.host)
}

fn host_list(text: &str) -> Option<Vec<HostPort>> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(HostPort::parse)
        .collect()
}

fn payload_size(text: &str) -> Option<usize> {
    text.parse()
        .ok()
        .filter(|size| (1..=MAXIMUM_PAYLOAD_SIZE).contains(size))
}

fn process(text: &str) -> Option<Pid> {
    let number = text.parse().ok().filter(|number| *number > 0)?;
    Pid::from_raw(number)
}

fn escape(text: &str) -> Option<Option<u8>> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(Some(*byte)),
        _ if text.eq_ignore_ascii_case("none") => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<const N: usize>(variables: [(&str, &str); N]) -> Result<Settings, Error> {
        Settings::from_environment(&Environment::from(variables))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(settings([]), Ok(Settings::default()));
        assert_eq!(
            settings([("SSM_PLUGIN_QUIET", ""), ("SSM_PLUGIN_PAYLOAD_SIZE", "")]),
            Ok(Settings::default())
        );
    }

    #[test]
    fn every_variable_is_read() {
        let all = settings([
            ("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "true"),
            ("SSM_PLUGIN_LOCAL_HOST", "0.0.0.0"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "Vpce-1.example.com:8443"),
            (
                "SSM_PLUGIN_ALLOW_STREAM_HOST",
                "localhost:9000, gateway.example.com,[::1]:80",
            ),
            ("SSM_PLUGIN_PAYLOAD_SIZE", "32768"),
            ("SSM_PLUGIN_QUIET", "1"),
            ("SSM_PLUGIN_PROPAGATE_EXIT_CODE", "yes"),
            ("SSM_PLUGIN_REQUIRE_ENCRYPTION", "1"),
            ("SSM_PLUGIN_PARENT", "7"),
            ("SSM_PLUGIN_ESCAPE", "%"),
            ("SSM_PLUGIN_LOG", "Debug"),
            ("SSM_PLUGIN_LOG_FILE", "/var/log/plugin.log"),
        ]);
        let host = |host: &str, port| HostPort {
            host: host.to_owned(),
            port,
        };
        assert_eq!(
            all,
            Ok(Settings {
                skip_client_configure: true,
                local_host: Some("0.0.0.0".to_owned()),
                stream_endpoint: Some(host("vpce-1.example.com", Some(8443))),
                allow_stream_host: vec![
                    host("localhost", Some(9000)),
                    host("gateway.example.com", None),
                    host("::1", Some(80)),
                ],
                payload_size: 32768,
                quiet: true,
                require_encryption: true,
                propagate_exit_code: true,
                parent: Pid::from_raw(7),
                escape: Some(b'%'),
                log: LevelFilter::Debug,
                log_file: Some(PathBuf::from("/var/log/plugin.log")),
            })
        );
    }

    #[test]
    fn an_unusable_value_is_an_error_that_names_the_variable() {
        for (name, value) in [
            ("SSM_PLUGIN_SKIP_CLIENT_CONFIGURE", "maybe"),
            ("SSM_PLUGIN_LOCAL_HOST", "127.0.0.1:80"),
            ("SSM_PLUGIN_LOCAL_HOST", "two words"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "https://host"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "host:0"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "host:65536"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "host:+80"),
            ("SSM_PLUGIN_STREAM_ENDPOINT", "[::1"),
            ("SSM_PLUGIN_ALLOW_STREAM_HOST", "good.example.com,bad/path"),
            ("SSM_PLUGIN_PAYLOAD_SIZE", "0"),
            ("SSM_PLUGIN_PAYLOAD_SIZE", "32769"),
            ("SSM_PLUGIN_PAYLOAD_SIZE", "-1"),
            ("SSM_PLUGIN_PAYLOAD_SIZE", "1k"),
            ("SSM_PLUGIN_QUIET", "2"),
            ("SSM_PLUGIN_PROPAGATE_EXIT_CODE", "oui"),
            ("SSM_PLUGIN_REQUIRE_ENCRYPTION", "maybe"),
            ("SSM_PLUGIN_PARENT", "0"),
            ("SSM_PLUGIN_PARENT", "-1"),
            ("SSM_PLUGIN_PARENT", "init"),
            ("SSM_PLUGIN_ESCAPE", "~~"),
            ("SSM_PLUGIN_ESCAPE", "é"),
            ("SSM_PLUGIN_LOG", "verbose"),
        ] {
            let error = settings([(name, value)]).expect_err(value);
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("must be"), "{text}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn the_escape_can_be_turned_off() {
        let off = settings([("SSM_PLUGIN_ESCAPE", "none")]).expect("a good value");
        assert_eq!(off.escape, None);
    }
}
