//! Carries a session's bytes to a socket pair and back, in a thread: the other end of the pair is what a program reads and writes.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use crossbeam_channel::bounded;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, poll};

use super::RawSession;
use super::carried_state::{CarriedState, refused, session_end};
use super::failure::{ClientError, ErrorKind};
use super::session_event::SessionEnd;
use crate::datachannel::{Delivery, End, SessionType, Urgency};
use crate::message::content::exit_code;
use crate::message::{Flag, PayloadType};
use crate::sanitise;
use crate::session::port::{Multiplexer, MuxEvent, Peer, Socket};
use crate::waker::{WakeReceiver, timespec, waker};

const WAKER: Token = Token(0);
const CONNECTION: Token = Token(1);
/// The most bytes that are moved in one direction before the other direction is looked at.
const ROUND: usize = 256 * 1024;
/// What is read from the program at a time, bytes.
const PIECE: usize = 32 * 1024;
/// How long the last bytes of a program that is gone may take, and then the end of its session.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// What counts as typing, in bytes at a time; more is a paste or a program's output, and waits while the window is closed.
const TYPED: usize = 64;

/// What is carried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Carriage {
    /// The bytes of a session of this type, as they are.
    Bytes(SessionType),
    /// One connection of a multiplexed port; see [`Multiplexer::new`].
    Connection { keepalive: bool, message: usize },
}

/// Starts carrying; the program's end.
pub(super) fn start(
    session: RawSession,
    carriage: Carriage,
) -> Result<(UnixStream, Arc<CarriedState>), ClientError> {
    start_thread(session, carriage).map_err(|error| ClientError::resources(&error))
}

fn start_thread(
    session: RawSession,
    carriage: Carriage,
) -> io::Result<(UnixStream, Arc<CarriedState>)> {
    let (program, socket) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let (waker, wake_receiver) = waker()?;
    let (alive, done) = bounded(0);
    let state = Arc::new(CarriedState {
        failure: OnceLock::new(),
        end: OnceLock::new(),
        is_leaving: AtomicBool::new(false),
        was_end_told: AtomicBool::new(false),
        waker: waker.clone(),
        notices: session.notices().clone(),
        done,
    });
    let shared = Arc::clone(&state);
    let work = move || {
        session.channel().on_readable(waker.clone());
        session.channel().on_writable(waker);
        // The reason is set before the program sees the end of its socket.
        let kept = socket.try_clone();
        let kind = match carriage {
            Carriage::Bytes(kind) => kind,
            Carriage::Connection { .. } => SessionType::Port,
        };
        let end = match carriage {
            Carriage::Bytes(kind) => {
                ByteCarrier::new(&session, socket, &wake_receiver, &shared, kind).carry()
            }
            Carriage::Connection { keepalive, message } => {
                let mux = Multiplexer::new(session.channel().clone(), keepalive, message);
                carry_connection(&session, mux, socket, &wake_receiver, &shared)
            }
        };
        let end = end.unwrap_or_else(|error| SessionEnd::Failed(ClientError::resources(&error)));
        let failure = match &end {
            SessionEnd::Failed(error) => Some(error.clone()),
            SessionEnd::TimedOut => Some(ClientError::of_end(&End::TimedOut)),
            SessionEnd::Left => Some(ClientError::new(
                ErrorKind::Cancelled,
                "the session was ended here",
            )),
            SessionEnd::Closed { .. } => None,
        };
        if let Some(failure) = failure {
            // A more precise one may be set already.
            let _ = shared.failure.set(failure);
        }
        drop(kept);
        if !matches!(end, SessionEnd::Closed { .. } | SessionEnd::TimedOut)
            && let Err(error) = session.end_of_type(kind, Instant::now() + END_TIMEOUT)
        {
            log::info!("the remote session could not be ended: {error}");
        }
        // It is set here alone.
        let _ = shared.end.set(end);
        drop(session);
        drop(alive);
    };
    std::thread::Builder::new()
        .name("stream".to_owned())
        .spawn(work)?;
    Ok((program, state))
}

/// Bytes as they are.
struct ByteCarrier<'a> {
    session: &'a RawSession,
    socket: UnixStream,
    wake_receiver: &'a WakeReceiver,
    state: &'a CarriedState,
    kind: SessionType,
    /// Whether anything came.
    has_received: bool,
    /// What came, for the program.
    incoming: Bytes,
    /// What the program wrote, for the remote.
    outgoing: Bytes,
    /// The program writes no more.
    at_end: bool,
    /// The program is gone, since then.
    gone: Option<Instant>,
    ended: Option<End>,
    status: Option<i32>,
}

