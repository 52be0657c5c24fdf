"""Finds the program, starts it, and reads what it says."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib.metadata
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Callable, Optional, Union

from ._errors import ProgramError, ProgramNotFound, SessionManagerError, UsageError, from_json

NAME = "session-manager-plugin"
DISTRIBUTION = "session-manager-plugin-rs"
#: Names the program where it is not beside this module.
VARIABLE = "SESSION_MANAGER_PLUGIN"

#: Longer than the program takes to end its sessions.
END_TIMEOUT = 9.0
#: The most that is kept of stderr, in bytes.
MOST_STDERR = 64 * 1024
#: Lines that wait to be taken. The program waits when there are more.
MOST_LINES = 256

#: Of processes, descriptors or memory: the program is there, and may run later.
_RESOURCES = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

LOG = logging.getLogger("session_manager_plugin")

Path = Union[str, "os.PathLike[str]"]
Event = dict[str, Any]


def find_program(name: str = NAME, distribution: str = DISTRIBUTION) -> Optional[str]:
    """A program: of the wheel it came with, else of the PATH."""
    for path in _installed(name, distribution):
        if os.access(path, os.X_OK):
            return path
    return shutil.which(name)


def _installed(name: str, distribution: str) -> Iterator[str]:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and file.parent.name in ("bin", "Scripts"):
            yield os.path.normpath(str(file.locate()))
    if files:
        scripts = sysconfig.get_path("scripts")
        if scripts:
            yield os.path.join(scripts, name)


def program_path(program: Optional[Path] = None) -> str:
    """The path of the program: the argument, the variable SESSION_MANAGER_PLUGIN, the wheel's, or that of the PATH."""
    path = os.fspath(program) if program is not None else os.environ.get(VARIABLE)
    if path:
        return path
    found = find_program()
    if found is None:
        raise ProgramNotFound(
            f"there is no program {NAME}: install the package {DISTRIBUTION}, "
            f"or name it by the argument `program` or the variable {VARIABLE}"
        )
    return found


def account_options(
    profile: Optional[str], region: Optional[str], endpoint_url: Optional[str]
) -> list[str]:
    """The options that say which account and region."""
    options = []
    if profile is not None:
        options.append(f"--profile={profile}")
    if region is not None:
        options.append(f"--region={region}")
    if endpoint_url is not None:
        options.append(f"--endpoint-url={endpoint_url}")
    return options


def start_options(wait: Union[bool, int, None], reason: Optional[str]) -> list[str]:
    """The options that say how a session is started."""
    options = []
    if wait is True:
        options.append("--wait")
    elif wait:
        options.append(f"--wait={int(wait)}")
    if reason is not None:
        options.append(f"--reason={reason}")
    return options


#: What is to be ended with the interpreter.
_running: weakref.WeakSet[Program] = weakref.WeakSet()


