//! Connections that break and a service that has trouble: what a session makes of it. The gateways and APIs count what they are asked.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use session_manager_plugin::internals::aws::time;
use session_manager_plugin::internals::message::MessageType;
use session_manager_plugin::internals::message::content::Acknowledge;
use session_manager_plugin::internals::message::content::to_json;

use crate::support::gateway::{Answer, Dial, Gateway, PING, PONG, Peer, SESSION_ID, frame};
use crate::support::{Plugin, Running, TIMEOUT, exit_code, wait_until};
use crate::usage::assert_modest;

fn second(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// When the session's first connection was broken, and when each later dial came.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<(Option<Instant>, Vec<Instant>)>>);

impl Times {
    fn broken(&self) {
        self.0.lock().expect("no panic").0 = Some(Instant::now());
    }

    fn dialled(&self) {
        self.0.lock().expect("no panic").1.push(Instant::now());
    }

    /// The time since the break; none before it.
    fn age(&self) -> Option<Duration> {
        self.0.lock().expect("no panic").0.map(|at| at.elapsed())
    }

    /// The ages at which dials came.
    fn dials(&self) -> Vec<Duration> {
        let times = self.0.lock().expect("no panic");
        let broken = times.0.expect("a break");
        times.1.iter().map(|at| at.duration_since(broken)).collect()
    }
}

/// Gives a shell a prompt, and ends the connection with "Bye" after a while.
fn prompt_and_bye(dial: Dial, after: Duration, times: &Times) -> io::Result<()> {
    let mut peer = dial.accept()?;
    peer.output(b"$ ")?;
    std::thread::sleep(after);
    times.broken();
    peer.say_bye()
}

/// The agent's stream goes on behind the prompt. The session is closed when an `x` is typed.
fn go_on(dial: Dial) -> io::Result<()> {
    let mut peer = dial.accept()?;
    peer.set_next(1);
    peer.output(b"it goes on ")?;
    peer.serve_until(|message| message.payload == b"x")?;
    peer.channel_closed("")
}

/// The session is back, works, and ends as it should.
fn assert_goes_on(plugin: &Running) {
    plugin.terminal.wait_for("it goes on");
    plugin.type_in(b"x");
    assert_eq!(exit_code(plugin.wait()), 0, "{}", plugin.terminal.text());
}

/// Five dials at most in the first ten seconds, the first at once and the second soon.
fn assert_paced(what: &str, dials: &[Duration]) {
    eprintln!("{what}: dials at {dials:.1?}");
    let early = dials.iter().filter(|at| **at < second(10)).count();
    assert!((2..=5).contains(&early), "{what}: {dials:?}");
    assert!(
        dials[0] <= second(2) && dials[1] <= second(12),
        "{what}: {dials:?}"
    );
}

fn pong(peer: &mut Peer) -> io::Result<()> {
    while peer.read_frame()?.opcode != PING {}
    peer.raw(&frame(PONG, true, b""))
}

/// Sends the smallest message there is: an acknowledgement, of a message that was never sent.
fn one_word(peer: &Peer) -> io::Result<()> {
    let content = Acknowledge {
        acknowledged_message_type: MessageType::InputStreamData.name().to_owned(),
        acknowledged_message_id: uuid::Uuid::new_v4(),
        acknowledged_message_sequence_number: 1 << 40,
        is_sequential_message: true,
    };
    peer.control(MessageType::Acknowledge, &to_json(&content))
}

/// A gateway that sends this and closes, for five dials of the outage; the sixth goes on.
fn storm(what: &str, say: fn(&mut Peer) -> io::Result<()>) {
    let times = Times::default();
    let noted = times.clone();
    let gateway = Gateway::start(move |dial| match dial.number {
        0 => prompt_and_bye(dial, Duration::ZERO, &noted),
        1..6 => {
            noted.dialled();
            let mut peer = dial.accept()?;
            say(&mut peer)?;
            peer.say_bye()
        }
        _ => {
            noted.dialled();
            go_on(dial)
        }
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("reconnecting");
    assert_goes_on(&plugin);
    assert_paced(what, &times.dials());
    assert_eq!(gateway.api.count("ResumeSession"), gateway.dials() - 1);
    assert_eq!(gateway.api.count("TerminateSession"), 0);
}

/// Side by side: each of them waits for most of its ten seconds.
#[test]
fn p65_p68_a_gateway_or_an_api_that_answers_and_fails_is_no_storm() {
    std::thread::scope(|scope| {
        scope.spawn(|| storm("pong storm", pong));
        scope.spawn(|| storm("one-word storm", |peer| one_word(peer)));
        scope.spawn(failing_api);
    });
}

fn failing_api() {
    let times = Times::default();
    let noted = times.clone();
    let gateway = Gateway::start(move |dial| match dial.number {
        0 => prompt_and_bye(dial, Duration::ZERO, &noted),
        _ => go_on(dial),
    });
    let noted = times.clone();
    gateway.api.on("ResumeSession", move |call| {
        noted.dialled();
        match call.before {
            0..5 => Answer::error(500, "InternalServerError", "the session was terminated"),
            _ => resumed(),
        }
    });
    let plugin = gateway.plugin().terminal().spawn();
    // "terminated" in an answer that blames the service ends nothing (P68).
    assert_goes_on(&plugin);
    assert_paced("failing API", &times.dials());
    assert_eq!(gateway.api.count("ResumeSession"), 6);
}

/// A token for where the session was.
fn resumed() -> Answer {
    Answer::Json(200, serde_json::json!({ "TokenValue": "token-of-resume" }))
}

/// Side by side: both mostly wait.
#[test]
fn p66_p70_p119_one_clock_for_all_tries_and_all_that_is_told() {
    std::thread::scope(|scope| {
        scope.spawn(the_time_of_all_tries_and_the_last_answer);
        scope.spawn(what_is_told_is_in_order);
    });
}

fn the_time_of_all_tries_and_the_last_answer() {
    let times = Times::default();
    let noted = times.clone();
    // The session is never established: such an outage has 30 s. Dials that work do not begin it anew.
    let gateway = Gateway::start(move |dial| {
        let number = dial.number;
        let peer = dial.accept()?;
        one_word(&peer)?;
        if number == 0 {
            noted.broken();
        }
        peer.hang_up();
        Ok(())
    });
    let noted = times.clone();
    gateway.api.on("ResumeSession", move |_| {
        // The last try is cut off by the end of the time.
        if noted.age().is_some_and(|age| age > second(20)) {
            std::thread::sleep(second(20));
        }
        if noted.age().is_some_and(|age| age > second(12)) {
            return Answer::error(500, "InternalServerError", "it is broken here");
        }
        resumed()
    });
    let plugin = gateway.plugin().terminal().spawn();
    assert_eq!(exit_code(plugin.wait()), 1);
    let age = times.age().expect("a break");
    assert!((second(29)..second(36)).contains(&age), "{age:?}");
    let text = plugin.finish().terminal;
    assert!(
        text.contains("it is broken here (InternalServerError)"),
        "{text}"
    );
    assert!(text.contains(" tries in 30 seconds"), "{text}");
    assert_eq!(gateway.api.count("TerminateSession"), 1);
}

/// A caller whose credentials come from the profile `p` with these lines, and not from variables.
fn user(gateway: &Gateway, home: &Path, profile: &str) -> Plugin {
    let keys = "[base]\naws_access_key_id=AKIDBASE\naws_secret_access_key=secret\n";
    std::fs::create_dir(home.join(".aws")).expect("a directory");
    std::fs::write(home.join(".aws/credentials"), keys).expect("a file");
    let config = format!("[profile p]\n{profile}\n");
    std::fs::write(home.join(".aws/config"), config).expect("a file");
    gateway
        .plugin()
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .env("HOME", home)
        .env("AWS_PROFILE", "p")
}

fn rfc3339(time: SystemTime) -> String {
    let compact = time::compact(time);
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

/// What STS gives, with this key, for so long.
fn assumed(key: &str, lasts: Duration) -> Answer {
    let expires = rfc3339(SystemTime::now() + lasts);
    let body = format!(
        "<AssumeRoleResponse><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>{expires}</Expiration></Credentials></AssumeRoleResponse>"
    );
    let length = body.len();
    Answer::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())
}

const ROLE: &str = "role_arn=arn:aws:iam::111122223333:role/x\nsource_profile=base";
/// The operation of STS's calls: they are forms, and have no header that names one.
const STS: &str = "";

/// A session whose gateway takes nothing unsigned, and ends its connection when the role's credentials have expired, while STS has trouble
/// for so long.
fn role_expires_while_sts_has_trouble(trouble: Duration) {
    let times = Times::default();
    let noted = times.clone();
    let gateway = Gateway::start(move |dial| {
        let authorization = dial.header("authorization").unwrap_or_default();
        let key = ["FIRST", "SECOND"]
            .into_iter()
            .find(|key| authorization.contains(key));
        if dial.number > 0 {
            noted.dialled();
        }
        match (dial.number, key) {
            (0, Some("FIRST")) => prompt_and_bye(dial, second(3), &noted),
            (_, Some("SECOND")) => go_on(dial),
            _ => dial.refuse(403, "not signed"),
        }
    });
    let noted = times.clone();
    gateway.api.on(STS, move |_| match noted.age() {
        None => assumed("FIRST", second(2)),
        Some(age) if age < trouble => Answer::error(503, "ServiceUnavailable", "busy"),
        Some(_) => assumed("SECOND", second(3600)),
    });
    let home = tempfile::tempdir().expect("a directory");
    let plugin = user(&gateway, home.path(), ROLE).terminal().spawn();
    plugin.terminal.wait_for("$ ");
    wait_until_for(trouble + TIMEOUT, "the session is back", || {
        plugin.try_wait().is_some() || plugin.terminal.text().contains("it goes on")
    });
    let dials = times.dials();
    let late = gateway.api.calls(STS).len();
    eprintln!(
        "STS at 503 for {trouble:?}: dials at {dials:.1?}, {late} calls of STS, {} of ResumeSession",
        gateway.api.count("ResumeSession")
    );
    assert_goes_on(&plugin);
    assert!(
        dials.iter().filter(|at| **at < second(10)).count() <= 5,
        "{dials:?}"
    );
    assert_eq!(gateway.api.count("ResumeSession"), 1);
    let minutes = usize::try_from(trouble.as_secs() / 60).expect("a few");
    assert!(late <= 8 + 12 * minutes, "{late} calls of STS");
}

fn wait_until_for(time: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn p22_bye_with_expired_credentials_of_a_role_is_resumed_with_new_ones() {
    role_expires_while_sts_has_trouble(Duration::ZERO);
}

#[test]
fn p67_sts_in_trouble_for_a_moment_does_not_end_the_session() {
    role_expires_while_sts_has_trouble(second(5));
}

#[test]
#[ignore = "two minutes"]
fn p67_sts_in_trouble_for_two_minutes_does_not_end_the_session() {
    role_expires_while_sts_has_trouble(second(120));
}

/// A credential process that counts its runs in a file, and prints credentials for an hour.
fn counting_process(home: &Path) -> String {
    let program = home.join("process");
    let expires = rfc3339(SystemTime::now() + second(3600));
    let script = format!(
        "#!/bin/sh\necho run >> {}\necho '{{\"Version\":1,\"AccessKeyId\":\"PROC\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\
         \"Expiration\":\"{expires}\"}}'\n",
        home.join("runs").display()
    );
    std::fs::write(&program, script).expect("a file");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("credential_process={}", program.display())
}

fn runs(home: &Path) -> usize {
    std::fs::read_to_string(home.join("runs")).map_or(0, |runs| runs.lines().count())
}

/// How often a credential process runs in a session whose gateway refuses three dials, and whose first calls of ResumeSession are refused.
fn runs_over_an_outage(refusals: usize, refusal: Answer) -> usize {
    let gateway = Gateway::start(move |dial| match dial.number {
        0 => prompt_and_bye(dial, Duration::ZERO, &Times::default()),
        1..4 => dial.refuse(503, "busy"),
        _ => go_on(dial),
    });
    gateway.api.on("ResumeSession", move |call| {
        if call.before < refusals {
            refusal.clone()
        } else {
            resumed()
        }
    });
    let home = tempfile::tempdir().expect("a directory");
    let process = counting_process(home.path());
    let plugin = user(&gateway, home.path(), &process).terminal().spawn();
    assert_goes_on(&plugin);
    runs(home.path())
}

#[test]
fn p69_a_credential_process_runs_once_for_a_whole_outage_or_again_when_what_it_gave_is_denied() {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(runs_over_an_outage(0, resumed()), 1));
        let denied = Answer::error(400, "ExpiredTokenException", "no longer");
        scope.spawn(|| assert_eq!(runs_over_an_outage(1, denied), 2));
    });
}

#[test]
fn p108_a_credential_process_runs_once_for_a_command_of_our_own() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.output(b"it goes on ")?;
        peer.serve_until(|message| message.payload == b"x")?;
        peer.channel_closed("")
    });
    let response = gateway.response();
    gateway
        .api
        .on("StartSession", move |_| Answer::Json(200, response.clone()));
    let home = tempfile::tempdir().expect("a directory");
    let process = counting_process(home.path());
    let arguments = [
        "start-session",
        "--target",
        "i-0123456789abcdef0",
        "--region",
        "eu-central-1",
    ];
    let plugin = user(&gateway, home.path(), &process)
        .called_with(&arguments)
        .terminal()
        .spawn();
    assert_goes_on(&plugin);
    assert_eq!(runs(home.path()), 1);
}

