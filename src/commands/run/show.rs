//! What a user sees of a command on a fleet: each node's output, a line of progress, a table at the end; or JSON.

use rustix::termios::isatty;
use serde::Serialize;

use super::super::json::message;
use super::super::output::{PacedOutput, Unwritten};
use super::ended::EndedInvocation;
use super::send::Left;
use super::watch::Counts;
use crate::error::Error;
use crate::sanitise;
use crate::terminal::print;
use crate::terminal::progress_line::ProgressLine;
use crate::terminal::signals::Signals;

/// Nodes that the table at the end lists when all went well, and the most that failed.
const MOST_LISTED: usize = 50;
const MOST_FAILED_LISTED: usize = 1000;

/// Shows commands on stdout and stderr.
#[derive(Debug)]
pub(super) struct RunShow {
    json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    stdout: PacedOutput,
    /// For the output of nodes and the table; notices do not wait.
    stderr: PacedOutput,
    line: ProgressLine,
    /// What the line says.
    progress: String,
    rows: Vec<Row>,
    succeeded: u64,
    failed: u64,
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    node: String,
    name: String,
    how: String,
    code: String,
    is_success: bool,
}

impl RunShow {
    pub(super) fn new(json: bool, signals: &Signals, term: Option<&str>) -> Self {
        Self {
            json,
            stdout_is_terminal: isatty(rustix::stdio::stdout()),
            stderr_is_terminal: isatty(rustix::stdio::stderr()),
            stdout: PacedOutput::stdout(signals),
            stderr: PacedOutput::stderr(signals),
            line: ProgressLine::new(term),
            progress: String::new(),
            rows: Vec::new(),
            succeeded: 0,
            failed: 0,
        }
    }

    /// A command that was sent, or that is followed again.
    pub(super) fn command(&mut self, id: &str, document: Option<&str>) -> Result<(), Unwritten> {
        if self.json {
            return self.event(&RunEvent::Command {
                command_id: id,
                document,
            });
        }
        let document = document.map_or(String::new(), |document| format!(" ({document})"));
        print::complaint(format!("command {id}{document}"));
        Ok(())
    }

    /// A node on which it has ended.
    pub(super) fn ended(&mut self, ended: &EndedInvocation) -> Result<(), Unwritten> {
        self.clear_progress();
        self.count(Row {
            node: ended.node.clone(),
            name: ended.name.clone(),
            how: ended.how.clone(),
            code: ended.code.map_or(String::new(), |code| code.to_string()),
            is_success: ended.is_success(),
        });
        if self.json {
            return self.event(&RunEvent::of(ended));
        }
        let end = match ended.code {
            Some(code) if ended.is_success() || ended.how == "Failed" => {
                format!("exit code {code}")
            }
            Some(code) => format!("{}, exit code {code}", ended.how),
            None => ended.how.clone(),
        };
        let name = Some(&ended.name).filter(|name| !name.is_empty());
        let name = name.map_or(String::new(), |name| format!(" ({name})"));
        self.stdout
            .write(&format!("== {}{name}: {end}\n", ended.node))?;
        self.stdout.write(&self.shown(&ended.stdout))?;
        self.tell(&self.shown(&ended.stderr));
        for (is_cut, what) in ended.is_cut.into_iter().zip(["stdout", "stderr"]) {
            if is_cut {
                let place = if ended.places.is_empty() {
                    "the command names no place in S3 or CloudWatch where all of it would be"
                        .to_owned()
                } else {
                    format!("all of it is in {}", ended.places.join(" and "))
                };
                print::complaint(format!(
                    "{}: the service keeps only the beginning of {what}; {place}",
                    ended.node
                ));
            }
        }
        if let Some(why) = &ended.unread {
            print::complaint(format!("{}: its output cannot be read: {why}", ended.node));
        }
        Ok(())
    }

    /// A node that gets no command.
    pub(super) fn left(&mut self, left: &Left) -> Result<(), Unwritten> {
        self.count(Row {
            node: left.node.clone(),
            name: left.name.clone(),
            how: "NotSent".to_owned(),
            code: String::new(),
            is_success: false,
        });
        if self.json {
            return self.event(&RunEvent::Result {
                target: &left.node,
                name: &left.name,
                state: "NotSent",
                status: None,
                reason: Some(&left.why),
                stdout: None,
                stderr: None,
                stdout_cut: false,
                stderr_cut: false,
                places: &[],
            });
        }
        print::complaint(format!("{} {}", left.name, left.why));
        Ok(())
    }

    /// Nodes of which the service says nothing.
    pub(super) fn untold(&mut self, count: u64, details: &str) {
        self.clear_progress();
        self.failed = self.failed.saturating_add(count);
        print::complaint(format!(
            "{count} further nodes did not get the command ({details})"
        ));
    }

    /// Shows how many nodes have ended.
    pub(super) fn progress(&mut self, counts: Counts) {
        let Counts { all, done, failed } = counts;
        let running = all.saturating_sub(done);
        let line = format!("{done} done, {running} to go, {failed} failed of {all}");
        if line != self.progress && self.line.show(&line) {
            self.progress = line;
        }
    }

    /// Clears the line of progress before something else is shown.
    pub(super) fn clear_progress(&mut self) {
        self.progress.clear();
        self.line.clear();
    }

