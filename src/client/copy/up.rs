//! Upload of files: frames into a remote terminal in raw mode, several sessions at a time for a large file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::context::{Copied, CopyContext};
use super::digest::{self, Hash, HashKind, Hasher};
use super::down::{again, piece};
use super::error::CopyError;
use super::kind::RemoteKind;
use super::local_file::LocalFile;
use super::plan::{Plan, Range, Ticket};
use super::remote::{READING, RemoteScript, SILENCE, Way};
use super::reply::{FileFacts, Reply};
use super::script::{self, BLOCK, HASHED, escaped, name};
use super::tries::Tries;

use crate::mutex::lock;

/// The longest range.
const LONGEST: u64 = 32 << 20;
/// Bytes of a file for which a further session is started.
const WORTH_A_SESSION: u64 = 16 << 20;
/// The data of a frame, in bytes.
const FRAME: usize = 256 * 1024;
/// What may be ahead of what the far side has written, in bytes: of all sessions together, and of each however many there are.
const AHEAD: u64 = 4 << 20;
const LEAST_AHEAD: u64 = 512 << 10;
/// What answers so late is far away: more is on its way then, of one session or of several. In memory it is one and a half times as much,
/// and each session has some of its own: 14 MB with one, 17 MB with four.
const FAR: Duration = Duration::from_millis(100);
const FAR_AHEAD: u64 = AHEAD + AHEAD / 4;
const SHARED_FAR_AHEAD: u64 = AHEAD + AHEAD / 8;

/// Uploads files one after the other.
pub struct Uploader<'a> {
    pub(super) context: &'a CopyContext,
    main: Option<UploadSession>,
}

/// The session that orders go to, and which hash its target can make.
pub(super) type UploadSession = (RemoteScript, HashKind);

impl<'a> Uploader<'a> {
    /// In the session of an earlier one, if there was one.
    pub(super) fn new(context: &'a CopyContext, session: Option<UploadSession>) -> Self {
        Self {
            context,
            main: session,
        }
    }

    /// The session that is left, for the next one.
    pub(super) fn into_session(self) -> Option<UploadSession> {
        self.main
    }

    /// The session that orders go to.
    pub(super) fn main(&mut self) -> Result<(&mut RemoteScript, HashKind), CopyError> {
        let main = match self.main.take() {
            Some(main) => main,
            None => start(self.context)?,
        };
        let (remote, kind) = self.main.insert(main);
        Ok((remote, *kind))
    }

    /// Drops that session after a failure: the next use starts another one.
    pub(super) fn drop_main(&mut self) {
        self.main = None;
    }

