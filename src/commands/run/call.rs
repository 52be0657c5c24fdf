//! The threads that make the API calls: a slow call delays neither another one nor the handling of a signal.

use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::watch::{Ask, CALLS_AT_ONCE, Trouble};
use crate::client::Limit;
use crate::client::api::{CommandInvocations, CommandOutput, CommandSummary};
use crate::client::{Api, ApiError};
use crate::error::Meaning;

/// One call, with a look for credentials if there are none that are good.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer of a call.
#[derive(Debug)]
pub(super) enum CallAnswer {
    Summary {
        part: usize,
        summary: Option<CommandSummary>,
    },
    Page {
        part: usize,
        page: CommandInvocations,
    },
    Output {
        part: usize,
        node: String,
        output: CommandOutput,
    },
    Failed {
        ask: Ask,
        trouble: Trouble,
    },
}

/// Makes calls. The threads end when this is dropped, each after its call.
#[derive(Debug)]
pub(super) struct Calls {
    asks: Sender<Ask>,
    answers: Receiver<CallAnswer>,
}

impl Calls {
    pub(super) fn start(api: &Api, ids: &[String]) -> io::Result<Self> {
        let (asks, asked) = bounded::<Ask>(CALLS_AT_ONCE);
        let (answer, answers) = bounded(CALLS_AT_ONCE);
        for number in 0..CALLS_AT_ONCE {
            let (api, ids) = (api.clone(), ids.to_vec());
            let (asked, answer) = (asked.clone(), answer.clone());
            thread::Builder::new()
                .name(format!("call-{number}"))
                .spawn(move || {
                    for ask in asked {
                        if answer.send(call(&api, &ids, ask)).is_err() {
                            return;
                        }
                    }
                })?;
        }
        Ok(Self { asks, answers })
    }

    /// Makes a call. There is room for as many calls as may be in flight.
    pub(super) fn make(&self, ask: Ask) {
        // The threads live as long as this.
        let _ = self.asks.send(ask);
    }

    pub(super) fn answers(&self) -> &Receiver<CallAnswer> {
        &self.answers
    }
}

fn call(api: &Api, ids: &[String], ask: Ask) -> CallAnswer {
    let result = once(api, ids, &ask).or_else(|error| {
        // Credentials that are over: others were found by then, or are not.
        if is_expired(&error) {
            once(api, ids, &ask)
        } else {
            Err(error)
        }
    });
    result.unwrap_or_else(|error| CallAnswer::Failed {
        ask,
        trouble: trouble(&error),
    })
}

fn once(api: &Api, ids: &[String], ask: &Ask) -> Result<CallAnswer, ApiError> {
    let limit = Limit::within(CALL_TIMEOUT);
    Ok(match ask {
        Ask::Summary { part } => CallAnswer::Summary {
            part: *part,
            summary: api.command_summary(&ids[*part], &limit)?,
        },
        Ask::Page { part, next } => CallAnswer::Page {
            part: *part,
            page: api.command_invocations(&ids[*part], next.as_deref(), &limit)?,
        },
        Ask::Output { part, node } => CallAnswer::Output {
            part: *part,
            node: node.clone(),
            output: api.command_output(&ids[*part], node, &limit)?,
        },
    })
}

fn is_expired(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { refusal, .. } if refusal.code.starts_with("ExpiredToken"))
}

fn trouble(error: &ApiError) -> Trouble {
    match error {
        ApiError::Refused { refusal, .. } if refusal.is_throttled() => Trouble::Throttled,
        ApiError::Refused { refusal, .. }
            if matches!(
                refusal.code.as_str(),
                "InvalidCommandId" | "InvocationDoesNotExist"
            ) =>
        {
            Trouble::Unknown(error.clone().into_error().to_string())
        }
        error if error.failure().meaning == Meaning::Temporary => {
            Trouble::Temporary(error.to_string())
        }
        error => Trouble::Final(error.clone().into_error().to_string()),
    }
}
