//! Where credentials come from: STS, SSO and its tokens, containers, instances.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiError, error};
use crate::credentials::Credentials;
use crate::http::{Request, Response, pairs};
use crate::sandbox::{Sandbox, Shared};
use crate::threads::lock;

/// Temporary credentials that were given out.
pub(crate) struct Issued {
    pub(crate) credentials: Credentials,
    pub(crate) expires: Instant,
}

/// The path of container credentials that need no token.
const CONTAINER_PATH: &str = "/container-credentials";
/// The path of container credentials that need one.
const CONTAINER_TOKEN_PATH: &str = "/container-credentials-with-token";
/// The role of the instance.
const INSTANCE_ROLE: &str = "sandbox-role";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// New temporary credentials, and when they expire.
fn issue(shared: &Shared) -> (Credentials, SystemTime) {
    let lifetime = shared.config.issued_lifetime;
    let random = Uuid::new_v4().simple().to_string();
    let credentials = Credentials {
        access_key_id: format!("ASIA{}", random[..16].to_uppercase()),
        secret_access_key: format!("sandbox-secret-{random}"),
        session_token: Some(format!("sandbox-session-token-{random}==")),
    };
    lock(&shared.issued).push(Issued {
        credentials: credentials.clone(),
        expires: Instant::now() + lifetime,
    });
    (credentials, SystemTime::now() + lifetime)
}

/// `2026-11-22T14:00:00Z`.
fn rfc3339(time: SystemTime) -> String {
    let compact = session_manager_plugin::internals::aws::time::compact(time);
    let (date, clock) = compact.split_at(8);
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[1..3],
        &clock[3..5],
        &clock[5..7]
    )
}

fn milliseconds(time: SystemTime) -> u64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity.
pub(super) fn sts(request: &Request, operation: &str, shared: &Shared) -> Response {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let form = pairs(&body);
    let field = |name: &str| {
        form.iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    };
    let action = operation.trim_start_matches("sts:");
    if action == "GetCallerIdentity" {
        return xml(
            200,
            "GetCallerIdentityResponse",
            "<GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:user/sandbox</Arn><UserId>AIDASANDBOX</UserId><Account>\
             111122223333</Account></GetCallerIdentityResult>",
        );
    }
    if !matches!(action, "AssumeRole" | "AssumeRoleWithWebIdentity") {
        return sts_error(&ApiError::new("InvalidAction", "Could not find operation"));
    }
    let (Some(role), Some(session)) = (field("RoleArn"), field("RoleSessionName")) else {
        return sts_error(&ApiError::new(
            "ValidationError",
            "RoleArn and RoleSessionName must not be null",
        ));
    };
    if role.contains("denied") {
        return sts_error(&ApiError {
            status: 403,
            ..ApiError::new(
                "AccessDenied",
                format!(
                    "User: arn:aws:iam::111122223333:user/sandbox is not authorized to perform: sts:{action} on resource: {role}"
                ),
            )
        });
    }
    if action == "AssumeRoleWithWebIdentity"
        && field("WebIdentityToken") != Some(&shared.config.secrets.web_identity_token)
    {
        return sts_error(&ApiError::new(
            "InvalidIdentityToken",
            "The web identity token is not valid",
        ));
    }
    let (credentials, expires) = issue(shared);
    let result = format!(
        "<{action}Result><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{}</Expiration></Credentials><AssumedRoleUser><Arn>{role}/{session}</Arn><AssumedRoleId>\
         AROASANDBOX:{session}</AssumedRoleId></AssumedRoleUser></{action}Result>",
        credentials.access_key_id,
        credentials.secret_access_key,
        credentials.session_token.unwrap_or_default(),
        rfc3339(expires),
    );
    xml(200, &format!("{action}Response"), &result)
}

fn xml(status: u16, root: &str, content: &str) -> Response {
    let request = Uuid::new_v4();
    let body = format!(
        "<{root} xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{content}<ResponseMetadata><RequestId>{request}</RequestId>\
         </ResponseMetadata></{root}>"
    );
    Response::new(status, "text/xml", body)
}

/// An error as STS words it, which differs from the JSON APIs.
pub(super) fn sts_error(failed: &ApiError) -> Response {
    let code = match failed.code.as_str() {
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "ExpiredTokenException" => "ExpiredToken",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        "ThrottlingException" => "Throttling",
        other => other,
    };
    let content = format!(
        "<Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>",
        failed.message.replace('&', "&amp;").replace('<', "&lt;")
    );
    xml(failed.status, "ErrorResponse", &content)
}

