//! One websocket: a thread that sleeps in poll(2) and carries frames between the client and the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use session_manager_plugin::internals::message::content::{
    ChannelClosed, OpenDataChannel, to_json,
};
use session_manager_plugin::internals::message::{Message as Wire, MessageType};
use session_manager_plugin::internals::waker::{WakeReceiver, Waker, waker};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::Socket;
use super::upgrade::Accepted;
use crate::faults::Ending;
use crate::record::Event;
use crate::sandbox::Shared;
use crate::session::{Attachment, Command, Links, Session};
use crate::threads::{Threads, reset};

/// Frames that are read before it is looked whether there is something to write.
const READ_BUDGET: usize = 256;
/// Near one TLS record.
const BUFFER: usize = 16 << 10;
/// What waits in the websocket at most, unless one frame is larger.
const MAX_UNWRITTEN: usize = 256 << 10;
/// How much is taken from the agent at once.
const BATCH: usize = 128 << 10;
/// Frames that are read at most when the gateway ends a connection.
const REST: usize = 8192;
/// After sending a close frame, how long the client's is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Carries frames until the connection ends.
pub(super) fn run(accepted: Accepted, shared: &Arc<Shared>, threads: &Threads) {
    let Accepted {
        socket,
        rest,
        session,
        frozen,
    } = accepted;
    if let Some(size) = session.config.gateway.socket_buffer {
        let reference = socket2::SockRef::from(socket.tcp());
        let _ = reference.set_send_buffer_size(size);
        let _ = reference.set_recv_buffer_size(size);
    }
    if socket.tcp().set_nonblocking(true).is_err() {
        return;
    }
    let Ok((waker, wake_receiver)) = waker() else {
        return;
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(MAX_UNWRITTEN);
    let websocket = WebSocket::from_partially_read(socket, rest, Role::Server, Some(config));
    let stop = waker.clone();
    let _hook = threads.on_stop(move || stop.wake());
    let mut connection = Connection {
        websocket,
        wake_receiver,
        waker,
        attachment: None,
        batch: VecDeque::new(),
        arrived: VecDeque::new(),
        unsent: None,
        unwritten: false,
        no_reading: frozen,
        no_writing: frozen,
        closed_sent: false,
        leaving: None,
        closing: None,
        session,
    };
    let how = connection.carry(shared, threads);
    connection.finish(shared, how);
}

struct Connection {
    websocket: WebSocket<Socket>,
    session: Arc<Session>,
    wake_receiver: WakeReceiver,
    waker: Waker,
    /// After the text frame with the right token.
    attachment: Option<Attachment>,
    batch: VecDeque<Bytes>,
    /// Read, and about to be handed to the agent.
    arrived: VecDeque<Bytes>,
    /// A frame that the websocket had no room for.
    unsent: Option<Message>,
    /// The websocket has bytes that the socket did not take.
    unwritten: bool,
    no_reading: bool,
    no_writing: bool,
    /// `channel_closed` is on its way.
    closed_sent: bool,
    /// A close frame is to be sent when what has arrived before it is sent, at the latest at this time.
    leaving: Option<(Instant, CloseFrame)>,
    /// A close frame was sent; this is how long the other is waited for.
    closing: Option<Instant>,
}

/// Why carrying ended.
enum Over {
    /// The client, or the network: in words.
    Gone(String),
    /// The gateway ends it.
    End(Ending),
}

impl Connection {
    fn carry(&mut self, shared: &Arc<Shared>, threads: &Threads) -> Over {
        loop {
            if threads.is_stopping() {
                return Over::End(Ending::Eof);
            }
            let now = Instant::now();
            if let Some(over) = self.obey() {
                return over;
            }
            if self.closing.is_some_and(|until| until <= now) {
                return Over::Gone("closed by the gateway, without an answer".into());
            }
            let wait = match self.pump(shared, now) {
                Ok(wait) => wait,
                Err(over) => return over,
            };
            self.sleep(wait);
        }
    }

    /// Does what a test asked for.
    fn obey(&mut self) -> Option<Over> {
        let Some(attachment) = &self.attachment else {
            return None;
        };
        for command in attachment.take_commands() {
            match command {
                Command::End(Ending::Close { code, reason }) => self.close(code, &reason),
                Command::End(ending) => return Some(Over::End(ending)),
                Command::Frame(frame) => {
                    self.write(Message::Binary(frame.into()));
                }
                Command::Text(text) => {
                    self.write(Message::Text(text.into()));
                }
                Command::Raw(bytes) => {
                    let _ = self.websocket.flush();
                    let _ = std::io::Write::write_all(self.websocket.get_mut(), &bytes);
                }
                Command::StopReading(stop) => self.no_reading = stop,
                Command::StopWriting(stop) => self.no_writing = stop,
            }
        }
        None
    }

    fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        self.leaving = Some((Instant::now() + CLOSE_TIMEOUT, frame));
    }

    /// Sends the close frame that is due, unless something that arrived before it still waits for the socket.
    fn leave(&mut self, links: Option<&Links>, now: Instant) {
        let waits =
            self.unsent.is_some() || links.is_some_and(|links| links.to_client.has_arrived(now));
        let due = self.leaving.take_if(|(latest, _)| !waits || *latest <= now);
        if let Some((_, frame)) = due {
            let _ = self.websocket.close(Some(frame));
            self.closing = Some(now + CLOSE_TIMEOUT);
        }
    }

    /// Hands a frame to the websocket; a full one gives it back.
    fn write(&mut self, message: Message) -> bool {
        match self.websocket.write(message) {
            Ok(()) => {}
            Err(Error::WriteBufferFull(message)) => self.unsent = Some(*message),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.unwritten = true;
            }
            // Reading tells why.
            Err(_) => {}
        }
        self.unsent.is_none()
    }

    /// Moves what can be moved; hands back how long there is nothing to do.
    fn pump(&mut self, shared: &Arc<Shared>, now: Instant) -> Result<Wait, Over> {
        let session = Arc::clone(&self.session);
        if self.attachment.is_none() {
            if !self.no_reading {
                self.read_opening(shared, now)?;
            }
            if self.attachment.is_none() {
                self.leave(None, now);
                self.flush();
                return Ok(Wait {
                    until: self.closing,
                    ..Wait::default()
                });
            }
        }
        let mut guard = session.links();
        let links = &mut *guard;
        if self
            .attachment
            .as_ref()
            .is_some_and(|attachment| !session.is_attached(attachment))
        {
            return Err(Over::End(Ending::Eof));
        }
        self.pump_out(&session, links, now);
        let more = self.pump_in(&session, links, now)?;
        self.flush();
        for link in [&mut links.to_client, &mut links.to_agent] {
            match link.take_cut(now) {
                // It ends already.
                Some(_) if self.closing.is_some() || self.leaving.is_some() => {}
                Some(Ending::Close { code, reason }) => self.close(code, &reason),
                Some(ending) => return Err(Over::End(ending)),
                None => {}
            }
        }
        if self.leaving.is_some() {
            self.pump_out(&session, links, now);
            self.leave(Some(links), now);
            self.flush();
        }
        Ok(self.wait(&session, links, more, now))
    }

    /// Agent to client.
    fn pump_out(&mut self, session: &Session, links: &mut Links, now: Instant) {
        let link = &mut links.to_client;
        loop {
            if link.has_room(now) && self.leaving.is_none() && self.closing.is_none() {
                if self.batch.is_empty() {
                    session.to_client.take_some(&mut self.batch, BATCH);
                }
                while link.has_room(now)
                    && let Some(frame) = self.batch.pop_front()
                {
                    link.push(frame, now);
                }
            }
            if self.no_writing || self.closing.is_some() {
                return;
            }
            let mut moved = false;
            if let Some(message) = self.unsent.take()
                && !self.write(message)
            {
                return;
            }
            while let Some(frame) = link.pop(now) {
                moved = true;
                if !self.write(Message::Binary(frame)) {
                    return;
                }
            }
            if !moved || self.unwritten {
                break;
            }
        }
        let all_sent = self.batch.is_empty()
            && self.unsent.is_none()
            && session.to_client.is_empty()
            && link.next_time(now).is_none();
        if all_sent
            && !self.closed_sent
            && let Some(output) = session.ended()
        {
            self.closed_sent = true;
            self.write(Message::Binary(channel_closed(session, &output).into()));
        }
    }

    /// Client to agent; says whether more may be there.
    fn pump_in(
        &mut self,
        session: &Session,
        links: &mut Links,
        now: Instant,
    ) -> Result<bool, Over> {
        let link = &mut links.to_agent;
        if !session.to_agent.has_room() {
            return Ok(false);
        }
        let mut budget = READ_BUDGET;
        let mut outcome = Ok(());
        while budget > 0 && !self.no_reading && link.has_room(now) {
            budget -= 1;
            match self.read() {
                Ok(Some(Message::Binary(frame))) => link.push(frame, now),
                Ok(Some(Message::Text(text))) => link.push(Bytes::from(text), now),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(over) => {
                    outcome = Err(over);
                    break;
                }
            }
        }
        self.arrived.extend(std::iter::from_fn(|| link.pop(now)));
        session.to_agent.push_all(&mut self.arrived);
        outcome.map(|()| budget == 0)
    }

    /// Before the gateway ends a connection: what the client has sent by now has arrived, so that no more is lost than a test asked for.
    fn read_the_rest(&mut self) {
        let session = Arc::clone(&self.session);
        let mut links = session.links();
        let now = Instant::now();
        for _ in 0..REST {
            match self.read() {
                Ok(Some(Message::Binary(frame))) => links.to_agent.push(frame, now),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        while let Some(frame) = links.to_agent.pop(now) {
            let _ = session.to_agent.push_now(frame);
        }
    }

    fn read(&mut self) -> Result<Option<Message>, Over> {
        match self.websocket.read() {
            Ok(message) => Ok(Some(message)),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(Error::ConnectionClosed) => Err(Over::Gone("closed with a close frame".into())),
            Err(error) => Err(Over::Gone(error.to_string())),
        }
    }

    /// Waits for the text frame with the token.
    fn read_opening(&mut self, shared: &Arc<Shared>, now: Instant) -> Result<(), Over> {
        let Some(message) = self.read()? else {
            return Ok(());
        };
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            _ => {
                self.close(1003, "the first frame must open the data channel");
                return Ok(());
            }
        };
        let Ok(open) = serde_json::from_str::<OpenDataChannel>(text) else {
            self.close(1003, "the first frame must open the data channel");
            return Ok(());
        };
        let refused = self.session.check_token(&open.token_value, now).err();
        shared.journal.note(Event::Opened {
            session: self.session.id().to_owned(),
            client_id: open.client_id.clone(),
            client_version: open.client_version.clone(),
            token: open.token_value.clone(),
            refused: refused.clone(),
        });
        match refused {
            Some(reason) => self.close(1008, &reason),
            None => {
                let first = self.session.is_untouched();
                self.attachment = Some(self.session.attach(self.waker.clone()));
                if first {
                    for frame in self.session.config.gateway.first_frames.clone() {
                        self.write(Message::Binary(frame.into()));
                    }
                    crate::agent::start(&self.session, shared);
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.unwritten = matches!(
            self.websocket.flush(),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock
        );
    }

    fn wait(&self, session: &Session, links: &Links, more: bool, now: Instant) -> Wait {
        let can_write = !self.unwritten && !self.no_writing && self.closing.is_none();
        let out = links.to_client.next_time(now).filter(|_| can_write);
        let room = session.to_agent.has_room();
        let into = links.to_agent.next_time(now).filter(|_| room);
        let reading = !self.no_reading && room && links.to_agent.has_room(now);
        let leaving = self.leaving.as_ref().map(|(latest, _)| *latest);
        let wants_more = can_write && leaving.is_none() && links.to_client.has_room(now);
        Wait {
            at_once: more || (wants_more && !self.batch.is_empty()),
            until: [out, into, self.closing, leaving]
                .into_iter()
                .flatten()
                .min(),
            not_reading: !reading,
            wants_more,
        }
    }

    fn sleep(&mut self, wait: Wait) {
        let mut interest = PollFlags::empty();
        if !wait.not_reading && !self.no_reading {
            interest |= PollFlags::IN;
        }
        if self.unwritten && !self.no_writing {
            interest |= PollFlags::OUT;
        }
        let something_came = wait.wants_more && !self.session.to_client.may_sleep();
        let timeout = if wait.at_once || something_came {
            Some(Timespec::default())
        } else {
            wait.until.map(|until| {
                let left = until.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }
            })
        };
        let socket = self.websocket.get_ref();
        let mut descriptors = vec![PollFd::new(&self.wake_receiver, PollFlags::IN)];
        // A socket without interest would still report that the other end is gone, again and again.
        if !interest.is_empty() {
            descriptors.push(PollFd::new(socket, interest));
        }
        let _ = poll(&mut descriptors, timeout.as_ref());
        self.wake_receiver.clear();
    }

    /// Ends the connection the way it is to be seen by the client.
    fn finish(mut self, shared: &Arc<Shared>, over: Over) {
        let (how, silent) = match over {
            Over::Gone(how) => (how, false),
            Over::End(ending) => {
                if self.attachment.is_some() && matches!(ending, Ending::Reset | Ending::Eof) {
                    self.read_the_rest();
                }
                if ending == Ending::Reset {
                    reset(self.websocket.get_ref().tcp());
                }
                (format!("{ending:?}"), ending == Ending::Silence)
            }
        };
        let lost_frames = match self.attachment.take() {
            Some(attachment) => self
                .session
                .detach(&attachment, std::mem::take(&mut self.batch)),
            None => 0,
        };
        shared.journal.note(Event::Disconnected {
            session: self.session.id().to_owned(),
            how,
            lost_frames,
        });
        if silent {
            shared.keep_open(self.websocket);
        }
    }
}

/// How long a connection has nothing to do.
#[derive(Default)]
struct Wait {
    at_once: bool,
    until: Option<Instant>,
    not_reading: bool,
    /// More of the agent's could be taken.
    wants_more: bool,
}

/// The service's last word.
fn channel_closed(session: &Session, output: &str) -> Vec<u8> {
    let mut message = Wire::control(MessageType::ChannelClosed, b"");
    let content = to_json(&ChannelClosed {
        created_date: message.created_date.to_string(),
        destination_id: session.config.agent.instance_id.clone(),
        message_id: message.message_id.to_string(),
        message_type: MessageType::ChannelClosed.name().to_owned(),
        output: output.to_owned(),
        schema_version: 1,
        session_id: session.id().to_owned(),
    });
    message.payload = &content;
    message.encode()
}
