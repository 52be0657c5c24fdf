//! Gateways that do not do as they should.

use session_manager_plugin::internals::message::PayloadType;

use crate::support::Running;
use crate::support::gateway::{BINARY, CONTINUE, Dial, Gateway, PING, frame, stream};
use crate::usage::assert_modest;

#[test]
fn the_script_and_the_api_do_as_they_are_told() {
    let gateway = Gateway::start(|dial| {
        let number = dial.number;
        let mut peer = dial.accept()?;
        if number == 0 {
            peer.output(b"first ")?;
            return peer.say_bye();
        }
        peer.set_next(1);
        peer.output(b"second ")?;
        peer.serve_until(|message| message.payload == b"x")?;
        peer.channel_closed("")
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("first second");
    plugin.type_in(b"x");
    assert_eq!(plugin.wait().code(), Some(0));
    assert_eq!(gateway.dials(), 2);
    assert_eq!(gateway.api.count("ResumeSession"), 1);
    assert_eq!(gateway.api.count("TerminateSession"), 0);
}

/// Leaves by the escape, which works only while the program still handles its input.
fn leave(plugin: &Running) {
    plugin.type_in(b"\r~.");
    assert_eq!(plugin.wait().code(), Some(0));
    plugin.wait_for_raw(false);
}

#[test]
fn p77_pings_whose_pongs_nobody_reads_cost_nothing() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        peer.output(b"$ ")?;
        let pings = frame(PING, true, &[7; 125]).repeat(8 << 10);
        for _ in 0..190 {
            peer.raw(&pings)?;
        }
        peer.ping(b"the last one")?;
        peer.output(b"flooded")?;
        peer.wait_for_test()?;
        // Only the pongs that the kernel's buffers took come before the last one's.
        let mut pongs = 0;
        while peer.read_frame()?.payload != b"the last one" {
            pongs += 1;
        }
        peer.output(format!("{pongs} pongs").as_bytes())?;
        peer.serve()
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("flooded");
    assert_modest("ping flood", plugin.usage());
    gateway.go_on();
    plugin.terminal.wait_for("pongs");
    leave(&plugin);
}

/// Has the gateway send these frames again and again: the user can leave all the same.
fn leave_a_flood(frames: &[u8]) {
    let frames = frames.to_vec();
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        peer.output(b"$ ")?;
        let (sender, frames) = (peer.sender(), frames.clone());
        std::thread::spawn(move || while sender.raw(&frames).is_ok() {});
        peer.serve()
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for("$ ");
    leave(&plugin);
    assert_eq!(gateway.api.count("TerminateSession"), 1);
}

#[test]
fn p77_a_flood_of_pings_does_not_keep_the_user_from_leaving() {
    leave_a_flood(&frame(PING, true, b"").repeat(8 << 10));
}

#[test]
fn p83_fragments_that_never_end_do_not_keep_the_connection() {
    for first in [frame(BINARY, false, b""), frame(BINARY, false, &[1; 100])] {
        let fragments = frame(CONTINUE, false, b"").repeat(512 << 10);
        let gateway = Gateway::start(move |dial| {
            let number = dial.number;
            let mut peer = dial.accept()?;
            if number == 0 {
                peer.output(b"$ ")?;
                peer.raw(&first)?;
                // Until the program ends the connection.
                while peer.raw(&fragments).is_ok() {}
                return Ok(());
            }
            peer.set_next(1);
            peer.output(b"again")?;
            peer.serve()
        });
        let plugin = gateway.plugin().terminal().spawn();
        plugin.terminal.wait_for("again");
        assert_modest("endless fragments", plugin.usage());
        leave(&plugin);
    }
}

#[test]
fn p83_while_fragments_come_the_user_can_leave() {
    // Each message is whole in the end, so that the connection goes on.
    let mut fragments = frame(BINARY, false, b"");
    fragments.extend(frame(CONTINUE, false, b"").repeat(256 << 10));
    fragments.extend(frame(CONTINUE, true, b""));
    leave_a_flood(&fragments);
}

#[test]
fn p83_a_message_in_fragments_is_one_all_the_same() {
    let gateway = Gateway::start(|dial| {
        let mut peer = dial.accept()?;
        let whole = stream(0, PayloadType::Output, &[b'x'; 5000]);
        // Its own frame has a header of 4 bytes.
        let mut pieces = whole[4..].chunks(7).peekable();
        let mut opcode = BINARY;
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            peer.raw(&frame(opcode, is_last, piece))?;
            peer.ping(b"in between")?;
            if !is_last {
                peer.raw(&frame(CONTINUE, false, b""))?;
            }
            opcode = CONTINUE;
        }
        peer.serve()
    });
    let plugin = gateway.plugin().terminal().spawn();
    plugin.terminal.wait_for(&"x".repeat(5000));
    leave(&plugin);
}

/// Runs a session whose upgrade is answered like this; what was said.
fn refused(answer: impl Fn(Dial) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let gateway = Gateway::start(answer);
    let finished = gateway.plugin().run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(gateway.api.count("TerminateSession"), 1);
    finished.stderr
}

#[test]
fn p97_an_extension_that_was_not_offered_is_refused() {
    for extension in [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        "sec-websocket-extensions: x-webkit-deflate-frame; a=b, other\r\n",
        "Sec-WebSocket-Extensions: \r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    ] {
        let said = refused(move |dial| dial.upgrade(extension)?.serve());
        assert!(said.contains("extension that was not offered"), "{said:?}");
    }
}

#[test]
fn p97_a_subprotocol_or_a_wrong_key_is_refused() {
    refused(|dial| dial.upgrade("Sec-WebSocket-Protocol: chat\r\n")?.serve());
    refused(|dial| dial.upgrade_with_key("c29tZXRoaW5nIGVsc2U=", "")?.serve());
}

#[test]
fn p90_a_session_whose_stream_may_not_be_dialled_is_ended() {
    let gateway = Gateway::start(|dial| dial.accept()?.serve());
    let plugin = gateway.plugin().without("SSM_PLUGIN_ALLOW_STREAM_HOST");
    let finished = plugin.run(b"");
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(gateway.dials(), 0);
    assert_eq!(gateway.api.count("TerminateSession"), 1);
    let complaints = finished.stderr.lines().count();
    assert_eq!(complaints, 1, "{finished:?}");
}

#[test]
fn p28_a_number_from_nowhere_is_neither_kept_nor_acknowledged() {
    for number in [i64::MAX, 1 << 40, 1_000_000, i64::MIN, -1] {
        let gateway = Gateway::start(move |dial| {
            let mut peer = dial.accept()?;
            peer.stream_at(number, PayloadType::Output, b"from nowhere")?;
            peer.output(b"ready> ")?;
            peer.serve_until(|message| {
                let acknowledged = &message.json()["AcknowledgedMessageSequenceNumber"];
                assert_ne!(*acknowledged, number);
                message.is(PayloadType::Output)
            })?;
            peer.channel_closed("")
        });
        let plugin = gateway.plugin().terminal().spawn();
        plugin.terminal.wait_for("ready> ");
        plugin.type_in(b"x");
        assert_eq!(plugin.wait().code(), Some(0));
    }
}
