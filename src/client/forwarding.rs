//! Local addresses whose connections go to ports that the target reaches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::failure::ClientError;
use super::forward::{ForwardEvent, ForwardStatistics, Forwarding, LocalAddress};
use super::watch::bounded;
use crate::mutex::lock;
use crate::network::{Limit, Stop};

/// How often a wait looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// A forward that is open. When it is dropped, its local addresses are closed, and its sessions are ended in the background.
///
/// It outlives its sessions: when one ends, its local connections are closed, and the next connection starts another.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::ForwardEvent;
/// use std::time::Duration;
///
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// let event = forward.events().next_within(Duration::from_secs(10));
/// assert!(matches!(event, Some(ForwardEvent::SessionStarted { .. })));
/// forward.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Forward {
    first: LocalAddress,
    /// Told before the sessions were established.
    earlier: Arc<Mutex<VecDeque<ForwardEvent>>>,
    forwarding: Forwarding,
}

impl Forward {
    pub(super) fn new(first: LocalAddress, forwarding: Forwarding) -> Self {
        Self {
            first,
            earlier: Arc::default(),
            forwarding,
        }
    }

    /// Where it listens; the first address where there are several.
    pub const fn local_addr(&self) -> &LocalAddress {
        &self.first
    }

    /// Where it listens, in the order in which the builder was told: the numbers of forwards in events are indexes of this.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// let forward = client
    ///     .forward(&target)
    ///     .remote("db.internal", 5432)
    ///     .and()
    ///     .remote("cache.internal", 6379)
    ///     .start()?;
    /// let [database, cache] = forward.locals() else {
    ///     unreachable!("there are two");
    /// };
    /// println!("the database is at {database}, the cache at {cache}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn locals(&self) -> &[LocalAddress] {
        self.forwarding.locals()
    }

    /// What goes through it, as it is now.
    pub fn statistics(&self) -> ForwardStatistics {
        self.forwarding.statistics()
    }

    /// What happens. Several may ask: each event is told to one of them. 4,096 events are kept for who does not ask, and later ones are
    /// not.
    pub fn events(&self) -> ForwardEvents {
        ForwardEvents {
            earlier: Arc::clone(&self.earlier),
            events: self.forwarding.events().clone(),
        }
    }

    /// Closes the local addresses and their connections, and begins to end the sessions: [`ForwardEvent::Ended`] tells when that is done,
    /// within 5 seconds.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// use session_manager_plugin::ForwardEvent;
    ///
    /// let forward = client.forward(&target).remote("localhost", 5432).start()?;
    /// forward.close();
    /// let last = forward.events().last();
    /// assert_eq!(last, Some(ForwardEvent::Ended(Ok(()))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        self.forwarding.stop();
    }

    /// [Closes](Self::close) it, and waits until that is done: within 5 seconds.
    ///
    /// # Errors
    /// What had ended the forward before it was stopped.
    pub fn stop(self) -> Result<(), ClientError> {
        self.forwarding.stop();
        for event in self.forwarding.events() {
            if let ForwardEvent::Ended(result) = event {
                return result;
            }
        }
        Ok(())
    }

    /// Waits until all of it can be used. What is told meanwhile is kept for who asks later.
    pub(super) fn wait_ready(&self, limit: &Limit) -> Result<(), ClientError> {
        let mut unready = self.locals().len();
        loop {
            let stop = match limit.remaining() {
                Ok(left) => match self.forwarding.events().recv_timeout(left.min(LOOK)) {
                    Ok(ForwardEvent::Ended(Err(error))) => return Err(error),
                    Ok(ForwardEvent::Ended(Ok(()))) | Err(RecvTimeoutError::Disconnected) => {
                        Stop::Cancelled
                    }
                    Ok(event) => {
                        let is_ready = matches!(event, ForwardEvent::Ready { .. });
                        lock(&self.earlier).push_back(event);
                        unready = unready.saturating_sub(usize::from(is_ready));
                        if unready == 0 {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => continue,
                },
                Err(stop) => stop,
            };
            return Err(ClientError::stopped(stop, "the start of the forward"));
        }
    }
}

/// The events of a [`Forward`], from its beginning. As an iterator it waits for each, and ends after [`ForwardEvent::Ended`].
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// let forward = client.forward(&target).remote("localhost", 5432).start()?;
/// let events = forward.events();
/// drop(forward);
/// for event in events {
///     println!("{event:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ForwardEvents {
    earlier: Arc<Mutex<VecDeque<ForwardEvent>>>,
    events: Receiver<ForwardEvent>,
}

impl ForwardEvents {
    /// For who waits for other things beside it, where nothing was told before: see [`ForwardBuilder::open`](crate::ForwardBuilder::open).
    /// Not public: the version of crossbeam-channel would be part of what must not break.
    pub(crate) const fn receiver(&self) -> &Receiver<ForwardEvent> {
        &self.events
    }

    /// The next one; nothing after that time, or when there will be none.
    pub fn next_within(&self, timeout: Duration) -> Option<ForwardEvent> {
        let earlier = lock(&self.earlier).pop_front();
        earlier.or_else(|| self.events.recv_timeout(bounded(timeout)).ok())
    }
}

impl Iterator for ForwardEvents {
    type Item = ForwardEvent;

    fn next(&mut self) -> Option<ForwardEvent> {
        let earlier = lock(&self.earlier).pop_front();
        earlier.or_else(|| self.events.recv().ok())
    }
}
