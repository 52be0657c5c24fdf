"""Commands on a target, as ``subprocess.run`` runs them here."""

from __future__ import annotations

import base64
import binascii
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, AnyStr, Callable, Generic, Literal, Optional, Union, overload

from ._errors import CommandFailed, ProgramError, TimeoutExpired, UsageError, from_json
from ._program import Event, Events, Path, Program, account_options, no_answer, start_options

Command = Union[str, Sequence[Path]]


@dataclass(frozen=True)
class CompletedProcess(Generic[AnyStr]):
    """A command that has ended on a target. The names are those of ``subprocess.CompletedProcess``."""

    #: The command.
    args: Command
    #: Its exit code; 128 and the number of the signal that ended it.
    returncode: int
    #: What it printed; None where that was not captured.
    stdout: Optional[AnyStr]
    stderr: Optional[AnyStr]
    #: The target's id.
    target: str

    def check_returncode(self) -> None:
        """Raises :class:`CommandFailed` unless the exit code is 0."""
        if self.returncode:
            raise CommandFailed(self.returncode, self.args, self.stdout, self.stderr)


@overload
def run(
    target: str,
    argv: Command,
    *,
    input: Union[bytes, str, None] = ...,
    stdin: Union[IO[Any], int, None] = ...,
    timeout: Optional[float] = ...,
    check: bool = ...,
    capture_output: bool = ...,
    text: Literal[False] = ...,
    on_output: Optional[Callable[[str, bytes], None]] = ...,
    wait: Union[bool, int, None] = ...,
    reason: Optional[str] = ...,
    profile: Optional[str] = ...,
    region: Optional[str] = ...,
    endpoint_url: Optional[str] = ...,
    env: Optional[Mapping[str, str]] = ...,
    program: Optional[Path] = ...,
) -> CompletedProcess[bytes]: ...


@overload
def run(
    target: str,
    argv: Command,
    *,
    input: Union[bytes, str, None] = ...,
    stdin: Union[IO[Any], int, None] = ...,
    timeout: Optional[float] = ...,
    check: bool = ...,
    capture_output: bool = ...,
    text: Literal[True],
    on_output: Optional[Callable[[str, bytes], None]] = ...,
    wait: Union[bool, int, None] = ...,
    reason: Optional[str] = ...,
    profile: Optional[str] = ...,
    region: Optional[str] = ...,
    endpoint_url: Optional[str] = ...,
    env: Optional[Mapping[str, str]] = ...,
    program: Optional[Path] = ...,
) -> CompletedProcess[str]: ...


@overload
def run(
    target: str,
    argv: Command,
    *,
    input: Union[bytes, str, None] = ...,
    stdin: Union[IO[Any], int, None] = ...,
    timeout: Optional[float] = ...,
    check: bool = ...,
    capture_output: bool = ...,
    text: bool,
    on_output: Optional[Callable[[str, bytes], None]] = ...,
    wait: Union[bool, int, None] = ...,
    reason: Optional[str] = ...,
    profile: Optional[str] = ...,
    region: Optional[str] = ...,
    endpoint_url: Optional[str] = ...,
    env: Optional[Mapping[str, str]] = ...,
    program: Optional[Path] = ...,
) -> CompletedProcess[Any]: ...


