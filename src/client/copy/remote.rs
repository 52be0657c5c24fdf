//! A session whose remote command is one of the scripts.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::event::{PollFd, PollFlags};

use super::digest::HashKind;
use super::error::CopyError;
use super::first_start::{FirstStart, START_TIMEOUT};
use super::pace::Pace;
use super::reply::{Reply, ReplyDecoder};
use crate::aws::{ApiError, StartRequest};
use crate::client::failure::{ClientError, ErrorKind};
use crate::client::target::reach::INTERVAL;
use crate::client::{Client, RawSession};
use crate::datachannel::{DataChannel, Delivery, End, Urgency};
use crate::error::{Error, Meaning};
use crate::message::PayloadType;
use crate::mutex::lock;
use crate::network::{Cancel, Limit, Stop};
use crate::sanitise;
use crate::waker::{WakeReceiver, waker};

/// How long a session may take from there to its first word.
const STANDS_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may be silent while an answer is due, reconnecting included.
pub(super) const SILENCE: Duration = Duration::from_secs(180);
/// How long it may be silent where it reads all of a file.
pub(super) const READING: Duration = Duration::from_secs(4 * 3600);
/// What may wait of a session's output, in bytes: it is taken as it comes, and there are several sessions.
const WAITING: usize = 128 * 1024;
/// How long sessions may take to be ended.
pub(in crate::client) const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is kept of the error messages of a script's tools, in bytes.
const COMPLAINT: usize = 1000;

/// What sessions are started with.
#[derive(Clone)]
pub(super) struct Starter {
    pub client: Client,
    pub target: String,
    pub reason: Option<String>,
    /// How long a target is waited for that is not connected, and until when.
    pub wait: Option<(Duration, Instant)>,
    pub cancel: Cancel,
    /// Until when a session must be established, where the caller has a limit for that.
    pub begun_by: Option<Instant>,
    pub ender: Sender<RawSession>,
    pub first: Arc<Mutex<FirstStart>>,
}

impl Starter {
    fn first(&self) -> MutexGuard<'_, FirstStart> {
        lock(&self.first)
    }

    fn start(&self, request: &StartRequest) -> Result<RawSession, CopyError> {
        loop {
            let deadline = self
                .begun_by
                .unwrap_or_else(|| self.first().deadline(Instant::now()));
            let limit = Limit::until(deadline).or_cancelled(&self.cancel);
            let error = match self.client.start(request, &limit) {
                Ok(session) => {
                    *self.first() = FirstStart::Done;
                    return Ok(session);
                }
                Err(_) if self.cancel.is_cancelled() => return Err(CopyError::Cancelled),
                Err(error) if self.is_late() => {
                    return Err(CopyError::Start(ClientError::from(error).within(&limit)));
                }
                Err(error) => error,
            };
            let is_away =
                matches!(&error, ApiError::Refused { refusal, .. } if refusal.is_not_connected());
            if let Some((wait, _)) = self
                .wait
                .filter(|(_, until)| is_away && Instant::now() < *until)
            {
                self.client.tell_waiting(&self.target, wait);
                *self.first() = FirstStart::Unwanted;
                let until = self
                    .begun_by
                    .unwrap_or_else(|| Instant::now() + START_TIMEOUT);
                match Limit::until(until)
                    .or_cancelled(&self.cancel)
                    .pause(INTERVAL)
                {
                    Ok(()) => continue,
                    Err(Stop::Cancelled) => return Err(CopyError::Cancelled),
                    Err(Stop::TimedOut) => return Err(CopyError::Start(error.into())),
                }
            }
            if error.failure().meaning == Meaning::Temporary && Instant::now() < deadline {
                return Err(CopyError::StartLater(error.into()));
            }
            *self.first() = FirstStart::Unwanted;
            return Err(CopyError::Start(error.into()));
        }
    }

    /// Whether a session should have been established by now.
    fn is_late(&self) -> bool {
        self.begun_by
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// How long a session may take to its next word before it is established.
    fn patience(&self) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.begun_by.map_or(STANDS_TIMEOUT, |deadline| {
            STANDS_TIMEOUT.min(left(deadline))
        })
    }

    /// Why none is established.
    fn in_time(&self, error: CopyError) -> CopyError {
        match error {
            CopyError::Broken(_) if self.is_late() => CopyError::Start(ClientError::stopped(
                Stop::TimedOut,
                "waiting for the target",
            )),
            error => error,
        }
    }
}

/// Which document runs the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// stdout and stderr apart, not paced, and no stdin.
    Out,
    /// A terminal.
    Terminal,
}

/// Ends sessions in a thread of its own, so that copying does not wait for the API.
pub(super) struct Ender {
    sender: Sender<RawSession>,
    done: Receiver<()>,
}