    /// Asks what exists at a path of the target.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn kind(&mut self, path: &Path) -> Result<RemoteKind, CopyError> {
        self.retry(|uploader| {
            let (remote, _) = uploader.main()?;
            remote.order(&format!("kind {}", name(path)))?;
            let line = remote.line(SILENCE)?;
            Ok(match line.as_str() {
                "kind file" => RemoteKind::File,
                "kind folder" => RemoteKind::Folder,
                "kind special" => RemoteKind::Special,
                "kind none" => RemoteKind::Nothing,
                _ => return Err(remote.garbled()),
            })
        })
    }

    /// A local file to one of the target's, which is replaced when all of it is there. A relative path begins in the home over there.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn file(&mut self, from: &Path, to: &Path) -> Result<Copied, CopyError> {
        let source = LocalFile::open(from)?;
        self.context.progress.expect(source.facts.size);
        let mut is_first = true;
        let mut once = |uploader: &mut Self| {
            uploader.retry(|uploader| {
                let is_first = std::mem::take(&mut is_first);
                uploader.round(&source, to, is_first)
            })
        };
        let hash = match once(self) {
            // What is wrong is found by comparing the pieces, once.
            Err(CopyError::Different) => once(self)?,
            result => result?,
        };
        Ok(Copied::new(source.facts.size, hash))
    }

    /// What is read from a descriptor to its end. Nothing is kept of it when it breaks off.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn stream(&mut self, from: BorrowedFd<'_>, to: &Path) -> Result<Copied, CopyError> {
        let result = self.stream_once(from, to);
        if result.is_err() {
            self.drop_main();
        }
        result
    }

    fn stream_once(&mut self, from: BorrowedFd<'_>, to: &Path) -> Result<Copied, CopyError> {
        let progress = &self.context.progress;
        let (remote, kind) = self.main()?;
        remote.order(&format!("open {} fresh", name(to)))?;
        size(remote)?;
        let mut hasher = Hasher::new(kind);
        let mut buffer = vec![0; FRAME];
        let (mut total, mut ahead) = (0_u64, 0_u64);
        let mut is_at_end = false;
        while !is_at_end || ahead > 0 {
            let reply = match remote.try_next()? {
                None if is_at_end || ahead >= AHEAD => Some(remote.next(SILENCE)?),
                reply => reply,
            };
            if let Some(reply) = reply {
                ahead = ahead.saturating_sub(wrote(remote, reply)?);
                continue;
            }
            if !is_readable(from) {
                remote.wait_with(READING, Some(from))?;
                continue;
            }
            let count = match rustix::io::read(from, &mut buffer) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(error) => return Err(CopyError::Local(format!("cannot read stdin ({error})"))),
            };
            is_at_end = count == 0;
            if count > 0 {
                remote.order(&format!("write {count}"))?;
                remote.send(&buffer[..count])?;
                hasher.update(&buffer[..count]);
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                ahead += count;
                total += count;
                progress.expect(count);
                progress.carry(count);
            }
        }
        let hash = hasher.finish();
        remote.order(&format!("close {} - - 644", hash.digits))?;
        answer(remote, READING)?;
        Ok(Copied::new(total, hash))
    }

    /// Repeats it in another session when one broke.
    pub(super) fn retry<T>(
        &mut self,
        mut once: impl FnMut(&mut Self) -> Result<T, CopyError>,
    ) -> Result<T, CopyError> {
        let mut tries = Tries::default();
        let progress = &self.context.progress;
        loop {
            let before = progress.carried();
            match once(self) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    self.drop_main();
                    let next = tries.failed(progress.carried() > before);
                    again(self.context, error, next)?;
                }
            }
        }
    }

    /// All that is missing over there, then its end.
    fn round(
        &mut self,
        source: &LocalFile<'_>,
        to: &Path,
        is_first: bool,
    ) -> Result<Hash, CopyError> {
        let context = self.context;
        let (mut remote, kind) = match self.main.take() {
            Some(main) => main,
            None => start(context)?,
        };
        let asked = Instant::now();
        remote.order(&format!("open {} -", name(to)))?;
        let length = size(&mut remote)?;
        let is_far = asked.elapsed() >= FAR;
        let good = compare(&mut remote, source, kind, length)?;
        let plan = Plan::new(source.facts.size, LONGEST, &good);
        if is_first {
            context.progress.carry(source.facts.size - plan.left());
        }
        let others = usize::try_from(plan.left() / WORTH_A_SESSION).unwrap_or(usize::MAX);
        let others = others
            .min(plan.waiting().saturating_sub(1))
            .min(context.options.sessions - 1);
        let sessions = u64::try_from(others + 1).unwrap_or(1);
        let ahead = match (is_far, others) {
            (false, _) => AHEAD,
            (true, 0) => FAR_AHEAD,
            (true, _) => SHARED_FAR_AHEAD,
        };
        let work = Upload {
            context,
            source,
            to,
            plan: Mutex::new(plan),
            failure: Mutex::default(),
            most_ahead: (ahead / sessions).max(LEAST_AHEAD),
        };
        let hash = thread::scope(|scope| {
            let hashing = scope.spawn(|| {
                let is_cancelled = || context.is_cancelled() || work.has_failed();
                digest::of_file(&source.file, kind, 0, source.facts.size, &is_cancelled)
            });
            for number in 0..others {
                let named = thread::Builder::new().name(format!("copy-{number}"));
                // With fewer threads it takes longer.
                let _ = named.spawn_scoped(scope, || work.run(None));
            }
            work.run(Some(&mut remote));
            hashing.join()
        });
        if let Some(error) = lock(&work.failure).take() {
            return Err(error);
        }
        let hash = match hash {
            Ok(hash) => hash.map_err(|error| CopyError::local(source.path, &error))?,
            Err(_) => None,
        };
        let hash = hash.ok_or(CopyError::Cancelled)?;
        source.same()?;
        if !work.plan().is_complete() {
            return Err(CopyError::Broken("the session ended early".to_owned()));
        }
        if length > source.facts.size {
            remote.order(&format!("cut {}", source.facts.size))?;
        }
        remote.order(&close(context, &hash, source.facts))?;
        answer(&mut remote, READING)?;
        self.main = Some((remote, kind));
        Ok(hash)
    }
}

