//! Documents: names and parameters of StartSession, and what session they make.

use serde_json::{Value, json};

use super::ApiError;
use crate::config::Document;

/// The session that a StartSession asks for.
pub(super) fn document(input: &Value) -> Result<Document, ApiError> {
    let name = input.get("DocumentName").and_then(Value::as_str);
    let parameters = Parameters(input.get("Parameters").unwrap_or(&Value::Null));
    Ok(match name.unwrap_or("SSM-SessionManagerRunShell") {
        "SSM-SessionManagerRunShell" => Document::Shell,
        "AWS-StartInteractiveCommand" => Document::Interactive {
            command: parameters.required("command")?,
        },
        "AWS-StartNonInteractiveCommand" => Document::NonInteractive {
            command: parameters.required("command")?,
            separate_output: parameters
                .text("separateOutputStream")
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
            stdout_prefix: parameters.text("stdoutSeparatorPrefix").unwrap_or_default(),
            stderr_prefix: parameters.text("stderrSeparatorPrefix").unwrap_or_default(),
        },
        "AWS-StartSSHSession" => Document::Ssh {
            port: parameters.number("portNumber", 22)?,
        },
        "AWS-StartPortForwardingSession" | "AWS-StartPortForwardingSessionToRemoteHost" => {
            Document::Port {
                port: parameters.number("portNumber", 80)?,
                local_port: parameters.number("localPortNumber", 0)?,
                host: parameters.text("host"),
            }
        }
        "AWS-StartPortForwardingSessionToSocket" => Document::Other {
            session_type: "Port".into(),
            properties: json!({
                "portNumber": parameters.number("portNumber", 80)?.to_string(),
                "localConnectionType": "unix",
                "localUnixSocket": parameters.required("localUnixSocket")?,
                "type": "LocalPortForwarding",
            }),
        },
        other => {
            return Err(ApiError::new(
                "InvalidDocument",
                format!("Document with name {other} does not exist."),
            ));
        }
    })
}

/// `{"name": ["value"]}`.
struct Parameters<'a>(&'a Value);

impl Parameters<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(name)?;
        let first = value.get(0).unwrap_or(value);
        first.as_str().map(str::to_owned)
    }

    fn required(&self, name: &str) -> Result<String, ApiError> {
        self.text(name).ok_or_else(|| {
            ApiError::new(
                "InvalidParameters",
                format!("Parameter \"{name}\" requires a value."),
            )
        })
    }

    fn number(&self, name: &str, default: u16) -> Result<u16, ApiError> {
        self.text(name).map_or(Ok(default), |text| {
            text.parse().map_err(|_| {
                ApiError::new(
                    "InvalidParameters",
                    format!("Parameter \"{name}\" has an invalid value: {text}"),
                )
            })
        })
    }
}
