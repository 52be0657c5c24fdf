//! What is known of one command on a fleet.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::ended::{EndedInvocation, is_final};
use crate::client::api::{CommandInvocation, CommandSummary};

/// Nodes that one command may have: what is remembered of each is its id.
pub(super) const MOST_NODES: usize = 100_000;
/// Between summaries, when something happens and when nothing does.
pub(super) const SUMMARY_INTERVALS: [Duration; 2] =
    [Duration::from_millis(500), Duration::from_secs(5)];

/// One command.
#[derive(Debug)]
pub(super) struct WatchedCommand {
    pub(super) summary: Option<CommandSummary>,
    pub(super) summary_at: Option<Instant>,
    pub(super) interval: Duration,
    pub(super) list: Listing,
    pub(super) known: HashSet<Box<str>>,
    pub(super) passed_over: u64,
    pub(super) failed: u64,
    pub(super) is_over: bool,
}

#[derive(Debug)]
pub(super) enum Listing {
    /// None is read; the next one no earlier than this.
    Idle(Option<Instant>),
    /// This page is next.
    Next(OutputPages),
    /// It is under way.
    Asked(OutputPages),
}

/// A list as it is read.
#[derive(Debug, Clone)]
pub(super) struct OutputPages {
    pub(super) next: Option<String>,
    pub(super) began: Instant,
    /// Whether it began after the command's end.
    pub(super) is_last: bool,
    /// Nodes in it that have not ended.
    pub(super) unfinished: Vec<CommandInvocation>,
    /// How often it was read since the command's end.
    pub(super) attempt: u32,
}

impl OutputPages {
    pub(super) fn new(began: Instant, is_last: bool, attempt: u32) -> Self {
        Self {
            next: None,
            began,
            is_last,
            unfinished: Vec::new(),
            attempt,
        }
    }
}

impl WatchedCommand {
    /// Nothing of it is known; its summary is to be asked for at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            summary: None,
            summary_at: Some(now),
            interval: SUMMARY_INTERVALS[0],
            list: Listing::Idle(None),
            known: HashSet::new(),
            passed_over: 0,
            failed: 0,
            is_over: false,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        let status = self.summary.as_ref().map(|summary| summary.status.as_str());
        status.is_some_and(is_final)
    }

    pub(super) fn targets(&self) -> u64 {
        self.summary.as_ref().map_or(0, |summary| summary.targets)
    }

    pub(super) fn count_known(&self) -> u64 {
        u64::try_from(self.known.len()).unwrap_or(u64::MAX)
    }

    /// Whether a list would tell something new.
    pub(super) fn wants_list(&self) -> bool {
        let completed = self.summary.as_ref().map_or(0, |summary| summary.completed);
        !self.is_over && (self.has_ended() || completed > self.count_known())
    }

    pub(super) fn know(&mut self, ended: &EndedInvocation) -> Result<(), String> {
        self.remember(ended.node.clone())?;
        self.failed += u64::from(!ended.is_success());
        Ok(())
    }

    /// The node is not one to ask about again.
    pub(super) fn remember(&mut self, node: String) -> Result<(), String> {
        self.check_room(0)?;
        self.known.insert(node.into());
        Ok(())
    }

    /// Whether another node can be followed besides those that are known and so many others.
    pub(super) fn check_room(&self, others: usize) -> Result<(), String> {
        if self.known.len() + others < MOST_NODES {
            return Ok(());
        }
        Err(format!(
            "the command has more nodes than can be followed ({MOST_NODES})"
        ))
    }
}