    /// The table, and the numbers; the exit code.
    pub(super) fn end(&mut self) -> Result<u8, Unwritten> {
        self.clear_progress();
        let code = u8::from(self.failed > 0 || self.succeeded == 0);
        let (succeeded, failed) = (self.succeeded, self.failed);
        if self.json {
            self.event(&RunEvent::End {
                code,
                succeeded: Some(succeeded),
                failed: Some(failed),
            })?;
            return Ok(code);
        }
        let table = table(&self.rows);
        self.tell(&format!("{table}{succeeded} succeeded, {failed} failed\n"));
        // What nodes wrote to stderr is somebody's data.
        Ok(code.max(self.stderr.has_failed().into()))
    }

    /// The service means no node by what was asked for, if none was shown.
    pub(super) fn none_meant(&mut self) -> Result<(), Unwritten> {
        if self.succeeded > 0 || self.failed > 0 {
            return Ok(());
        }
        let message = "no node is meant: see `session-manager-plugin list`";
        if !self.json {
            print::complaint(message);
            return Ok(());
        }
        self.event(&RunEvent::Error {
            kind: "no_target",
            aws_code: None,
            message,
        })
    }

    fn count(&mut self, row: Row) {
        if row.is_success {
            self.succeeded += 1;
        } else {
            self.failed = self.failed.saturating_add(1);
        }
        let all = self.succeeded.saturating_add(self.failed);
        if all > MOST_LISTED as u64 {
            // Only the failures of so many are of interest.
            self.rows.retain(|row| !row.is_success);
        }
        let is_shown = all <= MOST_LISTED as u64 || !row.is_success;
        if is_shown && self.rows.len() < MOST_FAILED_LISTED {
            self.rows.push(row);
        }
    }

    /// Output with its last line finished; on a terminal without what that would obey.
    fn shown(&self, output: &str) -> String {
        let mut shown = if self.stdout_is_terminal || self.stderr_is_terminal {
            sanitise::text(output)
        } else {
            output.to_owned()
        };
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push('\n');
        }
        shown
    }

    fn event(&mut self, event: &RunEvent<'_>) -> Result<(), Unwritten> {
        let line = serde_json::to_string(event).map_err(|_| Unwritten)?;
        self.stdout.write(&format!("{line}\n"))
    }

    /// To stderr.
    fn tell(&mut self, text: &str) {
        // Who does not read it does not want it.
        let _ = self.stderr.write(text);
    }
}

/// It could not be done, or not be followed to its end.
pub(super) fn failed(json: bool, error: &Error) {
    print::complaint(error);
    if json {
        let message = message(error, &error.to_string());
        let events = [
            RunEvent::Error {
                kind: error.kind(),
                aws_code: error.aws_code(),
                message: &message,
            },
            RunEvent::End {
                code: error.exit_code(),
                succeeded: None,
                failed: None,
            },
        ];
        for line in events.iter().flat_map(serde_json::to_string) {
            print::to_stdout(&format!("{line}\n"));
        }
    }
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum RunEvent<'a> {
    Command {
        command_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        document: Option<&'a str>,
    },
    Result {
        target: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        state: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stdout: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stderr: Option<&'a str>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stdout_cut: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stderr_cut: bool,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        places: &'a [String],
    },
    Error {
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aws_code: Option<&'a str>,
        message: &'a str,
    },
    End {
        code: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        succeeded: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<u64>,
    },
}

impl<'a> RunEvent<'a> {
    fn of(ended: &'a EndedInvocation) -> Self {
        let [stdout_cut, stderr_cut] = ended.is_cut;
        Self::Result {
            target: &ended.node,
            name: &ended.name,
            state: &ended.how,
            status: ended.code,
            reason: ended.unread.as_deref(),
            stdout: Some(&ended.stdout),
            stderr: Some(&ended.stderr),
            stdout_cut,
            stderr_cut,
            places: &ended.places,
        }
    }
}

/// Aligned, with a head; nothing for no rows.
fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head = Row {
        node: "NODE".to_owned(),
        name: "NAME".to_owned(),
        how: "STATE".to_owned(),
        code: "CODE".to_owned(),
        is_success: true,
    };
    let all = || std::iter::once(&head).chain(rows);
    let width = |text: fn(&Row) -> &String| {
        let widths = all().map(|row| text(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let node = width(|row| &row.node);
    let name = width(|row| &row.name);
    let how = width(|row| &row.how);
    all()
        .map(|row| {
            let line = format!(
                "{:node$}  {:name$}  {:how$}  {}",
                row.node, row.name, row.how, row.code
            );
            line.trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let row = |node: &str, name: &str, how: &str, code: &str| Row {
            node: node.to_owned(),
            name: name.to_owned(),
            how: how.to_owned(),
            code: code.to_owned(),
            is_success: true,
        };
        let rows = [
            row("i-1", "web-1.example", "Success", "0"),
            row("mi-22", "", "DeliveryTimedOut", ""),
        ];
        let expected = "\
NODE   NAME           STATE             CODE
i-1    web-1.example  Success           0
mi-22                 DeliveryTimedOut
";
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&[]), "");
    }
}
