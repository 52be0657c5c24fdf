//! Encryption by a key of KMS, and gateways that want to get around it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use session_manager_plugin::internals::encryption::Encrypter;
use session_manager_plugin::internals::message::PayloadType;

use crate::support::gateway::{Answer, Gateway, PONG, Peer, Received, Sender, agents_key};
use crate::support::{Finished, Plugin, wait_until};
use crate::usage::{assert_modest, watch};

fn shell() -> Value {
    Sender::session_type("Standard_Stream", Value::Null)
}

/// What the client sent besides acknowledgements.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Received>>>);

impl Heard {
    fn note(&self, message: &Received) {
        if message.payload_type != 0 {
            self.0.lock().unwrap().push(message.clone());
        }
    }

    fn count(&self, payload_type: PayloadType) -> usize {
        let heard = self.0.lock().unwrap();
        heard.iter().filter(|it| it.is(payload_type)).count()
    }
}

/// The handshake of an encrypted session up to the key.
fn ask_for_key(peer: &mut Peer) -> std::io::Result<Encrypter> {
    peer.request(&[shell(), Sender::kms()])?;
    peer.wait_for(PayloadType::HandshakeResponse)?;
    Ok(agents_key())
}

fn challenge(peer: &Peer, key: &Encrypter, plain: &[u8]) -> std::io::Result<i64> {
    challenge_with(peer, &key.seal(plain))
}

fn challenge_with(peer: &Peer, sealed: &[u8]) -> std::io::Result<i64> {
    let content = json!({ "Challenge": BASE64_STANDARD.encode(sealed) });
    peer.stream(
        PayloadType::EncryptionChallengeRequest,
        content.to_string().as_bytes(),
    )
}

/// An established encrypted session.
fn start_encrypted(peer: &mut Peer) -> std::io::Result<Encrypter> {
    let key = ask_for_key(peer)?;
    challenge(peer, &key, &[7; 64])?;
    let answer = peer.wait_for(PayloadType::EncryptionChallengeResponse)?;
    let sealed = answer.json()["Challenge"].as_str().map(str::to_owned);
    let sealed = BASE64_STANDARD.decode(sealed.unwrap_or_default());
    assert_eq!(key.open(&sealed.unwrap_or_default()), Ok(vec![7; 64]));
    peer.complete("")?;
    Ok(key)
}

/// A gateway that does this and then serves; what it hears from then on.
fn listening(
    script: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
) -> (Gateway, Heard) {
    let heard = Heard::default();
    let notes = heard.clone();
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        script(&mut peer)?;
        peer.serve_until(|message| {
            notes.note(message);
            false
        })
    });
    (gateway, heard)
}

/// A session whose gateway cheats in this way and is found out. What the client sent is returned.
fn found_out(
    what: &str,
    script: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
) -> Heard {
    let (gateway, heard) = listening(script);
    assert_found_out(what, &gateway);
    heard
}

/// The program ends to be safe: nothing is shown that it must not show, and the remote session is ended.
fn assert_found_out(what: &str, gateway: &Gateway) {
    let plugin = gateway.plugin().terminal().spawn();
    plugin.wait();
    plugin.wait_for_raw(false);
    let finished = plugin.finish();
    let shown = &finished.terminal;
    assert_eq!(finished.code(), 1, "{what}: {shown}");
    assert!(!shown.contains("leaked"), "{what}: {shown}");
    assert!(shown.contains("safe"), "{what}: {shown}");
    assert_eq!(gateway.api.count("TerminateSession"), 1, "{what}");
}

#[test]
fn an_encrypted_session_works() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        let key = start_encrypted(&mut peer)?;
        peer.output(&key.seal(b"ready> "))?;
        let typed = peer.wait_for(PayloadType::Output)?;
        peer.output(&key.seal(b"typed "))?;
        peer.output(&key.seal(&key.open(&typed.payload).unwrap_or_default()))?;
        peer.channel_closed("")
    });
    let plugin = gateway
        .plugin()
        .env("SSM_PLUGIN_REQUIRE_ENCRYPTION", "1")
        .terminal()
        .spawn();
    plugin.terminal.wait_for("ready> ");
    plugin.type_in(b"x");
    plugin.terminal.wait_for("typed x");
    assert_eq!(plugin.wait().code(), Some(0));
    assert_eq!(gateway.api.count("GenerateDataKey"), 1);
    assert_eq!(gateway.api.count("TerminateSession"), 0);
}