#[test]
fn p78_tokens_without_end_cost_no_memory() {
    let gateway = Gateway::start(|dial| prompt_and_bye(dial, Duration::ZERO, &Times::default()));
    gateway.api.on("ResumeSession", |call| {
        let token = format!("{:01$}", call.before, 900_000);
        Answer::Json(
            200,
            json!({ "SessionId": SESSION_ID, "TokenValue": token, "StreamUrl": null }),
        )
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("ResumeSession failed");
    assert_modest("endless tokens", plugin.usage());
    plugin.type_in(b"\r~.");
    assert_eq!(plugin.wait().code(), Some(0));
}

#[test]
fn p90_a_session_that_is_given_up_is_ended_over_there() {
    let gateway = Gateway::start(|dial| match dial.number {
        0 => prompt_and_bye(dial, Duration::ZERO, &Times::default()),
        _ => dial.refuse(403, "not you"),
    });
    let plugin = gateway.plugin().terminal().spawn();
    assert_eq!(exit_code(plugin.wait()), 1);
    plugin.terminal.wait_for("gave up after 2 tries");
    assert_eq!(gateway.api.count("TerminateSession"), 1);
}

/// The notices of an outage with a return in it that did not last: the last of them says that the connection is back.
fn what_is_told_is_in_order() {
    let times = Times::default();
    let has_spoken = AtomicBool::new(false);
    let gateway = Gateway::start(move |dial| match dial.number {
        0 => prompt_and_bye(dial, Duration::ZERO, &times),
        // Long enough for the outage to be told.
        _ if times.age().is_some_and(|age| age < second(4)) => dial.refuse(503, "busy"),
        _ if !has_spoken.swap(true, Ordering::SeqCst) => {
            let peer = dial.accept()?;
            one_word(&peer)?;
            peer.close(1000, "Bye")
        }
        _ => {
            let mut peer = dial.accept()?;
            peer.set_next(1);
            peer.output(b"it goes on ")?;
            peer.serve()
        }
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("it goes on");
    // Told after ten seconds of a good connection.
    let told = |text: &str| plugin.terminal.text().matches(text).count();
    wait_until("it is told to be back", || {
        told("the connection is back") == told("reconnecting")
    });
    let text = plugin.terminal.text();
    let last = text.rfind("the connection is back");
    assert!(last > text.rfind("reconnecting"), "{text}");
    plugin.type_in(b"\r~.");
    assert_eq!(exit_code(plugin.wait()), 0);
}
