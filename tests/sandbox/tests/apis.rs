//! The APIs and proxies, with requests written by hand and with the project's own signatures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use sandbox::{
    Check, Config, Document, Event, Failure, ProxyBehaviour, ProxyConfig, ProxyKind, Sandbox,
};
use session_manager_plugin::internals::aws::{sigv4, time};

fn sandbox(config: Config) -> Sandbox {
    Sandbox::start(config).unwrap()
}

fn required() -> Config {
    Config {
        api_signatures: Check::Required,
        ..Config::default()
    }
}

fn host(sandbox: &Sandbox) -> String {
    sandbox.api_url().replace("http://", "")
}

/// Status and everything else of the answer.
fn ask(sandbox: &Sandbox, head: &str, body: &str) -> (u16, String) {
    let host = host(sandbox);
    let mut socket = TcpStream::connect(&host).unwrap();
    let request = format!(
        "{head}\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

fn call(sandbox: &Sandbox, target: &str, body: &str) -> (u16, String) {
    ask(
        sandbox,
        &format!("POST / HTTP/1.1\r\nX-Amz-Target: {target}"),
        body,
    )
}

/// A call signed by the first key, at a time.
fn signed(sandbox: &Sandbox, secret: &str, at: SystemTime) -> (u16, String) {
    let body = r#"{"Target":"i-0123456789abcdef0"}"#;
    let moment = time::compact(at);
    let host = host(sandbox);
    let headers = [("host", host.as_str()), ("x-amz-date", moment.as_str())];
    let request = sigv4::SignableRequest {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        payload_hash: &sigv4::payload_hash(body.as_bytes()),
    };
    let scope = sigv4::Scope {
        date: &moment[..8],
        region: "eu-central-1",
        service: "ssm",
    };
    let text = sigv4::string_to_sign(&moment, &scope, &request.canonical());
    let signature = sigv4::signature(secret, &scope, &text);
    let head = format!(
        "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSSM.StartSession\r\nX-Amz-Date: {moment}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}",
        sandbox.credentials().access_key_id
    );
    ask(sandbox, &head, body)
}

#[test]
fn signatures_are_checked_as_aws_does() {
    let sandbox = sandbox(required());
    let secret = sandbox.credentials().secret_access_key.clone();
    let now = SystemTime::now();
    assert_eq!(signed(&sandbox, &secret, now).0, 200);
    let (status, answer) = signed(&sandbox, "wrong", now);
    assert_eq!(status, 403);
    assert!(answer.contains("InvalidSignatureException"), "{answer}");
    let (status, answer) = signed(&sandbox, &secret, now - Duration::from_secs(600));
    assert_eq!(status, 403);
    assert!(answer.contains("Signature expired: "), "{answer}");
    assert!(answer.contains("Date: "), "{answer}");
    let (status, answer) = call(&sandbox, "AmazonSSM.StartSession", "{}");
    assert_eq!(status, 403);
    assert!(
        answer.contains("MissingAuthenticationTokenException"),
        "{answer}"
    );
}

#[test]
fn a_skewed_server_takes_signatures_of_its_own_time_only() {
    let ahead = Duration::from_secs(3600);
    let sandbox = sandbox(Config {
        clock_skew: Some((true, ahead)),
        ..required()
    });
    let secret = sandbox.credentials().secret_access_key.clone();
    assert_eq!(signed(&sandbox, &secret, SystemTime::now()).0, 403);
    assert_eq!(signed(&sandbox, &secret, SystemTime::now() + ahead).0, 200);
}

#[test]
fn sessions_are_started_resumed_and_terminated() {
    let sandbox = sandbox(Config {
        api_signatures: Check::IfPresent,
        ..Config::default()
    });
    let body = concat!(
        r#"{"Target":"i-1","DocumentName":"AWS-StartPortForwardingSession","Parameters":{"portNumber":["22"],"#,
        r#""localPortNumber":["2222"]}}"#,
    );
    let (status, answer) = call(&sandbox, "AmazonSSM.StartSession", body);
    assert_eq!(status, 200, "{answer}");
    let json: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let id = json["SessionId"].as_str().unwrap();
    let session = sandbox.session(id).unwrap();
    assert_eq!(
        session.config().document,
        Document::Port {
            port: 22,
            local_port: 2222,
            host: None
        }
    );
    let body = format!(r#"{{"SessionId":"{id}"}}"#);
    sandbox.fail_next("ResumeSession", 2, Failure::throttled());
    sandbox.fail_next("ssm:ResumeSession", 1, Failure::NoToken);
    for _ in 0..2 {
        let (status, answer) = call(&sandbox, "AmazonSSM.ResumeSession", &body);
        assert_eq!(status, 400);
        assert!(answer.contains("ThrottlingException"), "{answer}");
    }
    let (_, answer) = call(&sandbox, "AmazonSSM.ResumeSession", &body);
    assert!(!answer.contains("TokenValue"), "{answer}");
    let (_, answer) = call(&sandbox, "AmazonSSM.ResumeSession", &body);
    assert!(answer.contains("TokenValue"), "{answer}");
    assert_eq!(call(&sandbox, "AmazonSSM.TerminateSession", &body).0, 200);
    let (_, answer) = call(&sandbox, "AmazonSSM.ResumeSession", &body);
    assert!(answer.contains("DoesNotExistException"), "{answer}");
}

#[test]
fn credentials_of_all_sources() {
    let sandbox = sandbox(Config::default());
    let get = |head: &str| ask(&sandbox, head, "");
    let path = |url: String| url.replace(&sandbox.api_url(), "");
    let (open, with_token) = (
        path(sandbox.container_url(false)),
        path(sandbox.container_url(true)),
    );
    let (status, answer) = get(&format!("GET {open} HTTP/1.1"));
    assert!(status == 200 && answer.contains("AccessKeyId"), "{answer}");
    assert_eq!(get(&format!("GET {with_token} HTTP/1.1")).0, 401);
    let with_token = format!(
        "GET {with_token} HTTP/1.1\r\nAuthorization: {}",
        sandbox.secrets().container_token
    );
    assert_eq!(get(&with_token).0, 200);
    let metadata = path(sandbox.metadata_url());
    let wanted = "X-aws-ec2-metadata-token-ttl-seconds: 60";
    let token = get(&format!(
        "PUT {metadata}/latest/api/token HTTP/1.1\r\n{wanted}"
    ))
    .1;
    let token = token.split("\r\n\r\n").nth(1).unwrap();
    let role = format!("{metadata}/latest/meta-data/iam/security-credentials/sandbox-role");
    assert_eq!(get(&format!("GET {role} HTTP/1.1")).0, 401);
    let (status, answer) = get(&format!(
        "GET {role} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}"
    ));
    assert!(
        status == 200 && answer.contains("\"Code\":\"Success\""),
        "{answer}"
    );
    let federation = "GET /federation/credentials?role_name=r&account_id=1 HTTP/1.1";
    assert_eq!(get(federation).0, 401);
    let (status, answer) = get(&format!(
        "{federation}\r\nx-amz-sso_bearer_token: {}",
        sandbox.secrets().sso_access_token
    ));
    assert!(
        status == 200 && answer.contains("roleCredentials"),
        "{answer}"
    );
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=ab&WebIdentityToken={}",
        sandbox.secrets().web_identity_token
    );
    let (status, answer) = ask(&sandbox, "POST / HTTP/1.1", &body);
    assert!(
        status == 200 && answer.contains("<SessionToken>"),
        "{answer}"
    );
}

#[test]
fn p102_who_knows_no_secret_of_this_run_gets_no_session_and_no_credentials() {
    let [sandbox, other] = [sandbox(Config::default()), sandbox(Config::default())];
    assert_ne!(sandbox.credentials(), other.credentials());
    assert_ne!(sandbox.secrets(), other.secrets());
    let body = r#"{"Target":"i-0123456789abcdef0"}"#;
    assert_eq!(call(&sandbox, "AmazonSSM.StartSession", body).0, 403);
    assert_eq!(
        call(
            &sandbox,
            "AmazonEC2ContainerServiceV20141113.ExecuteCommand",
            "{}"
        )
        .0,
        403
    );
    let foreign = &other.credentials().secret_access_key;
    assert_eq!(signed(&sandbox, foreign, SystemTime::now()).0, 403);
    let path = |url: String| url.replace(&other.api_url(), "");
    for path in [
        "/container-credentials".to_owned(),
        path(other.container_url(false)),
        "/latest/meta-data/iam/security-credentials/sandbox-role".to_owned(),
        path(other.metadata_url()) + "/latest/api/token",
    ] {
        for method in ["GET", "PUT"] {
            let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60";
            let (status, answer) = ask(&sandbox, &format!("{method} {path} HTTP/1.1\r\n{ttl}"), "");
            assert!((400..500).contains(&status), "{method} {path}: {answer}");
        }
    }
}

#[test]
fn p102_the_program_wants_signatures_and_keeps_its_secrets_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (variables, log) = (folder.path().join("env"), folder.path().join("log"));
    std::fs::write(&variables, "").unwrap();
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["--quiet", "--env"])
        .arg(&variables)
        .arg("--log")
        .arg(&log)
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let exports = loop {
        let exports = std::fs::read_to_string(&variables).unwrap();
        if exports.ends_with("'\n") && exports.contains("AWS_SECRET_ACCESS_KEY=") {
            break exports;
        }
        assert!(std::time::Instant::now() < deadline, "{exports}");
        std::thread::sleep(Duration::from_millis(5));
    };
    for file in [&variables, &log] {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    let url = exports
        .split("AWS_ENDPOINT_URL='http://")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .unwrap();
    let mut socket = TcpStream::connect(url.trim_end_matches('/')).unwrap();
    socket
        .write_all(b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSSM.StartSession\r\nContent-Length: 18\r\n\r\n{\"Target\": \"i-12\"}")
        .unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

/// The answer to CONNECT.
fn connect(proxy: SocketAddr, destination: &str, login: Option<&str>) -> (u16, TcpStream) {
    let mut socket = TcpStream::connect(proxy).unwrap();
    let login = login.map_or(String::new(), |login| {
        format!("Proxy-Authorization: Basic {login}\r\n")
    });
    let request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{login}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), socket)
}

#[test]
fn a_connect_proxy_with_a_password() {
    let sandbox = sandbox(Config::default());
    let proxy = sandbox
        .start_proxy(ProxyConfig {
            login: Some(("user".into(), "pass".into())),
            ..ProxyConfig::new(ProxyKind::Connect)
        })
        .unwrap();
    let destination = host(&sandbox);
    assert_eq!(connect(proxy, &destination, None).0, 407);
    assert_eq!(
        connect(proxy, &destination, Some("dXNlcjp3cm9uZw==")).0,
        407
    );
    let (status, mut socket) = connect(proxy, &destination, Some("dXNlcjpwYXNz"));
    assert_eq!(status, 200);
    socket
        .write_all(b"GET /latest/api/token HTTP/1.1\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let used =
        |event: &Event| matches!(event, Event::Proxy { outcome, .. } if outcome == "connected");
    assert!(sandbox.events().iter().any(used));
}

#[test]
fn proxies_that_do_not_work() {
    let sandbox = sandbox(Config::default());
    let destination = host(&sandbox);
    for (behaviour, status) in [
        (ProxyBehaviour::Refuse, 403),
        (ProxyBehaviour::NotHttp, 0),
        (ProxyBehaviour::Close, 0),
    ] {
        let config = ProxyConfig {
            behaviour,
            ..ProxyConfig::new(ProxyKind::Connect)
        };
        let proxy = sandbox.start_proxy(config).unwrap();
        assert_eq!(
            connect(proxy, &destination, None).0,
            status,
            "{behaviour:?}"
        );
    }
}

#[test]
fn a_socks_proxy() {
    let sandbox = sandbox(Config::default());
    let proxy = sandbox
        .start_proxy(ProxyConfig {
            login: Some(("u".into(), "p".into())),
            names: vec![("anything.example".into(), host(&sandbox).parse().unwrap())],
            ..ProxyConfig::new(ProxyKind::Socks5)
        })
        .unwrap();
    let mut socket = TcpStream::connect(proxy).unwrap();
    socket.write_all(&[5, 1, 2]).unwrap();
    let mut answer = [0; 2];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [5, 2]);
    socket.write_all(&[1, 1, b'u', 1, b'p']).unwrap();
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [1, 0]);
    let mut request = vec![5, 1, 0, 3, 16];
    request.extend_from_slice(b"anything.example");
    request.extend_from_slice(&443_u16.to_be_bytes());
    socket.write_all(&request).unwrap();
    let mut reply = [0; 10];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], 0);
    socket
        .write_all(b"GET /latest/api/token HTTP/1.1\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
}
