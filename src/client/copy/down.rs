//! Download of a file: remote commands print ranges of it, several at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::context::{Copied, CopyContext};
use super::digest::{self, Hash, HashKind, Hasher};
use super::error::CopyError;
use super::part::PartFile;
use super::plan::{Plan, Range, Ticket};
use super::remote::{READING, RemoteScript, SILENCE, Way};
use super::reply::{FileFacts, Reply};
use super::script::{self, BLOCK, Down, HASHED};
use super::tries::{Next, Tries};
use crate::mutex::lock;
use crate::network::Limit;

/// The longest range: as base64 in messages of 1 KiB fewer than the 100,000 that an agent keeps until they are acknowledged.
const LONGEST: u64 = 48 << 20;
/// Bytes of one write.
const WRITE: usize = 128 * 1024;
/// Longer than any wait after a failure.
const LONG: Duration = Duration::from_secs(3600);

/// Downloads a file.
pub(super) fn file(context: &CopyContext, from: &Path, to: &Path) -> Result<Copied, CopyError> {
    let part = PartFile::open(to)?;
    let copied = fetch(context, from, &part);
    let (facts, hash) = copied.inspect_err(|_| part.discard_if_empty())?;
    part.finish(facts, context.options.preserve)?;
    Ok(Copied::new(facts.size, hash))
}

fn fetch(
    context: &CopyContext,
    from: &Path,
    part: &PartFile,
) -> Result<(FileFacts, Hash), CopyError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (facts, hash) = round(context, from, part, tries == 1)?;
        let is_cancelled = || context.is_cancelled();
        let ours = digest::of_file(&part.file, hash.kind, 0, facts.size, &is_cancelled)
            .map_err(|error| part.failed(&error))?
            .ok_or(CopyError::Cancelled)?;
        if ours == hash {
            return Ok((facts, hash));
        }
        // What is wrong is found by comparing the pieces, once.
        if tries > 1 {
            return Err(CopyError::Different);
        }
    }
}

/// All that is missing, and the far side's hash of the whole.
fn round(
    context: &CopyContext,
    from: &Path,
    part: &PartFile,
    is_first: bool,
) -> Result<(FileFacts, Hash), CopyError> {
    let mut tries = Tries::default();
    let (opened, plan) = loop {
        match Opened::new(context, from, part) {
            Ok(opened) => break opened,
            Err(error) => again(context, error, tries.failed(false))?,
        }
    };
    let Opened {
        remote,
        facts,
        is_fresh,
    } = opened;
    if is_first {
        context.progress.expect(facts.size);
        context.progress.carry(facts.size - plan.left());
    }
    let work = Download {
        context,
        from,
        part,
        facts,
        is_fresh,
        plan: Mutex::new(plan),
        failure: Mutex::default(),
    };
    let mut hash = None;
    thread::scope(|scope| {
        // The first range is the opening session's.
        let ticket = is_fresh.then(|| work.plan().take()).flatten();
        let others = work.plan().waiting().min(context.options.sessions - 1);
        for number in 0..others {
            let named = thread::Builder::new().name(format!("copy-{number}"));
            // With fewer threads it takes longer.
            let _ = named.spawn_scoped(scope, || work.run());
        }
        match work.first(remote, ticket) {
            Ok(found) => hash = Some(found),
            Err(error) => work.failed(ticket.map(|(ticket, _)| ticket), error),
        }
        work.run();
    });
    if let Some(error) = lock(&work.failure).take() {
        return Err(error);
    }
    let hash = loop {
        if let Some(hash) = hash.take() {
            break hash;
        }
        match work.hash() {
            Ok(found) => hash = Some(found),
            Err(error) => again(context, error, tries.failed(false))?,
        }
    };
    part.file
        .set_len(facts.size)
        .map_err(|error| part.failed(&error))?;
    Ok((facts, hash))
}

/// Waits before the next try; an error if there is none.
pub(super) fn again(context: &CopyContext, error: CopyError, next: Next) -> Result<(), CopyError> {
    match next {
        Next::After(wait) if error.is_temporary() => {
            log::info!("{error}; trying again");
            let limit = Limit::within(LONG).or_cancelled(&context.starter.cancel);
            limit.pause(wait).map_err(|_| CopyError::Cancelled)
        }
        _ => Err(error),
    }
}

/// The first session of a download: it prints size and time of the file, the first range, and then the hash of the whole.
struct Opened {
    remote: RemoteScript,
    facts: FileFacts,
    /// Nothing is there of the file.
    is_fresh: bool,
}