/// The order that ends a file.
pub(super) fn close(context: &CopyContext, hash: &Hash, facts: FileFacts) -> String {
    let kept = kept(context, facts);
    let mode = kept.mode.unwrap_or(0o644);
    let keeps = match context.options.preserve {
        true => format!("{mode:o}"),
        false => "-".to_owned(),
    };
    let time = kept
        .modified
        .map_or("-".to_owned(), |time| time.to_string());
    format!("close {} {keeps} {time} {mode:o}", hash.digits)
}

/// What a file that is not there yet has over there of its permissions and its time.
pub(super) fn kept(context: &CopyContext, facts: FileFacts) -> FileFacts {
    let mode = facts.mode.unwrap_or(0o644);
    match context.options.preserve {
        true => FileFacts {
            mode: Some(mode),
            ..facts
        },
        // What most systems take away by their umask.
        false => FileFacts {
            mode: Some(mode & 0o755),
            modified: None,
            ..facts
        },
    }
}

/// A session that takes orders.
fn start(context: &CopyContext) -> Result<UploadSession, CopyError> {
    let mut remote = RemoteScript::start(&context.starter, Way::Terminal, script::up())?;
    let kind = remote.begin(&context.starter)?;
    Ok((remote, kind))
}

/// Which pieces of what is there are right.
fn compare(
    remote: &mut RemoteScript,
    source: &LocalFile<'_>,
    kind: HashKind,
    length: u64,
) -> Result<Vec<bool>, CopyError> {
    let count = length.min(source.facts.size).div_ceil(HASHED);
    if count == 0 {
        return Ok(Vec::new());
    }
    // What is longer than the file has another hash in its last piece.
    if length > source.facts.size {
        remote.order(&format!("cut {}", source.facts.size))?;
    }
    remote.order(&format!("blocks {count}"))?;
    let mut good = Vec::new();
    for index in 0..count {
        let theirs = piece(remote, index)?;
        let ours = digest::of_piece(&source.file, kind, index);
        let ours = ours.map_err(|error| CopyError::local(source.path, &error))?;
        good.push(ours == Some(theirs));
    }
    match remote.line(SILENCE)?.as_str() {
        "done" => Ok(good),
        _ => Err(remote.garbled()),
    }
}

/// The upload of one file.
struct Upload<'a> {
    context: &'a CopyContext,
    source: &'a LocalFile<'a>,
    to: &'a Path,
    plan: Mutex<Plan>,
    failure: Mutex<Option<CopyError>>,
    most_ahead: u64,
}

