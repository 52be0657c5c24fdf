//! The APIs over HTTP: SSM, KMS, ECS, EC2, EC2 Instance Connect, STS, SSO, and the metadata services of containers and instances. One port
//! for all.

mod credentials;
mod documents;
mod ecs;
mod instance_connect;
mod kms;
mod nodes;
mod run_command;
mod ssm;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::config::Check;
use crate::gateway::Socket;
use crate::http::{Request, Response, pairs, read_request};
use crate::record::Event;
use crate::sandbox::Shared;
use crate::signature::{self, Denied};
use crate::threads::{lock, reset};

pub(crate) use credentials::Issued;
pub(crate) use instance_connect::Pushed;

/// What goes wrong with an API call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An error of AWS.
    Error {
        /// 400, 403, 500, …
        status: u16,
        /// `AccessDeniedException`, …
        code: String,
        /// In words.
        message: String,
    },
    /// ResumeSession and StartSession answer without a token.
    NoToken,
    /// No answer ever.
    Hang,
    /// The connection is reset after the request was read.
    Reset,
    /// Bytes that are no HTTP.
    Malformed,
}

impl Failure {
    /// An error of AWS.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Error {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    /// Too many requests.
    pub fn throttled() -> Self {
        Self::error(400, "ThrottlingException", "Rate exceeded")
    }

    /// Something broke inside of AWS.
    pub fn internal() -> Self {
        Self::error(500, "InternalServerError", "Internal server error")
    }

    /// A denial as AWS words it.
    pub fn access_denied() -> Self {
        Self::error(
            400,
            "AccessDeniedException",
            "User: arn:aws:iam::111122223333:user/sandbox is not authorized to perform this action",
        )
    }
}

/// An error as an operation returns it: status, code, text.
pub(crate) struct ApiError {
    status: u16,
    code: String,
    message: String,
}

impl ApiError {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: code.into(),
            message: message.into(),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self {
            status: 403,
            ..Self::new(denied.code, denied.message)
        }
    }
}

type Answer = Result<Value, ApiError>;

/// Starts to listen.
pub(crate) fn start(shared: &Arc<Shared>) -> std::io::Result<SocketAddr> {
    let weak = Arc::downgrade(shared);
    shared.threads.listen("api", move |socket| {
        if let Some(shared) = weak.upgrade() {
            serve(socket, &shared);
        }
    })
}

fn serve(socket: TcpStream, shared: &Arc<Shared>) {
    let Ok(_watch) = shared.threads.watch(&socket) else {
        return;
    };
    let mut socket = if shared.config.api_tls {
        match shared.certificates.acceptor().accept(socket) {
            Ok(stream) => Socket::Tls(Box::new(stream)),
            Err(_) => return,
        }
    } else {
        Socket::Plain(socket)
    };
    let Ok(Some((request, _))) = read_request(&mut socket) else {
        return;
    };
    let operation = operation(&request, &shared.config.secrets.metadata);
    let failure = shared.take_failure(&operation);
    let signed = signature::verify(&request, service(&operation), shared);
    let response = match &failure {
        Some(Failure::Hang) => {
            wait_for_the_end(shared);
            return;
        }
        Some(Failure::Reset) => {
            reset(socket.tcp());
            return;
        }
        Some(Failure::Malformed) => {
            let _ = socket.write_all(b"\x00\xff this is no HTTP at all\r\n\r\n");
            return;
        }
        Some(Failure::Error {
            status,
            code,
            message,
        }) => error(
            &operation,
            &ApiError {
                status: *status,
                code: code.clone(),
                message: message.clone(),
            },
        ),
        Some(Failure::NoToken) | None => {
            respond(&request, &operation, &signed, failure.is_some(), shared)
        }
    };
    shared.hold_answer(&operation);
    note(&request, operation, signed, &response, shared);
    let mut response = response;
    response
        .headers
        .push(("Date".into(), http_date(shared.now())));
    let _ = response.write(&mut socket);
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: from it a client learns how wrong its clock is.
pub(crate) fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let day = usize::try_from(seconds / 86_400 % 7).unwrap_or(0);
    let compact = session_manager_plugin::internals::aws::time::compact(time);
    let month = compact[4..6].parse::<usize>().unwrap_or(1) - 1;
    format!(
        "{}, {} {} {} {}:{}:{} GMT",
        DAYS[day],
        &compact[6..8],
        MONTHS[month],
        &compact[..4],
        &compact[9..11],
        &compact[11..13],
        &compact[13..15]
    )
}

fn wait_for_the_end(shared: &Shared) {
    let (sender, receiver) = mpsc::channel();
    let _hook = shared.threads.on_stop(move || {
        let _ = sender.send(());
    });
    let _ = receiver.recv();
}

/// What a request is about: `ssm:StartSession`, `sts:AssumeRole`, `imds:PUT /latest/api/token`, …
fn operation(request: &Request, metadata: &str) -> String {
    if let Some(target) = request.header("x-amz-target") {
        let (service, name) = target.split_once('.').unwrap_or(("", target));
        let service = match service {
            "AmazonSSM" => "ssm",
            "TrentService" => "kms",
            "AmazonEC2ContainerServiceV20141113" => "ecs",
            "AWSEC2InstanceConnectService" => "ec2-instance-connect",
            other => other,
        };
        return format!("{service}:{name}");
    }
    let path = request.path();
    if request.method == "POST" && path == "/" {
        let body = String::from_utf8_lossy(&request.body);
        let form = pairs(&body);
        let field = |name: &str| {
            form.iter()
                .find_map(|(key, value)| (key == name).then_some(value.as_str()))
        };
        // The two services with the query protocol are told apart by their versions.
        let service = if field("Version").is_some_and(|version| version.starts_with("2016-11-15")) {
            "ec2"
        } else {
            "sts"
        };
        return format!("{service}:{}", field("Action").unwrap_or_default());
    }
    let path = path.strip_prefix(metadata).unwrap_or(path);
    match path {
        "/token" => "oidc:CreateToken".into(),
        "/federation/credentials" => "sso:GetRoleCredentials".into(),
        _ if path.starts_with("/latest/") => format!("imds:{} {path}", request.method),
        _ => format!("container:{} {path}", request.method),
    }
}