impl<'a> ByteCarrier<'a> {
    fn new(
        session: &'a RawSession,
        socket: UnixStream,
        wake_receiver: &'a WakeReceiver,
        state: &'a CarriedState,
        kind: SessionType,
    ) -> Self {
        Self {
            session,
            socket,
            wake_receiver,
            state,
            kind,
            has_received: false,
            incoming: Bytes::new(),
            outgoing: Bytes::new(),
            at_end: false,
            gone: None,
            ended: None,
            status: None,
        }
    }

    fn carry(mut self) -> io::Result<SessionEnd> {
        loop {
            self.wake_receiver.clear();
            let is_busy = self.receive() | self.transmit();
            if let Some(end) = &self.ended
                && (self.incoming.is_empty() || self.gone.is_some())
            {
                if let Some(failure) = self.failure(end) {
                    // The first reason counts.
                    let _ = self.state.failure.set(failure);
                }
                return Ok(session_end(end, self.status));
            }
            if self.state.is_leaving.load(Ordering::SeqCst) {
                return Ok(SessionEnd::Left);
            }
            if let Some(since) = self.gone {
                let is_sent = self.at_end && self.outgoing.is_empty();
                if is_sent || since.elapsed() >= END_TIMEOUT {
                    return Ok(SessionEnd::Left);
                }
            }
            self.sleep(is_busy)?;
        }
    }

    /// Why the bytes of a port ended, where it was not the destination's own end.
    fn failure(&self, end: &End) -> Option<ClientError> {
        match end {
            End::Closed { output }
                if self.kind == SessionType::Port && !output.trim().is_empty() =>
            {
                let kind = if self.has_received {
                    ErrorKind::SessionEnded
                } else {
                    ErrorKind::ConnectionRefused
                };
                Some(ClientError::new(kind, sanitise::line(output.trim())))
            }
            _ => None,
        }
    }

