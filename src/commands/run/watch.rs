//! What is known of commands that run on a fleet, what to ask next, and when. No I/O, and the time is a parameter.
//!
//! A command's summary is one call whatever the size of the fleet, and says on how many nodes it has ended. Only when that is more than is
//! known the invocations are listed, 50 a page, with the beginning of their output: for most nodes that is all there is. The others' output
//! is asked for one by one. Listing takes at most about a quarter of the time, so that thousands of nodes cost few calls while they are
//! under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ended::{EndedInvocation, is_final};
use super::pace::CallPace;
use super::watched_command::{Listing, OutputPages, SUMMARY_INTERVALS, WatchedCommand};
use crate::client::api::{CommandInvocations, CommandOutput, CommandSummary};

/// Calls under way at the same time.
pub(super) const CALLS_AT_ONCE: usize = 4;
/// After a list's end, in lists' lengths.
const LIST_PAUSE: u32 = 3;
/// How often a list is read again that does not yet show what the summary says.
const LATE_LISTS: u32 = 4;
/// Between those.
const LATE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a command may be unknown to parts of the service after it was sent.
const UNKNOWN_TIME: Duration = Duration::from_secs(15);
/// How long the service may not be reached.
const TROUBLE_TIME: Duration = Duration::from_secs(600);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be asked; answered by the function of [`RunWatch`] with the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// ListCommands.
    Summary { part: usize },
    /// ListCommandInvocations.
    Page { part: usize, next: Option<String> },
    /// GetCommandInvocation.
    Output { part: usize, node: String },
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WatchStep {
    /// Make this call.
    Ask(Ask),
    /// Wait for an answer, but not longer than this.
    Wait(Option<Instant>),
    /// Everything is known.
    Over,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Too many calls.
    Throttled,
    /// The service does not know the command or the node, perhaps not yet.
    Unknown(String),
    /// It may succeed later.
    Temporary(String),
    /// It will not succeed.
    Final(String),
}

/// Numbers of nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// On which the commands are to run, as far as the service knows yet.
    pub(super) all: u64,
    /// On which it has ended.
    pub(super) done: u64,
    /// Of those, on which it failed.
    pub(super) failed: u64,
}

/// Follows commands to their end.
#[derive(Debug)]
pub(super) struct RunWatch {
    parts: Vec<WatchedCommand>,
    pace: CallPace,
    in_flight: usize,
    ended: VecDeque<EndedInvocation>,
    /// Nodes whose output is to be asked for, with what is known of them.
    unread: VecDeque<(usize, EndedInvocation)>,
    /// Those that are being asked for.
    reading: Vec<(usize, EndedInvocation)>,
    /// Nothing is asked before.
    pause_until: Option<Instant>,
    trouble: Option<(Instant, u32)>,
    started: Instant,
    options: WatchOptions,
}

/// What is known of the commands before anything is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WatchOptions {
    /// They were sent just now: parts of the service may not know them yet.
    pub(super) is_new: bool,
    /// A node of another platform than a command is for is not one of its nodes: it gets another command.
    pub(super) is_mixed: bool,
}

impl RunWatch {
    /// Follows so many commands, numbered from 0.
    pub(super) fn new(parts: usize, options: WatchOptions, now: Instant) -> Self {
        Self {
            parts: (0..parts).map(|_| WatchedCommand::new(now)).collect(),
            pace: CallPace::default(),
            in_flight: 0,
            ended: VecDeque::new(),
            unread: VecDeque::new(),
            reading: Vec::new(),
            pause_until: None,
            trouble: None,
            started: now,
            options,
        }
    }

    /// What to do now. To be asked again after every answer, and when the time comes that it names.
    #[must_use]
    pub(super) fn next(&mut self, now: Instant) -> WatchStep {
        if self.in_flight >= CALLS_AT_ONCE {
            return WatchStep::Wait(None);
        }
        let gate = self.pace.next().max(self.pause_until);
        let (ask, due) = self.choose(now);
        if let Some(gate) = gate.filter(|gate| *gate > now)
            && ask.is_some()
        {
            return WatchStep::Wait(Some(gate));
        }
        let Some(ask) = ask else {
            let is_over = self.in_flight == 0 && self.parts.iter().all(|part| part.is_over);
            return if is_over {
                WatchStep::Over
            } else {
                WatchStep::Wait(due)
            };
        };
        self.take(&ask, now);
        self.pace.called(now);
        self.in_flight += 1;
        WatchStep::Ask(ask)
    }

