//! A session to stdout and stderr: one thread that writes, and notices when nobody reads any more.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::pipe::PIPE_BUF;
use rustix::stdio::{stderr, stdout};

use super::status_line;
use crate::waker::{Mailbox, MailboxReceiver, Waker, mailbox};

/// Small messages are written together up to this size, in bytes: what a pipe holds on Linux.
const BATCH: usize = 64 * 1024;

/// What is to be written next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes for stdout.
    Stdout(Bytes),
    /// Bytes for stderr. They are lost when nobody reads it.
    Stderr(Bytes),
    /// Nothing now; [`OutputWriter::waker`] will be woken when there is.
    Nothing,
    /// Nothing any more.
    End,
}

/// What happened on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputEvent {
    /// Everything up to [`Piece::End`] is written.
    Finished,
    /// Nobody reads stdout any more; what comes is not written, and not even asked for.
    ReaderGone,
    /// Stdout or stderr cannot be written: the disk is full, for one.
    Failed(Errno),
}

/// The order to end.
#[derive(Debug)]
struct Stopped;

/// The thread's handle.
#[derive(Debug)]
pub struct OutputWriter {
    stop: Mailbox<Stopped>,
    events: Receiver<OutputEvent>,
}

impl OutputWriter {
    /// Starts the thread. `next` gives what is to be written, without waiting; it is not asked again before that is done, so what is
    /// waiting stays where it is bounded. When it has said [`Piece::Nothing`] and there is something, [`OutputWriter::waker`] is to be
    /// woken.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn start(next: impl FnMut() -> Piece + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mailbox()?;
        // One event, and the end of the thread shows as a disconnected channel.
        let (events, receiver) = bounded(1);
        let mut thread = WriterThread {
            next,
            stopped,
            stderr_gone: false,
        };
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || thread.run(&events))?;
        Ok(Self {
            stop,
            events: receiver,
        })
    }

    /// To be woken when there is something to write.
    pub const fn waker(&self) -> &Waker {
        self.stop.waker()
    }

    /// What happened. Disconnected when the thread has ended.
    pub fn events(&self) -> &Receiver<OutputEvent> {
        &self.events
    }

    /// Ends the thread, whatever is still to be written, and waits for it until the deadline. One that is stuck in write(2) on a stopped
    /// terminal is left to the process's end. The last thing that happened, if it was not asked for before.
    pub fn stop(self, deadline: Instant) -> Option<OutputEvent> {
        self.stop.post(Stopped);
        let mut last = None;
        while let Ok(event) = self.events.recv_deadline(deadline) {
            last = Some(event);
        }
        last
    }
}

/// Why writing ended early.
#[derive(Debug, PartialEq, Eq)]
enum WriteStop {
    ReaderGone,
    Failed(Errno),
    Asked,
}

struct WriterThread<N> {
    next: N,
    stopped: MailboxReceiver<Stopped>,
    stderr_gone: bool,
}

impl<N: FnMut() -> Piece> WriterThread<N> {
    fn run(&mut self, events: &Sender<OutputEvent>) {
        let event = match self.write_all() {
            Ok(()) => OutputEvent::Finished,
            Err(WriteStop::ReaderGone) => OutputEvent::ReaderGone,
            Err(WriteStop::Failed(error)) => OutputEvent::Failed(error),
            Err(WriteStop::Asked) => return,
        };
        // Nobody listens when the session is over.
        let _ = events.send(event);
    }

    fn write_all(&mut self) -> Result<(), WriteStop> {
        let out = Descriptor::new(stdout());
        let err = Descriptor::new(stderr());
        let mut batch = Vec::new();
        loop {
            self.stopped.wake_receiver().clear();
            let piece = (self.next)();
            if let Piece::Stdout(bytes) = &piece {
                batch.extend_from_slice(bytes);
                if batch.len() < BATCH {
                    continue;
                }
            }
            let wrote = !batch.is_empty();
            self.write(&out, &batch)?;
            batch.clear();
            match piece {
                Piece::Stdout(_) => {}
                Piece::Stderr(bytes) => {
                    if !self.stderr_gone {
                        match self.write(&err, &bytes) {
                            Err(WriteStop::ReaderGone) => self.stderr_gone = true,
                            // Somebody wants it: the disk is full, for one.
                            written => written?,
                        }
                    }
                    self.check_stopped()?;
                }
                // Wake-ups that came while it was written are gone: look again.
                Piece::Nothing if wrote => {}
                Piece::Nothing => self.wait_for_pieces()?,
                Piece::End => return Ok(()),
            }
        }
    }

    fn check_stopped(&self) -> Result<(), WriteStop> {
        if !self.stopped.is_empty() {
            return Err(WriteStop::Asked);
        }
        Ok(())
    }

    /// Sleeps until there is something to write, and notices meanwhile when stdout's reader goes.
    fn wait_for_pieces(&self) -> Result<(), WriteStop> {
        let mut polled = [
            PollFd::new(&self.stopped, PollFlags::IN),
            // No flags: errors and hang-ups are told anyway.
            PollFd::from_borrowed_fd(stdout(), PollFlags::empty()),
        ];
        // INTR is the only error that there can be: look again.
        if poll(&mut polled, None).is_ok() && is_gone(polled[1].revents()) {
            return Err(WriteStop::ReaderGone);
        }
        self.check_stopped()
    }

    fn write(&self, to: &Descriptor, mut bytes: &[u8]) -> Result<(), WriteStop> {
        let _hidden = status_line::hide();
        while !bytes.is_empty() {
            let mut polled = [
                PollFd::from_borrowed_fd(to.descriptor, PollFlags::OUT),
                PollFd::new(&self.stopped, PollFlags::IN),
            ];
            if to.may_block {
                if poll(&mut polled, None).is_err() {
                    continue;
                }
                if polled[1].revents().contains(PollFlags::IN) {
                    self.stopped.wake_receiver().clear();
                    self.check_stopped()?;
                }
                let events = polled[0].revents();
                if events.is_empty() {
                    continue;
                }
                // A hung-up terminal says that it can be written, too.
                if is_gone(events) {
                    return Err(WriteStop::ReaderGone);
                }
            }
            match to.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                // EIO: the terminal is gone.
                Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => {
                    return Err(WriteStop::ReaderGone);
                }
                Err(error) => return Err(WriteStop::Failed(error)),
            }
        }
        self.check_stopped()
    }
}

fn is_gone(events: PollFlags) -> bool {
    events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Stdout or stderr. O_NONBLOCK is never set: the flag is the open file's, and so our parent's and siblings', too.
struct Descriptor {
    descriptor: BorrowedFd<'static>,
    /// Files and devices other than terminals never make us wait long, and some cannot be polled.
    may_block: bool,
    is_socket: bool,
}

impl Descriptor {
    fn new(descriptor: BorrowedFd<'static>) -> Self {
        let kind = fstat(descriptor).map(|status| FileType::from_raw_mode(status.st_mode));
        Self {
            descriptor,
            may_block: match kind {
                Ok(FileType::RegularFile) => false,
                Ok(FileType::CharacterDevice) => rustix::termios::isatty(descriptor),
                _ => true,
            },
            is_socket: matches!(kind, Ok(FileType::Socket)),
        }
    }

    /// Writes some bytes, without blocking where poll said that there is room: a pipe then takes PIPE_BUF bytes.
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if !self.may_block {
            return rustix::io::write(self.descriptor, bytes);
        }
        if self.is_socket {
            return send(self.descriptor, bytes, SendFlags::DONTWAIT);
        }
        rustix::io::write(self.descriptor, &bytes[..bytes.len().min(PIPE_BUF)])
    }
}