#[test]
fn p79_the_challenge_answers_nothing_but_the_one_challenge() {
    let responses = |heard: &Heard| heard.count(PayloadType::EncryptionChallengeResponse);
    for size in [0, 1, 16, 63, 65, 1024] {
        let heard = found_out("another size", move |peer| {
            let key = ask_for_key(peer)?;
            challenge(peer, &key, &vec![7; size]).map(drop)
        });
        assert_eq!(responses(&heard), 0, "{size}");
    }
    let heard = found_out("a second one", |peer| {
        let key = ask_for_key(peer)?;
        challenge(peer, &key, &[7; 64])?;
        challenge(peer, &key, &[8; 64]).map(drop)
    });
    assert!(responses(&heard) <= 1);
    let heard = found_out("after the start", |peer| {
        let key = start_encrypted(peer)?;
        // What the agent once sent comes back, to be had under the client's key.
        let captured = key.seal(&[b'$'; 64]);
        peer.output(&captured)?;
        challenge_with(peer, &captured).map(drop)
    });
    assert_eq!(responses(&heard), 0);
    let was_read = Arc::new(AtomicBool::new(false));
    let read = Arc::clone(&was_read);
    let (gateway, heard) = listening(move |peer| {
        peer.request(&[shell(), Sender::kms()])?;
        challenge(peer, &agents_key(), &[7; 64])?;
        peer.ping(b"read")?;
        while peer.read_frame().is_ok_and(|frame| frame.opcode != PONG) {}
        read.store(true, Ordering::SeqCst);
        Ok(())
    });
    gateway.api.on("GenerateDataKey", move |_| {
        wait_until("the challenge to be read", || {
            was_read.load(Ordering::SeqCst)
        });
        Answer::error(500, "InternalServerError", "too late")
    });
    assert_found_out("before the key", &gateway);
    assert_eq!(responses(&heard), 0);
    let heard = found_out("in a clear session", |peer| {
        peer.start("Standard_Stream")?;
        challenge(peer, &agents_key(), &[7; 64]).map(drop)
    });
    assert_eq!(responses(&heard), 0);
    let heard = found_out("before everything", |peer| {
        challenge(peer, &agents_key(), &[7; 64]).map(drop)
    });
    assert_eq!(responses(&heard), 0);
}

#[test]
fn p80_once_encryption_was_asked_for_nothing_clear_is_taken() {
    found_out("no challenge", |peer| {
        let key = ask_for_key(peer)?;
        peer.complete("")?;
        peer.output(&key.seal(b"leaked")).map(drop)
    });
    found_out("clear data before the key", |peer| {
        peer.request(&[shell(), Sender::kms()])?;
        peer.output(b"leaked").map(drop)
    });
    found_out("the end before the key", |peer| {
        peer.request(&[Sender::kms(), shell()])?;
        peer.complete("leaked")?;
        peer.output(b"leaked").map(drop)
    });
    found_out("a clear request while the key is made", |peer| {
        peer.request(&[shell(), Sender::kms()])?;
        peer.request(&[shell()])?;
        peer.complete("leaked")?;
        peer.output(b"leaked").map(drop)
    });
    for parameters in [Value::Null, json!({}), json!({ "KMSKeyId": 7 })] {
        found_out("a request that cannot be read", move |peer| {
            let unreadable =
                json!({ "ActionType": "KMSEncryption", "ActionParameters": parameters });
            peer.request(&[shell(), unreadable])?;
            peer.wait_for(PayloadType::HandshakeResponse)?;
            peer.complete("leaked")?;
            peer.output(b"leaked").map(drop)
        });
    }
    for payload_type in [
        PayloadType::Output,
        PayloadType::StdErr,
        PayloadType::ExitCode,
    ] {
        found_out("clear data after the start", move |peer| {
            start_encrypted(peer)?;
            peer.stream(
                payload_type,
                b"leaked, and long enough to have a nonce and a tag",
            )
            .map(drop)
        });
    }
    found_out("data under another key", |peer| {
        let key = start_encrypted(peer)?;
        let mut sealed = key.seal(b"leaked");
        sealed.reverse();
        peer.output(&sealed).map(drop)
    });
}

#[test]
fn p80_three_thousand_requests_are_one() {
    for same in [true, false] {
        let all_sent = Arc::new(AtomicBool::new(false));
        let sent = Arc::clone(&all_sent);
        let heard = Heard::default();
        let notes = heard.clone();
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            for number in 0..3000 {
                let mut kms = Sender::kms();
                if !same {
                    kms["ActionParameters"]["KMSKeyId"] = json!(format!("key/{number}"));
                }
                peer.request(&[shell(), kms])?;
            }
            // Its pong follows what was read before it.
            peer.ping(b"all")?;
            while peer.read_frame()?.opcode != PONG {}
            sent.store(true, Ordering::SeqCst);
            let response = peer.wait_for(PayloadType::HandshakeResponse)?;
            notes.note(&response);
            let key = agents_key();
            challenge(&peer, &key, &[7; 64])?;
            peer.serve_until(|message| {
                notes.note(message);
                message.is(PayloadType::EncryptionChallengeResponse)
            })?;
            peer.complete("")?;
            peer.output(&key.seal(b"ready> "))?;
            peer.serve()
        });
        // No key is given out before all requests are read.
        gateway.api.on("GenerateDataKey", move |call| {
            wait_until("all requests", || all_sent.load(Ordering::SeqCst));
            Answer::data_key(call)
        });
        let plugin = gateway.plugin().terminal().spawn();
        plugin.terminal.wait_for("ready> ");
        assert_modest("3,000 handshake requests", plugin.usage());
        assert_eq!(gateway.api.count("GenerateDataKey"), 1);
        assert_eq!(heard.count(PayloadType::HandshakeResponse), 1);
    }
}