impl Ender {
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, sessions) = unbounded::<RawSession>();
        let (alive, done) = bounded(0);
        std::thread::Builder::new()
            .name("end-sessions".to_owned())
            .spawn(move || {
                for session in sessions {
                    end(&session);
                }
                drop(alive);
            })?;
        Ok(Self { sender, done })
    }

    pub(super) fn sender(&self) -> Sender<RawSession> {
        self.sender.clone()
    }

    /// Waits until all are ended whose [`RemoteScript`]s are gone.
    pub(super) fn finish(self, timeout: Duration) {
        drop(self.sender);
        let _ = self.done.recv_timeout(timeout);
    }
}

fn end(session: &RawSession) {
    if let Some(terminate) = session.terminate()
        && let Err(error) = terminate(Instant::now() + END_TIMEOUT)
    {
        log::info!("a remote session could not be ended: {error}");
    }
}

/// A session whose script runs. It is ended when this goes.
pub(super) struct RemoteScript {
    /// None only while it is dropped.
    session: Option<RawSession>,
    channel: DataChannel,
    wake_receiver: WakeReceiver,
    cancel: Cancel,
    ender: Sender<RawSession>,
    decoder: ReplyDecoder,
    has_said: bool,
    /// Where output is not paced.
    pace: Option<Pace>,
    complaint: Vec<u8>,
}

impl RemoteScript {
    /// Starts a session with this script, and waits until it is established.
    pub(super) fn start(starter: &Starter, way: Way, script: String) -> Result<Self, CopyError> {
        let (document, more) = match way {
            Way::Out => (
                "AWS-StartNonInteractiveCommand",
                Some(("separateOutputStream", "True")),
            ),
            Way::Terminal => ("AWS-StartInteractiveCommand", None),
        };
        let mut parameters = std::collections::BTreeMap::new();
        parameters.insert("command".to_owned(), vec![script]);
        if let Some((name, value)) = more {
            parameters.insert(name.to_owned(), vec![value.to_owned()]);
        }
        let request = StartRequest {
            target: starter.target.clone(),
            document_name: Some(document.to_owned()),
            parameters,
            reason: starter.reason.clone(),
        };
        let session = starter.start(&request)?;
        log::info!("session {} is started", sanitise::line(session.id()));
        let (waker, wake_receiver) = match waker() {
            Ok(pair) => pair,
            Err(error) => {
                let _ = starter.ender.send(session);
                return Err(CopyError::resources(&error));
            }
        };
        session.channel().limit_waiting(WAITING);
        session.channel().on_readable(waker.clone());
        session.channel().on_writable(waker);
        let mut remote = Self {
            channel: session.channel().clone(),
            session: Some(session),
            wake_receiver,
            cancel: starter.cancel.clone(),
            ender: starter.ender.clone(),
            decoder: ReplyDecoder::default(),
            has_said: false,
            pace: (way == Way::Out).then(|| Pace::new(Instant::now())),
            complaint: Vec::new(),
        };
        let first = remote.receive(starter.patience());
        match first.map_err(|error| starter.in_time(error))? {
            Delivery::Started(_) => Ok(remote),
            Delivery::Ended(end) => Err(remote.ended(&end)),
            Delivery::Payload(..) => Err(remote.garbled()),
        }
    }

    /// Waits for a script on a terminal to take orders, and has it begin. Which hash it can make.
    pub(super) fn begin(&mut self, starter: &Starter) -> Result<HashKind, CopyError> {
        let line = self.line(starter.patience());
        let line = line.map_err(|error| starter.in_time(error))?;
        let kind = line.strip_prefix("ready ").and_then(HashKind::parse);
        let kind = kind.ok_or_else(|| self.garbled())?;
        // The first line ends what a login profile may have left on the line.
        self.order("")?;
        self.order("begin")?;
        Ok(kind)
    }

    /// Sends an order. The script reads it from a pipe: on a terminal bash would read on beyond its end.
    pub(super) fn order(&mut self, order: &str) -> Result<(), CopyError> {
        log::debug!("order: {order}");
        self.send(format!("{order}\n").as_bytes())
    }

    /// The next reply, if one has come. An error that the script reports is an error.
    pub(super) fn try_next(&mut self) -> Result<Option<Reply>, CopyError> {
        loop {
            if let Some(reply) = self.decoder.next() {
                self.has_said = true;
                if let Reply::Line(line) = &reply {
                    log::debug!("the target says {}", sanitise::line(line));
                }
                return match reply {
                    Reply::Line(line) => match line.strip_prefix("error ") {
                        Some(error) => Err(CopyError::of_script(error)),
                        None => Ok(Some(Reply::Line(line))),
                    },
                    data @ Reply::Data(_) => Ok(Some(data)),
                };
            }
            let Some(delivery) = self.channel.try_receive() else {
                return Ok(None);
            };
            self.take(delivery)?;
        }
    }