impl Opened {
    fn new(context: &CopyContext, from: &Path, part: &PartFile) -> Result<(Self, Plan), CopyError> {
        let length = part.length();
        let hashes = length.div_ceil(HASHED);
        let is_fresh = hashes == 0;
        let asked = Down {
            from: 0,
            count: if is_fresh { LONGEST / BLOCK } else { 0 },
            hashes,
            whole: true,
            size: None,
        };
        let mut remote =
            RemoteScript::start(&context.starter, Way::Out, script::down(from, asked))?;
        let facts = facts(&mut remote)?;
        if length > facts.size {
            let cut = part.file.set_len(facts.size);
            cut.map_err(|error| part.failed(&error))?;
        }
        let mut good = Vec::new();
        for index in 0..hashes {
            let theirs = piece(&mut remote, index)?;
            let is_there = index < facts.size.div_ceil(HASHED);
            let ours = match is_there {
                true => digest::of_piece(&part.file, theirs.kind, index)
                    .map_err(|error| part.failed(&error))?,
                false => None,
            };
            good.push(ours == Some(theirs));
        }
        let plan = Plan::new(facts.size, LONGEST, &good);
        let opened = Self {
            remote,
            facts,
            is_fresh,
        };
        Ok((opened, plan))
    }
}

/// The download of one file.
struct Download<'a> {
    context: &'a CopyContext,
    from: &'a Path,
    part: &'a PartFile,
    facts: FileFacts,
    is_fresh: bool,
    plan: Mutex<Plan>,
    /// Why it cannot be done.
    failure: Mutex<Option<CopyError>>,
}

impl Download<'_> {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Carries ranges until there are none.
    fn run(&self) {
        while !self.has_failed() {
            let Some((ticket, range)) = self.plan().take() else {
                return;
            };
            if let Err(error) = self.carry(ticket, range) {
                self.failed(Some(ticket), error);
            }
        }
    }

    fn failed(&self, ticket: Option<Ticket>, error: CopyError) {
        let next = match ticket {
            Some(ticket) => self.plan().fail(ticket),
            None => self.plan().failed(false),
        };
        if let Err(error) = again(self.context, error, next) {
            lock(&self.failure).get_or_insert(error);
        }
    }

    fn carry(&self, ticket: Ticket, range: Range) -> Result<(), CopyError> {
        let asked = Down {
            from: range.start / BLOCK,
            count: range.len().div_ceil(BLOCK),
            ..Down::default()
        };
        let script = script::down(self.from, asked);
        let mut remote = RemoteScript::start(&self.context.starter, Way::Out, script)?;
        self.same(&mut remote, false)?;
        let is_longer = self.receive(&mut remote, Some((ticket, range)))?;
        self.same(&mut remote, is_longer)
    }

    /// Reads the rest of the first session's output.
    fn first(
        &self,
        mut remote: RemoteScript,
        ticket: Option<(Ticket, Range)>,
    ) -> Result<Hash, CopyError> {
        let is_longer = self.receive(&mut remote, ticket)?;
        self.finish_hash(&mut remote, is_longer)
    }

    /// The hash of the whole, in a session of its own.
    fn hash(&self) -> Result<Hash, CopyError> {
        let asked = Down {
            whole: true,
            size: Some(self.facts.size),
            ..Down::default()
        };
        let script = script::down(self.from, asked);
        let mut remote = RemoteScript::start(&self.context.starter, Way::Out, script)?;
        self.same(&mut remote, false)?;
        let is_longer = self.receive(&mut remote, None)?;
        self.finish_hash(&mut remote, is_longer)
    }

    fn finish_hash(&self, remote: &mut RemoteScript, is_longer: bool) -> Result<Hash, CopyError> {
        let hash = whole(remote)?;
        self.same(remote, is_longer)?;
        Ok(hash)
    }

    /// The file is still the one that it was, or has grown. `is_longer`: more of it came than there was at first.
    fn same(&self, remote: &mut RemoteScript, is_longer: bool) -> Result<(), CopyError> {
        self.facts.allow(facts(remote)?, is_longer)
    }

    /// A range, up to the word that says that it is done. Whether more came: what the file has grown by.
    fn receive(
        &self,
        remote: &mut RemoteScript,
        carried: Option<(Ticket, Range)>,
    ) -> Result<bool, CopyError> {
        let mut writer = RangeWriter {
            file: &self.part.file,
            at: carried.map_or(0, |(_, range)| range.start),
            buffer: Vec::with_capacity(if carried.is_some() { WRITE + 4096 } else { 0 }),
            skips_zeros: self.is_fresh,
        };
        let mut left = carried.map_or(0, |(_, range)| range.len());
        let mut is_longer = false;
        loop {
            if self.has_failed() {
                return Err(CopyError::Cancelled);
            }
            let is_done = match remote.next(SILENCE)? {
                Reply::Data(data) => {
                    let data = clip(&data, &mut left, &mut is_longer);
                    writer.buffer.extend_from_slice(data);
                    false
                }
                Reply::Line(line) if line == "done" => true,
                Reply::Line(_) => return Err(remote.garbled()),
            };
            let waiting = u64::try_from(writer.buffer.len()).unwrap_or(u64::MAX);
            if let Some((ticket, _)) = carried
                && ((is_done && waiting > 0) || waiting >= WRITE as u64)
            {
                let advanced = self.plan().advance(ticket, waiting);
                advanced.map_err(|_| remote.garbled())?;
                writer.flush().map_err(|error| self.part.failed(&error))?;
                self.context.progress.carry(waiting);
            }
            if is_done {
                break;
            }
        }
        let Some((ticket, _)) = carried else {
            return Ok(is_longer);
        };
        let mut plan = self.plan();
        if !plan.is_carried(ticket) {
            if plan.is_stuck(ticket) {
                return Err(CopyError::Sizeless);
            }
            return Err(CopyError::Broken("less came than there is".to_owned()));
        }
        plan.finish(ticket);
        Ok(is_longer)
    }
}

