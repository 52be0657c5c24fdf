//! Several clients in one process, and one client in several threads.

use std::process::Command;
use std::thread;

use sandbox::Credentials;
use session_manager_plugin::{
    Cancel, Client, ClientBuilder, ClientError, CopiedFolder, CopyProgress, Copying, EntryOutcome,
    ErrorKind, Exec, Forward, ForwardBuilder, ForwardEvent, ForwardEvents, ForwardStatistics,
    LocalAddress, Output, OutputReader, OutputStream, RemoteCommand, Session, SessionEnd,
    SessionEvent, StartSessionResponse, Stdin, Stream, Target, Transfer,
};

use super::{client, echo, node, ping, sandbox, sandbox_of, wait_for_no_session, wait_until};

const fn is_send_and_sync<T: Send + Sync + 'static>() {}

/// Checked by the compiler.
const _: () = {
    is_send_and_sync::<Cancel>();
    is_send_and_sync::<Client>();
    is_send_and_sync::<ClientBuilder>();
    is_send_and_sync::<ClientError>();
    is_send_and_sync::<CopiedFolder>();
    is_send_and_sync::<CopyProgress>();
    is_send_and_sync::<Copying>();
    is_send_and_sync::<EntryOutcome>();
    is_send_and_sync::<OutputReader>();
    is_send_and_sync::<Exec>();
    is_send_and_sync::<Forward>();
    is_send_and_sync::<ForwardBuilder>();
    is_send_and_sync::<ForwardEvent>();
    is_send_and_sync::<ForwardEvents>();
    is_send_and_sync::<ForwardStatistics>();
    is_send_and_sync::<LocalAddress>();
    is_send_and_sync::<Output>();
    is_send_and_sync::<OutputStream>();
    is_send_and_sync::<RemoteCommand>();
    is_send_and_sync::<Session>();
    is_send_and_sync::<SessionEnd>();
    is_send_and_sync::<SessionEvent>();
    is_send_and_sync::<StartSessionResponse>();
    is_send_and_sync::<Stdin>();
    is_send_and_sync::<Stream>();
    is_send_and_sync::<Target>();
    is_send_and_sync::<Transfer>();
};

#[test]
fn two_clients_have_credentials_authorities_and_targets_of_their_own() {
    let sandboxes = [("blue", 1), ("green", 2)]
        .map(|(name, number)| sandbox_of(vec![sandbox::Target::new(number, name)]));
    let clients = sandboxes.each_ref().map(client);
    let port = echo();
    thread::scope(|scope| {
        for (client, (name, other)) in clients.iter().zip([("blue", "green"), ("green", "blue")]) {
            scope.spawn(move || {
                for _ in 0..3 {
                    let target = client.target(name).unwrap();
                    let output = client.exec(&target, ["echo", name]).output().unwrap();
                    assert_eq!(output.stdout, format!("{name}\n").as_bytes());
                    ping(&mut client.connect(&target, "localhost", port).unwrap()).unwrap();
                    let error = client.target(other).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::TargetNotFound, "{error}");
                }
            });
        }
    });

    // The key of one is not known to the other.
    let Credentials {
        access_key_id,
        secret_access_key,
        ..
    } = sandboxes[0].credentials();
    let mixed = Client::builder()
        .variables(sandboxes[1].environment())
        .credentials(access_key_id, secret_access_key, None)
        .build()
        .unwrap();
    let error = mixed.target("green").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(error.aws_code().is_some(), "{error}");
}

#[test]
fn one_client_serves_many_threads() {
    let sandbox = sandbox();
    let client = client(&sandbox);
    let port = echo();
    thread::scope(|scope| {
        for number in 0..8 {
            let client = client.clone();
            scope.spawn(move || {
                let target = node(&client);
                let word = number.to_string();
                let output = client.exec(&target, ["echo", &word]).output().unwrap();
                assert_eq!(output.stdout, format!("{number}\n").into_bytes());
                let mut stream = client.connect(&target, "localhost", port).unwrap();
                ping(&mut stream).unwrap();
            });
        }
    });
    wait_for_no_session(&sandbox);
}

/// Set for the process of [`alone_in_a_process`].
const MARK: &str = "LIBRARY_TEST_ALONE";

/// In a process whose environment leads nowhere.
#[test]
fn the_environment_is_not_read_and_no_thread_stays() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--exact", "clients::alone_in_a_process", "--nocapture"])
        .env(MARK, "1")
        .env("AWS_PROFILE", "nobody")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_REGION", "mars-north-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAWRONG")
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("SSM_PLUGIN_STREAM_ENDPOINT", "127.0.0.1:1")
        .env("SSM_PLUGIN_QUIET", "neither")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("it was run"), "{said}");
    assert_eq!(complained, "");
}

#[test]
fn alone_in_a_process() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let sandbox = sandbox();
    let client = client(&sandbox);
    let target = node(&client);
    let port = echo();
    // Without the sandbox's own: only the library's threads have these names.
    let ours = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names =
            tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        let of_the_library = [
            "websocket",
            "acknowledge",
            "retransmit",
            "stream",
            "command",
            "deadline",
            "forward",
            "port",
            "terminate",
            "stdin",
            "start-session",
        ];
        let is_ours = |name: &String| of_the_library.contains(&name.trim());
        names.filter(is_ours).count()
    };
    let command = client.exec(&target, ["sleep", "60"]).spawn().unwrap();
    let mut stream = client.connect(&target, "localhost", port).unwrap();
    ping(&mut stream).unwrap();
    let forward = client
        .forward(&target)
        .remote("localhost", port)
        .start()
        .unwrap();
    let mut connection = std::net::TcpStream::connect(forward.local_addr()).unwrap();
    ping(&mut connection).unwrap();
    assert!(ours() > 0);
    drop((command, stream, forward, connection));
    wait_for_no_session(&sandbox);
    wait_until("the library's threads to end", || ours() == 0);

    // And `from_env` is what reads it.
    let error = Client::from_env().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    println!("it was run");
}