    /// The next reply.
    pub(super) fn next(&mut self, silence: Duration) -> Result<Reply, CopyError> {
        let deadline = Instant::now() + silence;
        loop {
            if let Some(reply) = self.try_next()? {
                return Ok(reply);
            }
            // What is no reply is as good as silence, or a flood of it would put the deadline off for ever.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Self::silent());
            }
            let delivery = self.receive(if silence == READING { silence } else { left })?;
            self.take(delivery)?;
        }
    }

    /// The next line; data is an error here.
    pub(super) fn line(&mut self, silence: Duration) -> Result<String, CopyError> {
        match self.next(silence)? {
            Reply::Line(line) => Ok(line),
            Reply::Data(_) => Err(self.garbled()),
        }
    }

    /// Sends all of it, as the window takes it.
    pub(super) fn send(&mut self, mut data: &[u8]) -> Result<(), CopyError> {
        while !data.is_empty() {
            let sent = self.channel.send(data, Urgency::Bulk);
            match sent {
                Ok(0) => self.wait(SILENCE)?,
                Ok(count) => data = &data[count..],
                Err(_) => return Err(self.look_for_end()),
            }
        }
        Ok(())
    }

    /// Waits for something to happen on either way, or for a descriptor of the caller's.
    pub(super) fn wait_with(
        &self,
        time: Duration,
        other: Option<BorrowedFd<'_>>,
    ) -> Result<(), CopyError> {
        let limit = Limit::within(time).or_cancelled(&self.cancel);
        let mut polled = vec![PollFd::new(&self.wake_receiver, PollFlags::IN)];
        polled.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        let result = limit.poll(&mut polled, None);
        drop(polled);
        // Whatever it was about is looked at after this.
        self.wake_receiver.clear();
        result.map_err(|error| match Stop::of(&error) {
            Some(Stop::Cancelled) => CopyError::Cancelled,
            Some(Stop::TimedOut) => Self::silent(),
            None => CopyError::resources(&error),
        })
    }

    fn silent() -> CopyError {
        CopyError::Broken("the target has been silent for too long".to_owned())
    }

    fn wait(&self, time: Duration) -> Result<(), CopyError> {
        self.wait_with(time, None)
    }

    fn receive(&mut self, silence: Duration) -> Result<Delivery, CopyError> {
        let mut now = Instant::now();
        let deadline = now + silence;
        if silence == READING
            && let Some(pace) = &mut self.pace
        {
            pace.restart(now);
        }
        loop {
            if let Some(delivery) = self.channel.try_receive() {
                return Ok(delivery);
            }
            let mut until = deadline;
            if silence < READING
                && let Some(pace) = &mut self.pace
            {
                if pace.is_stalled(now, self.channel.status().reconnects > 0) {
                    return Err(CopyError::Broken("the session has stalled".to_owned()));
                }
                until = until.min(pace.next_look());
            }
            if now >= deadline {
                return Err(Self::silent());
            }
            match self.wait(until.saturating_duration_since(now)) {
                // It is looked at above.
                Ok(()) | Err(CopyError::Broken(_)) => {}
                Err(error) => return Err(error),
            }
            now = Instant::now();
        }
    }

    fn take(&mut self, delivery: Delivery) -> Result<(), CopyError> {
        match delivery {
            Delivery::Payload(PayloadType::Output, bytes) => {
                if let Some(pace) = &mut self.pace {
                    pace.note(bytes.len());
                }
                self.decoder.feed(&bytes).map_err(|_| self.garbled())
            }
            Delivery::Payload(PayloadType::StdErr, bytes) => {
                let room = COMPLAINT.saturating_sub(self.complaint.len());
                self.complaint
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
                Ok(())
            }
            Delivery::Ended(end) => Err(self.ended(&end)),
            Delivery::Payload(..) | Delivery::Started(_) => Ok(()),
        }
    }

    /// Why nothing can be sent any more.
    fn look_for_end(&mut self) -> CopyError {
        loop {
            match self.next(END_TIMEOUT) {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    fn ended(&self, end: &End) -> CopyError {
        let mut reason = match end {
            End::Closed { output } if output.trim().is_empty() => {
                "the session ended early".to_owned()
            }
            End::Closed { output } => sanitise::line(output.trim()),
            End::TimedOut => "the session timed out".to_owned(),
            // What prevents a session now prevents it a moment later, too: the user is to decide.
            End::Failed(error @ Error::Start(_)) => {
                return CopyError::Start(ClientError::of(ErrorKind::Service, error));
            }
            End::Failed(error) => error.to_string(),
        };
        let complaint = String::from_utf8_lossy(&self.complaint);
        if !complaint.trim().is_empty() {
            reason.push_str(": ");
            reason.push_str(&sanitise::line(complaint.trim()));
        }
        CopyError::Broken(reason)
    }

    /// What came is not what a script says.
    pub(super) fn garbled(&self) -> CopyError {
        CopyError::Broken(if self.has_said {
            "what came from the target is damaged".to_owned()
        } else {
            "the target answers with something else: is it a machine with a POSIX shell?".to_owned()
        })
    }
}

impl Drop for RemoteScript {
    fn drop(&mut self) {
        // The API ends it; what still comes is not needed.
        self.channel.close();
        if let Some(session) = self.session.take() {
            // The thread that ends them runs as long as there is a sender.
            let _ = self.ender.send(session);
        }
    }
}