def run(
    target: str,
    argv: Command,
    *,
    input: Union[bytes, str, None] = None,
    stdin: Union[IO[Any], int, None] = None,
    timeout: Optional[float] = None,
    check: bool = False,
    capture_output: bool = True,
    text: bool = False,
    on_output: Optional[Callable[[str, bytes], None]] = None,
    wait: Union[bool, int, None] = None,
    reason: Optional[str] = None,
    profile: Optional[str] = None,
    region: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> Union[CompletedProcess[bytes], CompletedProcess[str]]:
    """Runs one command on a target, to its end.

    ``run("web-1", ["uptime"], text=True).stdout``

    A list is a program and its arguments, texts or paths; a text is a line that is split into words as a shell would. No shell is involved:
    name one, ``["sh", "-c", "…"]``. ``input``, or ``stdin`` (an open file), goes to the command; it reads nothing otherwise.

    Output is captured unless ``capture_output`` is false: then it goes to this process's stdout and stderr as it comes. ``on_output`` is
    called with ``"stdout"`` or ``"stderr"`` and each piece. ``text``: as UTF-8. What is not UTF-8 agents do not pass on, except with
    ``input`` or ``stdin`` (``b""`` is enough), where any bytes come as they are, at half a megabyte a second.

    Raises a :class:`SessionManagerError` that says why it could not be run, :class:`TimeoutExpired` after ``timeout`` seconds, the start of
    the session included (the session is ended, and what was printed until then is in the exception), and with ``check`` also
    :class:`CommandFailed`.
    """
    if input is not None and stdin is not None:
        raise UsageError("input and stdin cannot both be given")
    arguments = ["exec", "--json", "--stream", f"--target={target}"]
    arguments += account_options(profile, region, endpoint_url) + start_options(wait, reason)
    has_input = input is not None or stdin is not None
    if has_input:
        arguments.append("-i")
    arguments += ["--", *_words(argv)]
    deadline = None if timeout is None else time.monotonic() + timeout
    source: Union[IO[Any], int] = subprocess.DEVNULL
    if input is not None:
        source = subprocess.PIPE
    elif stdin is not None:
        source = _open_file(stdin)
    child = Program(arguments, program=program, env=env, stdin=source)
    events = Events(child)
    output = _Output(capture_output, text, on_output)
    try:
        if input is not None:
            _feed(child, input.encode() if isinstance(input, str) else input)
        try:
            result, error = _follow(events, output, deadline)
        except queue.Empty:
            raise TimeoutExpired(
                argv, timeout or 0.0, output.of("stdout"), output.of("stderr")
            ) from None
        if result is None:
            raise no_answer(child, error)
        status = result.get("status")
        code = child.wait()
        if not isinstance(status, int):
            raise from_json({**result, "message": result.get("error")}, code)
    except BaseException:
        events.abandon()
        raise
    completed: CompletedProcess[Any] = CompletedProcess(
        argv, status, output.of("stdout"), output.of("stderr"), str(result.get("target", target))
    )
    if check:
        completed.check_returncode()
    return completed


def _words(argv: Command) -> list[str]:
    if isinstance(argv, str):
        return [argv]
    if isinstance(argv, (bytes, bytearray)):
        raise UsageError("the command is bytes: words are text, for whichever system they go to")
    words = [_word(word) for word in argv]
    if not words:
        raise UsageError("there is no command")
    # One word alone would be a line.
    return words if len(words) > 1 else [shlex.quote(words[0])]


def _word(word: Path) -> str:
    text = os.fspath(word) if isinstance(word, os.PathLike) else word
    if not isinstance(text, str):
        raise UsageError(
            f"{text!r} is no word: it is of type {type(text).__name__}, not a text or a path"
        )
    return text


def _open_file(stdin: Union[IO[Any], int]) -> Union[IO[Any], int]:
    """What the program can read by itself."""
    if isinstance(stdin, int):
        if stdin >= 0 or stdin == subprocess.DEVNULL:
            return stdin
        raise UsageError(
            "stdin is an open file or DEVNULL: for what is to be written there is input"
        )
    try:
        stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise UsageError("stdin is no open file: give what it holds as input") from error
    return stdin


def _feed(child: Program, data: bytes) -> None:
    """Writes the command's input in a thread: output must be read meanwhile."""
    stdin = child.process.stdin
    assert stdin is not None

    def write() -> None:
        try:
            with stdin:
                stdin.write(data)
        except (BrokenPipeError, ValueError):
            pass  # The command reads no more.

    threading.Thread(target=write, name="session-manager-plugin-stdin", daemon=True).start()


def _follow(
    events: Events, output: _Output, deadline: Optional[float]
) -> tuple[Optional[Event], Optional[Event]]:
    """The result, and what went wrong otherwise."""
    result = error = None
    while True:
        event = events.next(deadline)
        if event is None:
            return result, error
        kind = event.get("event")
        if kind == "output":
            output.take(event)
        elif kind == "result":
            result = event
        elif kind == "error" and event.get("kind"):
            error = event


class _Output:
    """What a command prints."""

    def __init__(
        self, captures: bool, text: bool, on_output: Optional[Callable[[str, bytes], None]]
    ) -> None:
        self._captures = captures
        self._text = text
        self._on_output = on_output
        self._pieces: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    def take(self, event: Event) -> None:
        stream = event.get("stream")
        if stream not in ("stdout", "stderr"):
            return
        try:
            data = base64.b64decode(str(event.get("data")), validate=True)
        except binascii.Error as error:
            raise ProgramError("the program's output is no base64") from error
        if self._captures:
            self._pieces[stream].append(data)
        else:
            _show(sys.stdout if stream == "stdout" else sys.stderr, data)
        if self._on_output is not None:
            self._on_output(stream, data)

    def of(self, stream: str) -> Any:
        """All of a stream."""
        if not self._captures:
            return None
        data = b"".join(self._pieces[stream])
        return data.decode("utf-8", "replace") if self._text else data


def _show(file: Any, data: bytes) -> None:
    """Writes to a stream of this process, which may be one without bytes (notebooks, tests)."""
    if file is None:
        return  # As under pythonw.
    buffer = getattr(file, "buffer", None)
    if buffer is not None:
        # What was printed before comes first.
        file.flush()
        buffer.write(data)
        buffer.flush()
    else:
        file.write(data.decode("utf-8", "replace"))
        file.flush()


__all__ = ["CompletedProcess", "run"]
