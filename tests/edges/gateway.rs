//! Gateways that do not do as they should.

use crate::support::gateway::Gateway;

#[test]
fn the_script_and_the_api_do_as_they_are_told() {
    let gateway = Gateway::start(|dial| {
        let number = dial.number;
        let mut peer = dial.accept()?;
        if number == 0 {
            peer.output(b"first ")?;
            peer.close(1000, "Bye")?;
            return peer.serve();
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