class Program:
    """The program as a child: its stderr is collected, it is ended with this interpreter, and ending it ends its sessions."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        program: Optional[Path] = None,
        env: Optional[Mapping[str, str]] = None,
        stdin: Union[int, IO[Any]] = subprocess.DEVNULL,
        variables: Optional[Mapping[str, str]] = None,
        on_line: Optional[Callable[[bytes], None]] = None,
    ) -> None:
        path = program_path(program)
        environment = dict(os.environ if env is None else env)
        # However this process ends, the program learns of it and ends its sessions.
        environment["SSM_PLUGIN_PARENT"] = str(os.getpid())
        environment.update(variables or {})
        try:
            self.process = subprocess.Popen(
                [path, *arguments],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                # Ctrl-C of the terminal reaches this process alone, which decides what it ends.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ProgramNotFound(f"there is no program {path}") from error
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise UsageError("the arguments are too long to be passed on") from error
            if error.errno in _RESOURCES:
                raise SessionManagerError(f"{path} cannot be run: {error.strerror}") from error
            raise ProgramNotFound(f"{path} cannot be run: {error.strerror}") from error
        except ValueError as error:
            raise SessionManagerError(f"the arguments cannot be passed on: {error}") from error
        self._owner = os.getpid()
        _running.add(self)
        self._on_line = on_line
        self._stderr = bytearray()
        self._lock = threading.Lock()
        self._stderr_thread = threading.Thread(
            target=self._collect, name="session-manager-plugin-stderr", daemon=True
        )
        self._stderr_thread.start()

    @property
    def stdout(self) -> IO[bytes]:
        """Its stdout."""
        assert self.process.stdout is not None
        return self.process.stdout

    def _collect(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self._stderr += line
                del self._stderr[:-MOST_STDERR]
                if self._on_line is not None:
                    self._on_line(line)

    def complaints(self) -> str:
        """What it has written to stderr, the last of it; all that it will, where it has ended."""
        if self.process.poll() is not None:
            self._stderr_thread.join(1)
        return bytes(self._stderr).decode("utf-8", "replace").strip()

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits for its end; the exit code. May be called from any thread."""
        code = self.process.wait(timeout)
        _running.discard(self)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal; nothing when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    @property
    def is_ours(self) -> bool:
        """False in a process that was forked off: the program is its parent's, and locks may be held for ever."""
        return self._owner == os.getpid()

    def end(self, number: int = signal.SIGTERM, timeout: float = END_TIMEOUT) -> None:
        """Asks it to end, waits until its sessions are ended, and sees to it."""
        if not self.is_ours:
            return
        with self._lock:
            self.send_signal(number)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.wait()


@atexit.register
def _end_all() -> None:
    """Ends all that runs, side by side: the sessions are ended before the interpreter is."""
    programs = [program for program in _running if program.is_ours]
    for program in programs:
        program.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + END_TIMEOUT
    for program in programs:
        try:
            program.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.wait()


class Events:
    """What the program says with ``--json``, object by object, with a deadline. For one thread."""

    _END = None

    def __init__(self, program: Program) -> None:
        self.program = program
        self._lines: queue.Queue[Optional[bytes]] = queue.Queue(MOST_LINES)
        self._is_wanted = True
        self._thread = threading.Thread(
            target=self._read, name="session-manager-plugin-stdout", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        with self.program.stdout as stdout:
            for line in stdout:
                if self._is_wanted:
                    self._lines.put(line)
        self._lines.put(self._END)

    def next(self, deadline: Optional[float] = None) -> Optional[Event]:
        """The next object; nothing at the end. Raises ``queue.Empty`` at the deadline."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        line = self._lines.get(timeout=timeout)
        if line is self._END:
            # For whoever asks again.
            self._lines.put(self._END)
            return None
        return parse(line, self.program)

    def abandon(self) -> None:
        """Ends the program. What it still prints is thrown away, so that nothing blocks on it."""
        self._is_wanted = False
        with contextlib.suppress(queue.Empty):
            while self._lines.get_nowait() is not self._END:
                pass
            self._lines.put(self._END)
        self.program.end()


def parse(line: bytes, program: Program) -> Event:
    """One object."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        program.process.kill()
        code = program.wait()
        raise ProgramError(
            f"{program.process.args!r} printed what is no JSON: is it {DISTRIBUTION}'s? {line[:200]!r}",
            exit_code=code,
        )
    return event


def no_answer(program: Program, error: Optional[Event] = None) -> SessionManagerError:
    """It has ended without what was to come."""
    code = program.wait()
    if error is not None:
        return from_json(error, code)
    complaints = program.complaints()
    if code == 2:
        # What follows is for people at a terminal.
        why = complaints.split("\n\n", 1)[0].split("session-manager-plugin: ", 1)[-1]
        return from_json({"kind": "usage", "message": why}, code)
    return ProgramError(complaints or f"the program ended with exit code {code}", exit_code=code)
