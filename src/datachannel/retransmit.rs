//! The thread that runs the timers of the sequence state: retransmission, pauses, the beginning of a session, an outage.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::shared::{ChannelState, ThreadGuard};

/// Until the session is over. `rearm` brings a token when the next timer is due earlier than it was when this went to sleep.
pub(super) fn run(shared: &Arc<ChannelState>, rearm: &Receiver<()>, guard: ThreadGuard) {
    let _guard = guard;
    loop {
        let (next, has_expired) = {
            let mut sequence = shared.sequence();
            let now = Instant::now();
            let has_expired = sequence.handle_timeout(now);
            let next = sequence.arm(now);
            shared.tell(&mut sequence);
            if sequence.has_ended() {
                return;
            }
            (next, has_expired)
        };
        if has_expired {
            // There may be something to transmit or to deliver.
            shared.websocket.wake();
        }
        let woken = match next {
            Some(at) => rearm.recv_deadline(at),
            None => rearm.recv().map_err(RecvTimeoutError::from),
        };
        // The sender is in `shared`, too.
        debug_assert_ne!(woken, Err(RecvTimeoutError::Disconnected));
    }
}