fn service(operation: &str) -> &str {
    operation.split(':').next().unwrap_or_default()
}

fn respond(
    request: &Request,
    operation: &str,
    signed: &Result<Option<String>, Denied>,
    no_token: bool,
    shared: &Arc<Shared>,
) -> Response {
    let needs_signature = match service(operation) {
        "ssm" | "kms" | "ecs" | "ec2" | "ec2-instance-connect" => true,
        "sts" => operation != "sts:AssumeRoleWithWebIdentity",
        _ => return credentials::respond(request, operation, shared),
    };
    if needs_signature && shared.config.api_signatures != Check::Off {
        match signed {
            Err(denied) => return error(operation, &denied.clone().into()),
            Ok(None) if shared.config.api_signatures == Check::Required => {
                let missing = Denied {
                    code: "MissingAuthenticationTokenException",
                    message: "Request is missing Authentication Token".into(),
                };
                return error(operation, &missing.into());
            }
            Ok(_) => {}
        }
    }
    if service(operation) == "sts" {
        return credentials::sts(request, operation, shared);
    }
    if operation == "ec2:DescribeInstances" {
        let body = String::from_utf8_lossy(&request.body);
        return nodes::describe_instances(&pairs(&body), shared)
            .unwrap_or_else(|failed| error(operation, &failed));
    }
    let input: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let answer = match operation {
        "ssm:StartSession" => ssm::start(&input, no_token, shared),
        "ssm:ResumeSession" => ssm::resume(&input, no_token, shared),
        "ssm:TerminateSession" => ssm::terminate(&input, shared),
        "ssm:DescribeSessions" => ssm::describe(&input, shared),
        "kms:GenerateDataKey" => kms::generate(&input, shared),
        "kms:Decrypt" => kms::decrypt(&input, shared),
        "ecs:ExecuteCommand" => ecs::execute(&input, shared),
        "ecs:DescribeTasks" => Ok(ecs::describe(&input, shared)),
        "ecs:ListTasks" => ecs::list(&input, shared),
        "ssm:DescribeInstanceInformation" => nodes::describe_information(&input, shared),
        "ssm:SendCommand" => run_command::send(&input, shared),
        "ssm:ListCommands" => run_command::list(&input, shared),
        "ssm:ListCommandInvocations" => run_command::list_invocations(&input, shared),
        "ssm:GetCommandInvocation" => run_command::get_invocation(&input, shared),
        "ssm:CancelCommand" => run_command::cancel(&input, shared),
        "ec2-instance-connect:SendSSHPublicKey" => instance_connect::send(&input, shared),
        _ => Err(ApiError::new(
            "UnknownOperationException",
            "Unknown operation",
        )),
    };
    match answer {
        Ok(value) => Response::json(200, &value),
        Err(failed) => error(operation, &failed),
    }
}

/// An error in the form that the service uses.
fn error(operation: &str, failed: &ApiError) -> Response {
    match service(operation) {
        "sts" => credentials::sts_error(failed),
        "ec2" => nodes::ec2_error(failed),
        "oidc" => Response::json(
            failed.status,
            &json!({ "error": failed.code, "error_description": failed.message }),
        ),
        "sso" | "container" | "imds" => {
            let mut response = Response::json(failed.status, &json!({ "message": failed.message }));
            let kind = ("x-amzn-ErrorType".to_owned(), failed.code.clone());
            response.headers.push(kind);
            response
        }
        _ => Response::json(
            failed.status,
            &json!({ "__type": failed.code, "message": failed.message }),
        ),
    }
}

fn note(
    request: &Request,
    operation: String,
    signed: Result<Option<String>, Denied>,
    response: &Response,
    shared: &Shared,
) {
    let body = serde_json::from_slice(&request.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&request.body).into_owned()));
    let code = || {
        let body: Value = serde_json::from_slice(&response.body).ok()?;
        let code = body.get("__type").or_else(|| body.get("error"))?;
        Some(code.as_str()?.to_owned())
    };
    shared.journal.note(Event::Api {
        operation,
        target: request.target.clone(),
        request: body,
        headers: request
            .headers
            .iter()
            .map(|(key, value)| (key.to_ascii_lowercase(), value.clone()))
            .collect(),
        signed_by: signed.ok().flatten(),
        status: response.status,
        error: (response.status >= 400).then(|| code().unwrap_or_default()),
    });
}

impl Shared {
    /// What the next call of an operation fails with, if anything.
    fn take_failure(&self, operation: &str) -> Option<Failure> {
        let mut failures = lock(&self.failures);
        let name = operation.split(':').nth(1).unwrap_or_default();
        let index = failures
            .iter()
            .position(|(wanted, _)| wanted == operation || wanted == name)?;
        failures.remove(index).map(|(_, failure)| failure)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_are_written_as_http_wants_them() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(super::http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
