//! How often what came is acknowledged (P120).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use session_manager_plugin::internals::message::{MessageType, PayloadType};

use crate::support::gateway::{Gateway, stream};
use crate::support::{wait_until, wait_until_still};

/// Messages of an undisturbed download.
const MESSAGES: i64 = 4000;
/// Every so many messages an older one comes again, as from an agent that is a little impatient.
const AGAIN_EVERY: i64 = 100;

#[test]
fn p120_a_message_that_comes_again_repeats_its_own_acknowledgement_and_few_others() {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&acknowledged);
    let gateway = Gateway::start(move |dial| {
        let mut peer = dial.accept()?;
        let sender = peer.sender();
        std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let message = stream(number, PayloadType::Output, b"line\r\n");
                if sender.raw(&message).is_err() {
                    return;
                }
                if number % AGAIN_EVERY == AGAIN_EVERY - 1 {
                    let again = stream(number - AGAIN_EVERY / 2, PayloadType::Output, b"line\r\n");
                    if sender.raw(&again).is_err() {
                        return;
                    }
                }
            }
            let _ = sender.stream_at(MESSAGES, PayloadType::Output, b"the end");
        });
        loop {
            let message = peer.read_message()?;
            if message.message_type == MessageType::Acknowledge {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let plugin = gateway.plugin().spawn();
    plugin.stdout.wait_for("the end");
    let least = (MESSAGES + MESSAGES / AGAIN_EVERY + 1) as usize;
    wait_until("an acknowledgement for each", || {
        acknowledged.load(Ordering::SeqCst) >= least
    });
    let acknowledged = wait_until_still("the last acknowledgement", || {
        acknowledged.load(Ordering::SeqCst) as u64
    }) as usize;
    let most = least + MESSAGES as usize / 50;
    assert!((least..=most).contains(&acknowledged), "{acknowledged}");
    eprintln!("{acknowledged} acknowledgements of {least} messages");
}
