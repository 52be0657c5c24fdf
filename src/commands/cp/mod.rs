//! `cp`: files to and from a target. What carries them is [`Transfer`](crate::Transfer); here are stdin, stdout, signals, what the user
//! sees, and the exit code.
//!
//! It needs `ssm:StartSession` (with the documents AWS-StartNonInteractiveCommand and AWS-StartInteractiveCommand),
//! `ssmmessages:OpenDataChannel` and `ssm:TerminateSession`.

mod copying;
mod show;

use std::thread;

use crossbeam_channel::{after, bounded, never, select, unbounded};
use rustix::termios::isatty;

use super::Surroundings;
use super::interruption::Interruption;
use super::outages::Outages;
use crate::cli::{Cp, CpOrder};
use crate::client::target::TargetError;
use crate::client::{Cancel, ClientError};
use crate::error::Error;
use crate::session::out_of_resources;
use crate::terminal::print;
use copying::{Event, Summary};
use show::Show;

/// Events that wait to be shown: who reads slowly holds up the copy.
const MOST_EVENTS: usize = 256;

/// Runs `cp` and returns the exit code.
///
/// # Errors
/// What prevents its start.
pub(super) fn run(cp: &Cp, around: &Surroundings) -> Result<u8, Error> {
    let order = cp.order(&around.environment)?;
    let (notices, heard) = unbounded();
    let client = around.client_telling(&cp.starting.account, notices)?;
    let cancel = Cancel::new().map_err(|error| out_of_resources(&error))?;
    let wait = cp.starting.wait();
    let (CpOrder::Down { target, .. } | CpOrder::Up { target, .. }) = &order;
    // Signals end the program meanwhile: there is nothing to clean up.
    let (target, ()) = client
        .reach(target, wait, |_, _| Ok(()))
        .map_err(TargetError::into_error)?;
    let signals = around.catch_signals()?;
    let mut transfer = client
        .with_cancel(&cancel)
        .copy(&target)
        .sessions(cp.sessions);
    if cp.preserve {
        transfer = transfer.preserve();
    }
    if let Some(wait) = wait {
        transfer = transfer.wait(wait);
    }
    if let Some(reason) = &cp.starting.reason {
        transfer = transfer.reason(reason);
    }
    let mut copying = transfer.begin().map_err(ClientError::into_error)?;
    // A line of progress would be drawn over those of a file that comes on the same terminal, or is typed there.
    let has_terminal = match order {
        CpOrder::Down { to: None, .. } => isatty(rustix::stdio::stdout()),
        CpOrder::Up { from: None, .. } => isatty(rustix::stdio::stdin()),
        _ => false,
    };
    let mut show = Show::new(
        cp,
        transfer.progress(),
        &signals,
        around.redactor.clone(),
        around.environment.get("TERM").filter(|_| !has_terminal),
    );
    let (sender, events) = bounded(MOST_EVENTS);
    let (alive, done) = bounded::<()>(0);
    let recursive = cp.recursive;
    let can_go_on = copying::can_go_on(&order);
    let copying = thread::Builder::new()
        .name("copy".to_owned())
        .spawn(move || {
            let mut tell = |event: Event| {
                // After a signal the receiver is gone.
                let _ = sender.send(event);
            };
            let summary = copying::run(&mut copying, &order, recursive, &mut tell);
            drop(sender);
            copying.finish();
            drop(alive);
            summary
        })
        .map_err(|error| out_of_resources(&error))?;
    let mut events = events;
    let mut tick = show.interval().map_or_else(never, after);
    let mut interruption = Interruption::new(&cancel);
    let mut outages = Outages::new(around.redactor.clone());
    let summary = loop {
        select! {
            recv(events) -> event => match event {
                Ok(event) => show.event(event),
                Err(_) => events = never(),
            },
            // The client holds a sender.
            recv(heard) -> notice => if let Ok(notice) = notice {
                show.clear();
                outages.tell(&notice);
            },
            recv(done) -> _ => break copying.join().ok(),
            recv(signals.incoming()) -> signal => if let Ok(signal) = signal {
                show.hurry();
                if interruption.handle(signal).is_break() {
                    break None;
                }
            },
            recv(interruption.give_up()) -> _ => break None,
            recv(tick) -> _ => {
                show.progress();
                tick = show.interval().map_or_else(never, after);
            }
        }
    };
    // Events that were sent just before the end.
    while let Ok(event) = events.try_recv() {
        show.event(event);
    }
    let code = match (interruption.by(), &summary) {
        (Some(signal), _) => {
            show.clear();
            if can_go_on {
                print::complaint("interrupted; the same command goes on from where it was");
            }
            Error::Signal(signal.number()).exit_code()
        }
        (None, Some(Summary { failed: 0 })) => 0,
        _ => 1,
    };
    Ok(show.end(code))
}