/// All that is neither signed nor STS.
pub(super) fn respond(request: &Request, operation: &str, shared: &Shared) -> Response {
    let answer = match operation {
        "sso:GetRoleCredentials" => role_credentials(request, shared),
        "oidc:CreateToken" => create_token(request, shared),
        _ if operation.starts_with("imds:") => return instance(request, shared),
        _ => container(request, shared),
    };
    match answer {
        Ok(value) => Response::new(200, "application/json", value.to_string()),
        Err(failed) => error(operation, &failed),
    }
}

fn status(status: u16, code: &str, message: &str) -> ApiError {
    ApiError {
        status,
        ..ApiError::new(code, message)
    }
}

fn role_credentials(request: &Request, shared: &Shared) -> Result<Value, ApiError> {
    let token = request.header("x-amz-sso_bearer_token").unwrap_or_default();
    let secrets = &shared.config.secrets;
    if token != secrets.sso_access_token && token != secrets.sso_new_access_token {
        return Err(status(
            401,
            "UnauthorizedException",
            "Session token not found or invalid",
        ));
    }
    if request.query_value("role_name").is_none() || request.query_value("account_id").is_none() {
        return Err(status(400, "InvalidRequestException", "No role or account"));
    }
    let (credentials, expires) = issue(shared);
    Ok(json!({ "roleCredentials": {
        "accessKeyId": credentials.access_key_id,
        "secretAccessKey": credentials.secret_access_key,
        "sessionToken": credentials.session_token,
        "expiration": milliseconds(expires),
    }}))
}

fn create_token(request: &Request, shared: &Shared) -> Result<Value, ApiError> {
    let secrets = &shared.config.secrets;
    let input: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let is = |name: &str, wanted: &str| input.get(name).and_then(Value::as_str) == Some(wanted);
    if !is("grantType", "refresh_token") {
        return Err(ApiError::new(
            "unsupported_grant_type",
            "Only refresh_token is known here",
        ));
    }
    if !is("refreshToken", &secrets.sso_refresh_token) {
        return Err(ApiError::new(
            "invalid_grant",
            "Invalid refresh token provided",
        ));
    }
    Ok(json!({
        "accessToken": secrets.sso_new_access_token,
        "refreshToken": secrets.sso_refresh_token,
        "expiresIn": 3600,
        "tokenType": "Bearer",
    }))
}

fn of_metadata(shared: &Shared) -> Value {
    let (credentials, expires) = issue(shared);
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": rfc3339(SystemTime::now()),
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": rfc3339(expires),
        "RoleArn": "arn:aws:iam::111122223333:role/sandbox-role",
    })
}

/// The path of a metadata service behind the secret, if the request has the right one.
fn metadata_path<'a>(request: &'a Request, shared: &Shared) -> &'a str {
    let path = request.path().strip_prefix(&shared.config.secrets.metadata);
    path.unwrap_or_default()
}

fn container(request: &Request, shared: &Shared) -> Result<Value, ApiError> {
    let token = &shared.config.secrets.container_token;
    match metadata_path(request, shared) {
        CONTAINER_PATH => Ok(of_metadata(shared)),
        CONTAINER_TOKEN_PATH if request.header("authorization") == Some(token) => {
            Ok(of_metadata(shared))
        }
        CONTAINER_TOKEN_PATH => Err(status(401, "Unauthorized", "wrong token")),
        _ => Err(status(404, "NotFound", "nothing here")),
    }
}

fn instance(request: &Request, shared: &Shared) -> Response {
    let text = |status, text: &str| Response::new(status, "text/plain", text);
    let token = &shared.config.secrets.instance_token;
    let path = metadata_path(request, shared);
    if path == "/latest/api/token" {
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        return match (request.method.as_str(), ttl) {
            ("PUT", Some(_)) => text(200, token),
            ("PUT", None) => text(400, "no ttl"),
            _ => text(405, ""),
        };
    }
    if request.header("x-aws-ec2-metadata-token") != Some(token) {
        return text(401, "");
    }
    match path {
        path if path.trim_end_matches('/') == ROLES.trim_end_matches('/') => {
            text(200, INSTANCE_ROLE)
        }
        path if path.strip_prefix(ROLES) == Some(INSTANCE_ROLE) => {
            text(200, &of_metadata(shared).to_string())
        }
        "/latest/meta-data/placement/region" => text(200, &shared.config.region),
        _ => text(404, ""),
    }
}

impl Sandbox {
    /// Where a container finds credentials: `AWS_CONTAINER_CREDENTIALS_FULL_URI`. With [`Secrets::container_token`] or without.
    ///
    /// [`Secrets::container_token`]: crate::Secrets::container_token
    pub fn container_url(&self, with_token: bool) -> String {
        let path = if with_token {
            CONTAINER_TOKEN_PATH
        } else {
            CONTAINER_PATH
        };
        format!("{}{path}", self.metadata_url())
    }

    /// Where an instance finds its metadata: `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.api_url(), self.secrets().metadata)
    }
}
