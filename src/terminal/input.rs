//! Stdin to a session: one thread that reads, looks for escapes, and keeps what the session does not take yet.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::stdin;

use super::escape::{Escape, Escapes, TYPED_AT_ONCE};
use super::raw;
use super::unread::{self, UnreadInput};
use crate::waker::{Mailbox, MailboxReceiver, Waker, mailbox, timespec};

/// The most that one read takes, in bytes: what a pipe holds on Linux.
const READ_SIZE: usize = 64 * 1024;
/// The most that is kept of what a user types or pastes while nothing can be sent, in bytes. Up to there escapes are still seen.
const KEPT_FROM_TERMINAL: usize = 1024 * 1024;
/// A terminal gives a long paste in pieces, and some of them are as small as a key's bytes (seen: one byte between two of 4095). A read of
/// so many bytes is a piece of one: the least that Linux keeps together.
const PIECE: usize = 256;
/// How long the next piece may take: 16 ms were seen beside other work.
const PIECE_GAP: Duration = Duration::from_millis(100);
/// Before an escape acts: how soon after it the rest of a paste comes that happens to begin with one.
const FIRST_GAP: Duration = Duration::from_millis(10);

/// Where bytes come from.
#[derive(Debug)]
pub enum InputSource {
    /// Nowhere: stdin is not read, the pump only sends what is [put in](Pump::put).
    Nothing,
    /// Nowhere either, but the first data on stdin is reported.
    Unread,
    /// Stdin, every byte as it is.
    Stdin,
    /// Stdin is a terminal: it is read only in the foreground, and escapes are looked for if there are any.
    Terminal(Option<Escapes>),
}

/// What happened on stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEvent {
    /// Stdin is at its end, and the session has taken all that came from it.
    End {
        /// Whether the last byte was no newline or carriage return.
        unfinished_line: bool,
    },
    /// The user typed an escape.
    Escape(Escape),
    /// There is data on stdin that nobody reads.
    Unread,
    /// The terminal is another program's now; nothing is read until [`Pump::resume`].
    Background,
}

/// The thread's handle.
#[derive(Debug)]
pub struct Pump {
    orders: Mailbox<PumpOrder>,
    events: Receiver<InputEvent>,
}

/// What the thread is told.
#[derive(Debug)]
enum PumpOrder {
    /// Send these bytes after all that came so far.
    Put(Vec<u8>),
    /// Read the terminal again.
    Resume,
    /// End.
    Stop,
}

impl Pump {
    /// Starts the thread.
    ///
    /// `send` takes bytes for the session without waiting, and says how many; 0 when there is no room, `None` when the session is over: the
    /// thread ends then. It is called without bytes, too, just to see whether the session goes on. [`Pump::waker`] is to be woken when
    /// there is room again, and at the session's end.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn start(
        source: InputSource,
        send: impl FnMut(&[u8]) -> Option<usize> + Send + 'static,
    ) -> io::Result<Self> {
        let (mailbox, orders) = mailbox()?;
        let (events, receiver) = unbounded();
        let mut thread = PumpThread {
            open: !matches!(source, InputSource::Nothing),
            source,
            send,
            orders,
            events,
            is_background: false,
            pending: Vec::new(),
            last_byte: b'\n',
            last_piece: None,
            has_left: false,
        };
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            orders: mailbox,
            events: receiver,
        })
    }

    /// To be woken when the session takes bytes again.
    pub const fn waker(&self) -> &Waker {
        self.orders.waker()
    }

    /// What happened. Disconnected when the thread has ended.
    pub fn events(&self) -> &Receiver<InputEvent> {
        &self.events
    }

    /// Sends these bytes after all that came so far.
    pub fn put(&self, bytes: &[u8]) {
        self.orders.post(PumpOrder::Put(bytes.to_vec()));
    }

    /// Reads the terminal again after [`InputEvent::Background`].
    pub fn resume(&self) {
        self.orders.post(PumpOrder::Resume);
    }

    /// Ends the thread, and waits for it until the deadline.
    pub fn stop(self, deadline: Instant) {
        self.orders.post(PumpOrder::Stop);
        while self.events.recv_deadline(deadline).is_ok() {}
    }
}

struct PumpThread<S> {
    source: InputSource,
    /// Whether there may be more to read.
    open: bool,
    send: S,
    orders: MailboxReceiver<PumpOrder>,
    events: Sender<InputEvent>,
    /// The terminal is another program's.
    is_background: bool,
    /// What the session has not taken yet.
    pending: Vec<u8>,
    last_byte: u8,
    /// When a piece of a paste came.
    last_piece: Option<Instant>,
    /// The user has left: what is typed after the escape is dropped.
    has_left: bool,
}