impl Upload<'_> {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Carries ranges until there are none: in the session that there is, or in others.
    fn run(&self, main: Option<&mut RemoteScript>) {
        let mut own = None;
        let mut main = main;
        while !self.has_failed() {
            let Some((ticket, range)) = self.plan().take() else {
                return;
            };
            let result = match (&mut main, &mut own) {
                (Some(remote), _) => self.carry(remote, ticket, range),
                (None, Some(remote)) => self.carry(remote, ticket, range),
                (None, empty @ None) => self.open().and_then(|remote| {
                    let remote = empty.insert(remote);
                    self.carry(remote, ticket, range)
                }),
            };
            if let Err(error) = result {
                own = None;
                let next = self.plan().fail(ticket);
                // The main session is needed at the end: its failure is the round's.
                let result = match main.is_some() {
                    true => Err(error),
                    false => again(self.context, error, next),
                };
                if let Err(error) = result {
                    lock(&self.failure).get_or_insert(error);
                }
            }
        }
    }

    /// A further session.
    fn open(&self) -> Result<RemoteScript, CopyError> {
        let (mut remote, _) = start(self.context)?;
        remote.order(&format!("open {} -", name(self.to)))?;
        size(&mut remote)?;
        Ok(remote)
    }

    fn carry(
        &self,
        remote: &mut RemoteScript,
        ticket: Ticket,
        range: Range,
    ) -> Result<(), CopyError> {
        remote.order(&format!("seek {}", range.start / BLOCK))?;
        let mut frame = vec![0; FRAME];
        let (mut at, mut ahead) = (range.start, 0_u64);
        while at < range.end || ahead > 0 {
            let reply = match remote.try_next()? {
                None if at == range.end || ahead >= self.most_ahead => Some(remote.next(SILENCE)?),
                reply => reply,
            };
            if let Some(reply) = reply {
                let written = wrote(remote, reply)?;
                ahead = ahead.saturating_sub(written);
                let advanced = self.plan().advance(ticket, written);
                advanced.map_err(|_| remote.garbled())?;
                self.context.progress.carry(written);
                continue;
            }
            if self.has_failed() {
                return Err(CopyError::Cancelled);
            }
            let left = usize::try_from(range.end - at).unwrap_or(FRAME);
            let frame = &mut frame[..left.min(FRAME)];
            let read = self.source.file.read_exact_at(frame, at);
            read.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self.source.shorter(),
                _ => CopyError::local(self.source.path, &error),
            })?;
            remote.order(&format!("write {}", frame.len()))?;
            remote.send(frame)?;
            let count = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            at += count;
            ahead += count;
        }
        self.plan().finish(ticket);
        Ok(())
    }
}

/// `!size …`, or why not.
fn size(remote: &mut RemoteScript) -> Result<u64, CopyError> {
    let line = remote.line(SILENCE)?;
    if let Some(reason) = line.strip_prefix("no ") {
        return Err(CopyError::of_refusal(reason));
    }
    let size = line
        .strip_prefix("size ")
        .and_then(|size| size.parse().ok());
    size.ok_or_else(|| remote.garbled())
}

/// `!wrote …`, or why not.
fn wrote(remote: &RemoteScript, reply: Reply) -> Result<u64, CopyError> {
    let Reply::Line(line) = reply else {
        return Err(remote.garbled());
    };
    if let Some((_, reason)) = line
        .strip_prefix("lost ")
        .and_then(|rest| rest.split_once(' '))
    {
        return Err(CopyError::of_refusal(reason));
    }
    let written = line
        .strip_prefix("wrote ")
        .and_then(|size| size.parse().ok());
    written.ok_or_else(|| remote.garbled())
}

/// `!yes`, or why not.
fn answer(remote: &mut RemoteScript, silence: Duration) -> Result<(), CopyError> {
    let line = remote.line(silence)?;
    match line.strip_prefix("no ") {
        Some(reason) => Err(CopyError::of_refusal(reason)),
        None if line == "yes" => Ok(()),
        None => Err(remote.garbled()),
    }
}

/// Whether something, or the end, can be read at once.
pub(super) fn is_readable(from: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // What poll(2) cannot tell is read.
    poll(&mut polled, Some(&now)).map_or(true, |count| count > 0)
}

/// A link, by its name and where it leads.
pub(super) fn link(path: &Path, target: &[u8]) -> String {
    format!("link {} {}", name(path), escaped(target))
}