    /// Hands on what came; whether there may be more.
    fn receive(&mut self) -> bool {
        let mut moved = 0;
        while self.ended.is_none() || !self.incoming.is_empty() {
            while !self.incoming.is_empty() {
                match self.socket.write(&self.incoming) {
                    Ok(count) => {
                        self.incoming.advance(count);
                        moved += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The program does not read it any more.
                    Err(_) => self.incoming.clear(),
                }
            }
            if moved >= ROUND {
                return true;
            }
            match self.session.channel().try_receive() {
                None => return false,
                Some(Delivery::Payload(PayloadType::Output | PayloadType::StdErr, bytes)) => {
                    self.has_received = true;
                    self.incoming = bytes;
                }
                Some(Delivery::Payload(PayloadType::ExitCode, bytes)) => {
                    self.status = exit_code(&bytes).and_then(|code| i32::try_from(code).ok());
                }
                Some(Delivery::Payload(PayloadType::Flag, flag)) => {
                    if Flag::from_bytes(&flag) == Some(Flag::ConnectToPortError) {
                        // It is reported when the agent ends the session.
                        let _ = self.state.failure.set(refused());
                    }
                }
                Some(Delivery::Payload(..) | Delivery::Started(_)) => {}
                Some(Delivery::Ended(end)) => self.ended = Some(end),
            }
        }
        false
    }

    /// Sends what the program wrote; whether there may be more that can be sent.
    fn transmit(&mut self) -> bool {
        let mut moved = 0;
        while self.ended.is_none() && moved < ROUND {
            if self.outgoing.is_empty() && !self.at_end {
                let mut buffer = vec![0; PIECE];
                match self.socket.read(&mut buffer) {
                    Ok(0) => self.at_end = true,
                    Ok(count) => {
                        buffer.truncate(count);
                        self.outgoing = buffer.into();
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    Err(_) => self.at_end = true,
                }
            }
            if self.outgoing.is_empty() {
                return false;
            }
            let urgency = if self.kind.has_pty() && self.outgoing.len() <= TYPED {
                Urgency::Interactive
            } else {
                Urgency::Bulk
            };
            match self.session.channel().send(&self.outgoing, urgency) {
                // Its waker tells when there is room.
                Ok(0) => return false,
                Ok(count) => {
                    self.outgoing.advance(count);
                    moved += count;
                }
                // The last delivery says how.
                Err(_) => self.outgoing.clear(),
            }
        }
        self.ended.is_none()
    }

    fn sleep(&mut self, is_busy: bool) -> io::Result<()> {
        let mut wanted = PollFlags::empty();
        if self.outgoing.is_empty() && !self.at_end {
            wanted |= PollFlags::IN;
        }
        if !self.incoming.is_empty() {
            wanted |= PollFlags::OUT;
        }
        let mut descriptors = vec![PollFd::from_borrowed_fd(
            self.wake_receiver.as_fd(),
            PollFlags::IN,
        )];
        // poll(2) would report the end of a program that is gone again and again.
        if self.gone.is_none() {
            descriptors.push(PollFd::from_borrowed_fd(self.socket.as_fd(), wanted));
        }
        let left = match (is_busy, self.gone) {
            (true, _) => Some(Duration::ZERO),
            (false, Some(since)) => Some(END_TIMEOUT.saturating_sub(since.elapsed())),
            (false, None) => None,
        };
        match poll(&mut descriptors, left.map(timespec).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(socket) = descriptors.get(1)
            && socket.revents().intersects(PollFlags::HUP | PollFlags::ERR)
        {
            self.gone = Some(Instant::now());
        }
        Ok(())
    }
}

/// One connection of a multiplexed port.
fn carry_connection(
    session: &RawSession,
    mut mux: Multiplexer,
    socket: UnixStream,
    wake_receiver: &WakeReceiver,
    state: &CarriedState,
) -> io::Result<SessionEnd> {
    let mut poll = Poll::new()?;
    poll.registry().register(
        &mut SourceFd(&wake_receiver.as_fd().as_raw_fd()),
        WAKER,
        Interest::READABLE,
    )?;
    let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
    let register = |socket: &mut Socket, _| {
        poll.registry()
            .register(socket, CONNECTION, Interest::READABLE | Interest::WRITABLE)
    };
    let Some(id) = mux.connect(socket, Peer::Nameless, Instant::now(), register) else {
        return Err(io::Error::other("the connection cannot be waited for"));
    };
    let mut readiness = Events::with_capacity(16);
    // Since when the program is gone. What it wrote arrives before the agent answers the end of it.
    let mut gone: Option<Instant> = None;
    let mut was_extended = false;
    loop {
        wake_receiver.clear();
        let now = Instant::now();
        mux.set_connected(session.channel().status().outage.is_none());
        let is_busy = mux.work(now);
        let mut is_closed = false;
        while let Some(event) = mux.poll_event() {
            match event {
                MuxEvent::Refused => return Ok(SessionEnd::Failed(refused())),
                MuxEvent::Complaint(line) => log::info!("{line}"),
                MuxEvent::Closed { .. } => is_closed = true,
            }
        }
        let is_whole = mux.has_finished(id);
        if let Some(end) = mux.ended() {
            if !is_whole {
                // Before the last bytes are written, which look like an end.
                let _ = state.failure.set(ClientError::of_end(end));
            }
            if is_closed || mux.is_finished(now) {
                return Ok(session_end(end, None));
            }
        } else if is_whole && is_closed {
            end_unused(session);
            return Ok(SessionEnd::Closed {
                status: None,
                message: String::new(),
            });
        } else if is_closed {
            gone.get_or_insert(now);
        }
        if let Some(since) = &mut gone {
            if mux.was_closed_by_remote(id) {
                return Ok(SessionEnd::Left);
            }
            if now.saturating_duration_since(*since) >= END_TIMEOUT {
                // That the network is slow is not the agent's fault.
                if session.channel().is_acknowledged() || was_extended {
                    return Ok(SessionEnd::Left);
                }
                was_extended = true;
                *since = now;
            }
        }
        if state.is_leaving.load(Ordering::SeqCst) {
            return Ok(SessionEnd::Left);
        }
        let timeout = if is_busy {
            Some(Duration::ZERO)
        } else {
            let until = [mux.next_timeout(), gone.map(|since| since + END_TIMEOUT)];
            until
                .into_iter()
                .flatten()
                .min()
                .map(|at| at.saturating_duration_since(Instant::now()))
        };
        match poll.poll(&mut readiness, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        for event in &readiness {
            if event.token() == CONNECTION {
                mux.note(id, event, now);
            }
        }
    }
}

/// The session's only connection is over, so the session is ended.
fn end_unused(session: &RawSession) {
    if let Err(error) = session.end(Instant::now() + END_TIMEOUT) {
        log::info!("the remote session could not be ended: {error}");
    }
}