impl<S: FnMut(&[u8]) -> Option<usize>> PumpThread<S> {
    fn run(&mut self) {
        let mut buffer = vec![0; READ_SIZE];
        let mut is_end_told = matches!(self.source, InputSource::Nothing | InputSource::Unread);
        loop {
            for order in self.orders.take() {
                match order {
                    PumpOrder::Put(bytes) => self.pending.extend_from_slice(&bytes),
                    PumpOrder::Resume => self.is_background = false,
                    PumpOrder::Stop => return,
                }
            }
            if !self.send_pending() {
                return;
            }
            if !self.open && !is_end_told && self.pending.is_empty() {
                is_end_told = true;
                self.tell(InputEvent::End {
                    unfinished_line: !matches!(self.last_byte, b'\n' | b'\r'),
                });
            }
            if self.wait() && !self.read(&mut buffer) {
                self.open = false;
            }
            if self.has_left {
                return;
            }
        }
    }

    /// Whether the session goes on.
    fn send_pending(&mut self) -> bool {
        let mut taken = 0;
        loop {
            match (self.send)(&self.pending[taken..]) {
                None => return false,
                Some(0) => break,
                Some(count) => taken += count,
            }
        }
        self.pending.drain(..taken);
        true
    }

    fn wants_input(&self) -> bool {
        let room = match self.source {
            InputSource::Nothing => false,
            InputSource::Unread => true,
            InputSource::Stdin => self.pending.is_empty(),
            InputSource::Terminal(_) => self.pending.len() < KEPT_FROM_TERMINAL,
        };
        room && self.open && !self.is_background
    }

    /// Sleeps until something is to be done; says whether stdin is to be read.
    fn wait(&self) -> bool {
        let mut polled = [
            PollFd::new(&self.orders, PollFlags::IN),
            PollFd::from_borrowed_fd(stdin(), PollFlags::IN),
        ];
        let count = if self.wants_input() { 2 } else { 1 };
        match poll(&mut polled[..count], None) {
            Ok(_) => count == 2 && !polled[1].revents().is_empty(),
            // INTR: look again. Anything else cannot be: both descriptors are valid.
            Err(_) => false,
        }
    }

    /// Reads what is there; false at the end.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if matches!(self.source, InputSource::Unread) {
            let unread = unread::look(Instant::now());
            if unread == UnreadInput::Data {
                self.tell(InputEvent::Unread);
            }
            return unread == UnreadInput::NotYet;
        }
        let is_terminal = matches!(self.source, InputSource::Terminal(_));
        // A background process that reads its terminal is stopped.
        if is_terminal && !raw::in_foreground() {
            self.is_background = true;
            self.tell(InputEvent::Background);
            return true;
        }
        let count = match rustix::io::read(stdin().as_fd(), &mut *buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return true,
            // EIO: the terminal is gone. Whatever it is, nothing more will come.
            Err(_) => return false,
        };
        if let Some(last) = buffer[..count].last() {
            self.last_byte = *last;
        }
        if matches!(self.source, InputSource::Terminal(Some(_))) {
            self.look_for_escapes(buffer, count);
        } else {
            self.pending.extend_from_slice(&buffer[..count]);
        }
        true
    }

    /// Looks for escapes in the first `count` bytes of the buffer, which one read brought, if they were typed and not pasted. An escape
    /// acts only once it is known to be no part of a paste: the rest of the buffer takes what comes right after it.
    fn look_for_escapes(&mut self, buffer: &mut [u8], count: usize) {
        let InputSource::Terminal(Some(escapes)) = &mut self.source else {
            return;
        };
        let (mut start, mut end) = (0, count);
        while start < end {
            let within_paste = self
                .last_piece
                .is_some_and(|piece| piece.elapsed() < PIECE_GAP);
            let mut is_typed = end - start <= TYPED_AT_ONCE;
            let mut next = 0;
            if is_typed && escapes.would_act(&buffer[start..end]) {
                let gap = if within_paste { PIECE_GAP } else { FIRST_GAP };
                next = read_within(gap, &mut buffer[end..]);
                is_typed = next <= if within_paste { 0 } else { TYPED_AT_ONCE };
            }
            if is_typed {
                let (events, has_left) = (&self.events, &mut self.has_left);
                escapes.feed(&buffer[start..end], &mut self.pending, |escape| {
                    *has_left |= escape == Escape::Terminate;
                    // Nobody listens when the session is over.
                    let _ = events.send(InputEvent::Escape(escape));
                });
                (start, end) = (end, end + next);
            } else {
                end += next;
                escapes.feed_pasted(&buffer[start..end], &mut self.pending);
                if within_paste || end - start >= PIECE {
                    self.last_piece = Some(Instant::now());
                }
                start = end;
            }
        }
    }

    fn tell(&self, event: InputEvent) {
        // Nobody listens when the session is over.
        let _ = self.events.send(event);
    }
}

/// Reads what comes on stdin within this time; 0 when nothing does.
fn read_within(time: Duration, buffer: &mut [u8]) -> usize {
    let time = timespec(time);
    let mut polled = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
    match poll(&mut polled, Some(&time)) {
        // An error or the end shows again at the next read.
        Ok(1..) => rustix::io::read(stdin().as_fd(), buffer).unwrap_or(0),
        _ => 0,
    }
}
