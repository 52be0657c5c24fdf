"""Files to and from a target."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, Optional, Union

from ._errors import CopyFailed, TimeoutExpired, UsageError
from ._program import Event, Events, Path, Program, account_options, no_answer, start_options


@dataclass(frozen=True)
class CopiedFile:
    """A file that was copied, and whose hash was equal on both sides."""

    path: str
    bytes: int
    #: Of its contents; None where the target has only cksum.
    sha256: Optional[str] = None


@dataclass(frozen=True)
class CopyResult:
    """What was copied."""

    files: list[CopiedFile] = field(default_factory=list)
    #: Neither files nor folders.
    skipped: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(file.bytes for file in self.files)


def copy(
    source: Union[Path, Sequence[Path]],
    destination: Path,
    *,
    recursive: bool = False,
    preserve: bool = False,
    sessions: int = 4,
    timeout: Optional[float] = None,
    on_progress: Optional[Callable[[int, int], None]] = None,
    wait: Union[bool, int, None] = None,
    reason: Optional[str] = None,
    profile: Optional[str] = None,
    region: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> CopyResult:
    """Copies files to or from a target that has nothing but a POSIX shell.

    ``copy("web-1:/var/log/syslog", "logs/")``, ``copy(Path("site"), "web-1:/srv", recursive=True)``

    One side is on the target, as the text ``"TARGET:PATH"``; a :class:`pathlib.Path` is always a local one. ``preserve``: permissions and
    times. ``on_progress`` is called about once a second with the bytes that are there and all that is known of so far.

    What was interrupted goes on with the same call. Raises :class:`CopyFailed` when something was not copied; what was is in its
    ``result``.
    """
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    arguments = ["cp", "--json", f"--sessions={sessions}"]
    arguments += account_options(profile, region, endpoint_url) + start_options(wait, reason)
    if recursive:
        arguments.append("--recursive")
    if preserve:
        arguments.append("--preserve")
    arguments += ["--", *(_operand(each) for each in [*sources, destination])]
    child = Program(arguments, program=program, env=env)
    deadline = None if timeout is None else time.monotonic() + timeout
    result = CopyResult()
    failures: list[tuple[str, str]] = []
    error: Optional[Event] = None
    events = Events(child)
    try:
        try:
            while True:
                event = events.next(deadline)
                if event is None:
                    break
                if event.get("kind"):
                    error = event
                else:
                    _take(event, result, failures, on_progress)
        except queue.Empty:
            raise TimeoutExpired(arguments, timeout or 0.0, result) from None
        code = child.wait()
    except BaseException:
        events.abandon()
        raise
    if error is not None or (code != 0 and not failures):
        raise no_answer(child, error)
    if code != 0:
        raise CopyFailed(failures, result, code)
    return result


def _take(
    event: Event,
    result: CopyResult,
    failures: list[tuple[str, str]],
    on_progress: Optional[Callable[[int, int], None]],
) -> None:
    kind, path = event.get("event"), str(event.get("path"))
    if kind == "file":
        sha256 = event.get("sha256")
        file = CopiedFile(path, int(event.get("bytes", 0)), str(sha256) if sha256 else None)
        result.files.append(file)
    elif kind == "skipped":
        result.skipped.append(path)
    elif kind == "error":
        failures.append((path, str(event.get("message"))))
    elif kind == "progress" and on_progress is not None:
        on_progress(int(event.get("bytes", 0)), int(event.get("total", 0)))


def _operand(path: Path) -> str:
    if isinstance(path, str):
        if path == "-":
            raise UsageError("- is for the command line: use run() with input, or a file")
        return path
    local = os.fspath(path)
    # Otherwise a colon in it would make it a target.
    return local if os.path.isabs(local) else os.path.join(".", local)


__all__ = ["CopiedFile", "CopyResult", "copy"]
