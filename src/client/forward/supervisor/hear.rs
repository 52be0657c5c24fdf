//! How the supervisor waits for events.

use crossbeam_channel::Select;

use super::{ForwardReport, SessionNumber, Supervisor, SupervisorEvent};

impl Supervisor {
    pub(super) fn hear(&self) -> SupervisorEvent {
        let mut select = Select::new();
        select.recv(&self.stop);
        select.recv(&self.reports);
        select.recv(&self.answers.1);
        let keys: Vec<_> = self.sessions.keys().copied().collect();
        // The notices of a data channel that has ended are over; the port thread reports the session's end.
        let notices = keys
            .iter()
            .filter_map(|key| Some((*key, self.sessions.get(key)?.session.notices())));
        let notices: Vec<_> = notices.filter(|(key, _)| !self.has_ended(*key)).collect();
        for (_, receiver) in &notices {
            select.recv(receiver);
        }
        let due = self.due.iter().map(|(at, _)| *at).min();
        let operation = match due {
            Some(at) => match select.select_deadline(at) {
                Ok(operation) => operation,
                Err(_) => return SupervisorEvent::Due,
            },
            None => select.select(),
        };
        match operation.index() {
            0 => {
                // The handle that could stop it was dropped.
                let _ = operation.recv(&self.stop);
                SupervisorEvent::Stop
            }
            1 => match operation.recv(&self.reports) {
                Ok(report) => SupervisorEvent::Report(report),
                Err(_) => SupervisorEvent::Report(ForwardReport::Broken(std::io::Error::other(
                    "its thread is gone",
                ))),
            },
            2 => match operation.recv(&self.answers.1) {
                Ok(answer) => SupervisorEvent::Answer(answer),
                Err(_) => SupervisorEvent::Due,
            },
            index => {
                let (key, receiver) = notices[index - 3];
                match operation.recv(receiver) {
                    Ok(notice) => SupervisorEvent::Notice(key, notice),
                    Err(_) => SupervisorEvent::Due,
                }
            }
        }
    }

    fn has_ended(&self, key: SessionNumber) -> bool {
        self.sessions
            .get(&key)
            .is_none_or(|session| session.session.channel().has_ended())
    }
}