/// What of this is still wanted. The rest is what the file has grown by.
pub(super) fn clip<'a>(data: &'a [u8], left: &mut u64, is_longer: &mut bool) -> &'a [u8] {
    let count = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= count as u64;
    *is_longer |= count < data.len();
    &data[..count]
}

/// Writes a range.
struct RangeWriter<'a> {
    file: &'a File,
    at: u64,
    buffer: Vec<u8>,
    /// Zeros need not be written where there is nothing.
    skips_zeros: bool,
}

impl RangeWriter<'_> {
    fn flush(&mut self) -> io::Result<()> {
        let is_hole = self.skips_zeros && self.buffer.iter().all(|byte| *byte == 0);
        if !is_hole {
            self.file.write_all_at(&self.buffer, self.at)?;
        }
        self.at += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.buffer.clear();
        Ok(())
    }
}

/// Downloads a file to a writer, one range after the other.
pub(super) fn stream(
    context: &CopyContext,
    from: &Path,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Copied, CopyError> {
    let mut tries = Tries::default();
    let mut known: Option<FileFacts> = None;
    let (mut sha256, mut cksum) = (Hasher::new(HashKind::Sha256), Hasher::new(HashKind::Cksum));
    let mut at = 0_u64;
    // Where less came than there is, the last time.
    let mut short = None;
    loop {
        let before = at;
        let first = at / BLOCK * BLOCK;
        let one = || -> Result<Option<Hash>, CopyError> {
            let is_last = known.is_none_or(|facts| facts.size <= first + LONGEST);
            let asked = Down {
                from: first / BLOCK,
                count: LONGEST / BLOCK,
                hashes: 0,
                whole: is_last,
                size: known.map(|facts| facts.size),
            };
            let mut remote =
                RemoteScript::start(&context.starter, Way::Out, script::down(from, asked))?;
            let found = facts(&mut remote)?;
            if known.is_none() {
                context.progress.expect(found.size);
            }
            let before = *known.get_or_insert(found);
            before.allow(found, false)?;
            let end = before.size.min(first + LONGEST);
            let (mut left, mut is_longer) = (end - first, false);
            // What was taken already of the block that the range begins with.
            let mut passed = usize::try_from(at - first).unwrap_or(0);
            loop {
                let data = match remote.next(SILENCE)? {
                    Reply::Data(data) => data,
                    Reply::Line(line) if line == "done" => break,
                    Reply::Line(_) => return Err(remote.garbled()),
                };
                let data = clip(&data, &mut left, &mut is_longer);
                let skip = passed.min(data.len());
                passed -= skip;
                let data = &data[skip..];
                take(data).map_err(|error| CopyError::Local(format!("cannot write ({error})")))?;
                sha256.update(data);
                cksum.update(data);
                let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
                at = at.saturating_add(count);
                context.progress.carry(count);
            }
            if at < end {
                if short.replace(at) == Some(at) {
                    return Err(CopyError::Sizeless);
                }
                return Err(CopyError::Broken("less came than there is".to_owned()));
            }
            if end < before.size {
                return Ok(None);
            }
            let hash = whole(&mut remote)?;
            before.allow(facts(&mut remote)?, is_longer)?;
            Ok(Some(hash))
        };
        match { one }() {
            Ok(Some(theirs)) => {
                let ours = match theirs.kind {
                    HashKind::Sha256 => sha256.finish(),
                    HashKind::Cksum => cksum.finish(),
                };
                return match ours == theirs {
                    true => Ok(Copied::new(at, theirs)),
                    false => Err(CopyError::Different),
                };
            }
            Ok(None) => {}
            Err(error) => again(context, error, tries.failed(at > before))?,
        }
    }
}

/// `!facts …`.
fn facts(remote: &mut RemoteScript) -> Result<FileFacts, CopyError> {
    let line = remote.line(SILENCE)?;
    let facts = line.strip_prefix("facts ").and_then(FileFacts::parse);
    facts.ok_or_else(|| remote.garbled())
}

/// `!hash …`.
fn whole(remote: &mut RemoteScript) -> Result<Hash, CopyError> {
    let line = remote.line(READING)?;
    let hash = line.strip_prefix("hash ").and_then(Hash::parse);
    hash.ok_or_else(|| remote.garbled())
}

/// `!block INDEX …`.
pub(super) fn piece(remote: &mut RemoteScript, index: u64) -> Result<Hash, CopyError> {
    let line = remote.line(SILENCE)?;
    let hash = line
        .strip_prefix("block ")
        .and_then(|rest| rest.split_once(' '))
        .filter(|(number, _)| number.parse() == Ok(index))
        .and_then(|(_, hash)| Hash::parse(hash));
    hash.ok_or_else(|| remote.garbled())
}