#[test]
fn p80_a_request_after_the_start_changes_nothing() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        let key = start_encrypted(&mut peer)?;
        peer.request(&[shell(), Sender::kms()])?;
        peer.request(&[shell()])?;
        peer.complete("again")?;
        peer.output(&key.seal(b"still the same key"))?;
        peer.serve_until(|message| {
            assert!(!message.is(PayloadType::HandshakeResponse));
            message.is(PayloadType::Output)
        })?;
        peer.channel_closed("")
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("still the same key");
    plugin.type_in(b"x");
    assert_eq!(plugin.wait().code(), Some(0));
    assert_eq!(gateway.api.count("GenerateDataKey"), 1);
}

#[test]
fn p81_answers_that_nobody_acknowledges_end_the_session() {
    for acknowledges in [false, true] {
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            // All requests are the same, so each is to be answered.
            for _ in 0..3000 {
                peer.request(&[shell()])?;
                if acknowledges {
                    peer.wait_for(PayloadType::HandshakeResponse)?;
                }
            }
            if !acknowledges {
                while peer.read_message().is_ok() {}
            }
            peer.complete("")?;
            peer.output(b"ready> ")?;
            peer.serve()
        });
        let plugin = gateway.plugin().terminal().spawn();
        if acknowledges {
            plugin.terminal.wait_for("ready> ");
            assert_modest("3,000 answers, acknowledged", plugin.usage());
            continue;
        }
        assert_modest("answers that nobody acknowledges", watch(&plugin));
        assert_eq!(plugin.wait().code(), Some(1));
        assert_eq!(gateway.api.count("TerminateSession"), 1);
        plugin.wait_for_raw(false);
    }
}

/// A session without encryption where it is required; what was typed must not arrive.
fn unencrypted(
    prepare: impl FnOnce(Plugin) -> Plugin,
    api: impl FnOnce(&Gateway),
    script: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
) -> Finished {
    let (gateway, heard) = listening(script);
    api(&gateway);
    let plugin = prepare(gateway.plugin()).env("SSM_PLUGIN_REQUIRE_ENCRYPTION", "1");
    let finished = plugin.run(b"secret\n");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(heard.count(PayloadType::Output), 0);
    assert!(!finished.stdout.contains("leaked"), "{finished:?}");
    assert_eq!(gateway.api.count("TerminateSession"), 1);
    finished
}

#[test]
fn required_encryption_ends_what_is_not_encrypted_before_any_input() {
    let says_why = |finished: Finished| {
        assert!(
            finished.stderr.contains("SSM_PLUGIN_REQUIRE_ENCRYPTION"),
            "{finished:?}"
        );
    };
    says_why(unencrypted(
        |it| it,
        |_| {},
        |peer| peer.output(b"leaked").map(drop),
    ));
    for session_type in [
        "Standard_Stream",
        "InteractiveCommands",
        "NonInteractiveCommands",
    ] {
        says_why(unencrypted(
            |it| it,
            |_| {},
            move |peer| {
                peer.request(&[Sender::session_type(session_type, Value::Null)])
                    .map(drop)
            },
        ));
    }
    says_why(unencrypted(
        |it| it,
        |_| {},
        |peer| {
            let properties = json!({ "portNumber": "22" });
            peer.request(&[Sender::session_type("Port", properties)])
                .map(drop)
        },
    ));
    // The agent asks, and there is no key: KMS's own words say more.
    let finished = unencrypted(
        |it| it,
        |gateway| {
            gateway.api.on("GenerateDataKey", |_| {
                Answer::error(400, "AccessDeniedException", "no key for you")
            });
        },
        |peer| {
            peer.request(&[shell(), Sender::kms()])?;
            peer.wait_for(PayloadType::HandshakeResponse)?;
            peer.channel_closed("handshake failed")
        },
    );
    assert!(finished.stderr.contains("no key for you"), "{finished:?}");
}

#[test]
fn a_value_of_require_encryption_that_says_nothing_is_an_error() {
    let gateway = Gateway::start(|dial| dial.accept()?.serve());
    let finished = gateway
        .plugin()
        .env("SSM_PLUGIN_REQUIRE_ENCRYPTION", "maybe")
        .run(b"");
    assert_ne!(finished.code(), 0);
    assert!(
        finished.stderr.contains("SSM_PLUGIN_REQUIRE_ENCRYPTION"),
        "{finished:?}"
    );
    assert_eq!(gateway.dials(), 0);
}