    /// What is due, else when something will be.
    fn choose(&self, now: Instant) -> (Option<Ask>, Option<Instant>) {
        let mut due: Option<Instant> = None;
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        for (part, state) in self.parts.iter().enumerate() {
            if is_due(state.summary_at) {
                return (Some(Ask::Summary { part }), None);
            }
            due = earliest(due, state.summary_at);
        }
        if let Some((part, ended)) = self.unread.front() {
            let (part, node) = (*part, ended.node.clone());
            return (Some(Ask::Output { part, node }), None);
        }
        for (part, state) in self.parts.iter().enumerate() {
            match &state.list {
                Listing::Next(reading) => {
                    let next = reading.next.clone();
                    return (Some(Ask::Page { part, next }), None);
                }
                Listing::Idle(time) if state.wants_list() => {
                    if state.has_ended() || time.is_none_or(|time| time <= now) {
                        return (Some(Ask::Page { part, next: None }), None);
                    }
                    due = earliest(due, *time);
                }
                Listing::Idle(_) | Listing::Asked(_) => {}
            }
        }
        (None, due)
    }

    fn take(&mut self, ask: &Ask, now: Instant) {
        match ask {
            Ask::Summary { part } => self.parts[*part].summary_at = None,
            Ask::Output { .. } => self.reading.extend(self.unread.pop_front()),
            Ask::Page { part, .. } => {
                let part = &mut self.parts[*part];
                let is_last = part.has_ended();
                let list = std::mem::replace(&mut part.list, Listing::Idle(None));
                part.list = Listing::Asked(match list {
                    Listing::Next(reading) | Listing::Asked(reading) => reading,
                    Listing::Idle(_) => OutputPages::new(now, is_last, 0),
                });
            }
        }
    }

    /// A summary came; none if the service does not list the command.
    ///
    /// # Errors
    /// The service does not know the command.
    pub(super) fn summary(
        &mut self,
        part: usize,
        summary: Option<CommandSummary>,
        now: Instant,
    ) -> Result<(), String> {
        let Some(summary) = summary else {
            let unknown = Trouble::Unknown("the service does not know the command".to_owned());
            return self.failed(Ask::Summary { part }, unknown, now);
        };
        self.succeeded();
        let part = &mut self.parts[part];
        let moved = part.summary.as_ref() != Some(&summary);
        let [shortest, longest] = SUMMARY_INTERVALS;
        part.interval = if moved {
            shortest
        } else {
            (part.interval * 3 / 2).min(longest)
        };
        part.summary = Some(summary);
        part.summary_at = (!part.has_ended()).then(|| now + part.interval);
        Ok(())
    }

    /// A page came.
    ///
    /// # Errors
    /// The command has more nodes than can be followed.
    pub(super) fn page(
        &mut self,
        number: usize,
        page: CommandInvocations,
        now: Instant,
    ) -> Result<(), String> {
        self.succeeded();
        let part = &mut self.parts[number];
        let Listing::Asked(mut reading) = std::mem::replace(&mut part.list, Listing::Idle(None))
        else {
            return Ok(());
        };
        for invocation in page.invocations {
            if part.known.contains(invocation.node.as_str()) {
                continue;
            }
            if self.options.is_mixed && invocation.details == "InvalidPlatform" {
                part.remember(invocation.node)?;
                part.passed_over += 1;
                continue;
            }
            if !is_final(&invocation.status) {
                if reading.is_last {
                    part.check_room(reading.unfinished.len())?;
                    reading.unfinished.push(invocation);
                }
                continue;
            }
            let (ended, is_whole) = EndedInvocation::of(invocation);
            part.know(&ended)?;
            if is_whole {
                self.ended.push_back(ended);
            } else {
                self.unread.push_back((number, ended));
            }
        }
        let is_enough = !reading.is_last && !part.wants_list();
        reading.next = page.next.filter(|_| !is_enough);
        if reading.next.is_some() {
            part.list = Listing::Next(reading);
            return Ok(());
        }
        let length = now.saturating_duration_since(reading.began);
        if !reading.is_last {
            part.list = Listing::Idle(Some(now + length * LIST_PAUSE));
            return Ok(());
        }
        let is_complete = reading.unfinished.is_empty() && part.count_known() >= part.targets();
        if is_complete || reading.attempt >= LATE_LISTS {
            // The command as a whole has ended: what its nodes are said to do is late, and stays so.
            for invocation in reading.unfinished {
                let (ended, _) = EndedInvocation::of(invocation);
                part.know(&ended)?;
                self.ended.push_back(ended);
            }
            part.is_over = true;
        } else {
            let began = now + LATE_INTERVAL;
            self.pause_until = Some(began);
            part.list = Listing::Next(OutputPages::new(began, true, reading.attempt + 1));
        }
        Ok(())
    }

    /// Output came.
    pub(super) fn output(&mut self, part: usize, node: &str, output: CommandOutput) {
        self.succeeded();
        let Some(mut ended) = self.read(part, node) else {
            return;
        };
        ended.read(output);
        self.ended.push_back(ended);
    }

    /// A call failed.
    ///
    /// # Errors
    /// The failure is final.
    pub(super) fn failed(
        &mut self,
        ask: Ask,
        trouble: Trouble,
        now: Instant,
    ) -> Result<(), String> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_young =
            self.options.is_new && now.saturating_duration_since(self.started) < UNKNOWN_TIME;
        match (trouble, &ask) {
            (Trouble::Throttled, _) => self.pace.throttled(now),
            (Trouble::Unknown(_), _) if is_young => self.pause_until = Some(now + LATE_INTERVAL),
            (Trouble::Unknown(why) | Trouble::Final(why), Ask::Output { part, node }) => {
                if let Some(mut ended) = self.read(*part, node) {
                    ended.unread = Some(why);
                    self.ended.push_back(ended);
                }
                return Ok(());
            }
            (Trouble::Unknown(why) | Trouble::Final(why), _) => return Err(why),
            (Trouble::Temporary(why), _) => {
                let (since, times) = self.trouble.unwrap_or((now, 0));
                if now.saturating_duration_since(since) >= TROUBLE_TIME {
                    return Err(why);
                }
                self.trouble = Some((since, times + 1));
                let pause = Duration::from_secs(1) * 2u32.pow(times.min(5));
                self.pause_until = Some(now + pause.min(LONGEST_PAUSE));
            }
        }
        self.again(ask, now);
        Ok(())
    }

    fn again(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Summary { part } => self.parts[part].summary_at = Some(now),
            Ask::Page { part, .. } => {
                let part = &mut self.parts[part];
                if let Listing::Asked(reading) = &part.list {
                    part.list = Listing::Next(reading.clone());
                }
            }
            Ask::Output { part, node } => {
                let ended = self.read(part, &node);
                self.unread.extend(ended.map(|ended| (part, ended)));
            }
        }
    }

    fn succeeded(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.trouble = None;
        self.pace.accepted();
    }

    fn read(&mut self, part: usize, node: &str) -> Option<EndedInvocation> {
        let is_it = |(of, ended): &(usize, EndedInvocation)| *of == part && ended.node == node;
        let index = self.reading.iter().position(is_it)?;
        Some(self.reading.swap_remove(index).1)
    }

    /// The commands were cancelled: their summaries are asked for soon.
    pub(super) fn look_soon(&mut self, now: Instant) {
        for part in &mut self.parts {
            part.interval = SUMMARY_INTERVALS[0];
            part.summary_at = part.summary_at.map(|time| time.min(now + part.interval));
        }
    }

    /// The next node on which it has ended, with its output.
    pub(super) fn take_ended(&mut self) -> Option<EndedInvocation> {
        self.ended.pop_front()
    }

    /// How many nodes stand where.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for part in &self.parts {
            let summary = part.summary.as_ref();
            let of_summary = |field: fn(&CommandSummary) -> u64| {
                summary.map_or(0, field).saturating_sub(part.passed_over)
            };
            let known = part.count_known().saturating_sub(part.passed_over);
            let failed = summary.map_or(0, |summary| summary.errors);
            add(
                &mut counts.all,
                of_summary(|summary| summary.targets).max(known),
            );
            add(
                &mut counts.done,
                of_summary(|summary| summary.completed).max(known),
            );
            add(&mut counts.failed, failed.max(part.failed));
        }
        counts
    }

    /// Nodes of which the service never told anything, in commands that are over, and what it says of those commands.
    pub(super) fn untold(&self) -> Option<(u64, String)> {
        let untold = |part: &WatchedCommand| part.targets().saturating_sub(part.count_known());
        let mut count = 0;
        for part in &self.parts {
            add(&mut count, untold(part));
        }
        let part = self.parts.iter().find(|part| untold(part) > 0)?;
        let details = part.summary.as_ref().map(|summary| summary.details.clone());
        Some((count, details.unwrap_or_default()))
    }
}

/// What the service counts may be any number.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
