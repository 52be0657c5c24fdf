"""Local ports that lead to ports of a target, or of hosts that it reaches."""

from __future__ import annotations

import collections
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from ._closing import Closing
from ._errors import SessionManagerError, TimeoutExpired, from_json
from ._program import (
    END_TIMEOUT,
    LOG,
    Event,
    Events,
    Path,
    Program,
    account_options,
    no_answer,
    start_options,
)

#: How many events are kept for whoever asks for them; older ones give way.
MOST_EVENTS = 4096


@dataclass(frozen=True)
class ForwardEvent:
    """Something that happened to a forward.

    ``event`` is ``ready``, ``session``, ``connection``, ``reconnecting``, ``reconnected``, ``error`` or ``end``; the other fields are those
    of the program's JSON (docs/commands.md), None where they say nothing. ``fields`` has all of them, those of later versions too.
    """

    event: str
    fields: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "fields":
            raise AttributeError(name)
        return self.fields.get(name)


class Forward(Closing):
    """A forward that is open: :func:`forward` makes it. For any thread.

    Connect to ``(host, port)``. It outlives its sessions: when one ends, the next connection starts another.
    """

    def __init__(
        self,
        program: Program,
        on_event: Optional[Callable[[ForwardEvent], None]],
        command: str,
    ) -> None:
        self._program = program
        self._command = command
        self._on_event = on_event
        self._changed = threading.Condition()
        self._events: collections.deque[ForwardEvent] = collections.deque(maxlen=MOST_EVENTS)
        self._sessions: list[str] = []
        self._error: Optional[Event] = None
        self._ready: Optional[Event] = None
        self._code: Optional[int] = None
        self._is_over = False
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._follow, name="session-manager-plugin-forward", daemon=True
        )
        self._thread.start()

    def _follow(self) -> None:
        events = Events(self._program)
        try:
            while True:
                event = events.next()
                if event is None:
                    break
                self._take(event)
        except SessionManagerError as error:
            self._take({"event": "error", "kind": "lost", "message": str(error)})
        finally:
            code = self._program.wait()
            with self._changed:
                self._code = code
                self._is_over = True
                self._sessions.clear()
                self._changed.notify_all()

    def _take(self, event: Event) -> None:
        told = ForwardEvent(str(event.get("event")), event)
        with self._changed:
            if told.event == "ready":
                self._ready = event
            elif told.event == "session":
                session = str(told.session)
                if told.state == "started":
                    self._sessions.append(session)
                elif session in self._sessions:
                    self._sessions.remove(session)
            elif told.event == "error" and told.kind:
                self._error = event
            self._events.append(told)
            self._changed.notify_all()
        if self._on_event is not None:
            try:
                self._on_event(told)
            except (
                BaseException
            ):  # The thread must go on, whatever it is: SystemExit would hold up all.
                LOG.exception("on_event failed for %r", told)

    def _wait_ready(self, timeout: Optional[float]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready is not None or self._is_over, timeout)
            if self._ready is not None:
                return
            is_over = self._is_over
        if not is_over:
            self._program.end()
            raise TimeoutExpired(self._command, timeout or 0.0)
        raise no_answer(self._program, self._error)

    @property
    def host(self) -> str:
        """The local address."""
        local = str((self._ready or {}).get("local", ""))
        return local.rpartition(":")[0].strip("[]") or local

    @property
    def port(self) -> int:
        """The local port."""
        return int((self._ready or {}).get("port", 0))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as :func:`socket.create_connection` takes them."""
        return (self.host, self.port)

    @property
    def target(self) -> str:
        """The target's id; what it was called where no session has been started yet."""
        return str((self._ready or {}).get("target", ""))

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The sessions that there are at the moment."""
        with self._changed:
            return tuple(self._sessions)

    @property
    def is_open(self) -> bool:
        """Whether the port is still there."""
        with self._changed:
            return not self._is_over

    @property
    def error(self) -> Optional[SessionManagerError]:
        """What ended it, if it has ended by itself."""
        with self._changed:
            if not self._is_over or self._is_closed or self._code == 0:
                return None
            error, code = self._error, self._code
        return from_json(error, code) if error else no_answer(self._program)

    def events(self, timeout: Optional[float] = None) -> Iterator[ForwardEvent]:
        """What has happened and happens, each event once, until the end; or until nothing happens for ``timeout`` seconds."""
        while True:
            with self._changed:
                is_there = self._changed.wait_for(lambda: self._events or self._is_over, timeout)
                if not is_there or not self._events:
                    return
                event = self._events.popleft()
            yield event

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits until it ends. Raises what ended it, and :class:`TimeoutExpired`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_over, timeout):
                raise TimeoutExpired(self._command, timeout or 0.0)
        error = self.error
        if error is not None:
            raise error

    def close(self, timeout: float = END_TIMEOUT) -> None:
        """Closes the port and its connections, and ends the sessions. May be called again, and from any thread.

        In a process that was forked off it does nothing.
        """
        if not self._program.is_ours:
            return
        with self._changed:
            self._is_closed = self._is_closed or not self._is_over
        self._program.end(signal.SIGINT, timeout)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Forward {self.host}:{self.port} to {self._command}, {state}>"


def forward(
    target: str,
    remote_port: int,
    host: Optional[str] = None,
    *,
    local_port: int = 0,
    local_host: Optional[str] = None,
    sessions: int = 1,
    on_demand: bool = False,
    once: bool = False,
    wait: Union[bool, int, None] = None,
    reason: Optional[str] = None,
    profile: Optional[str] = None,
    region: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    timeout: Optional[float] = 120.0,
    on_event: Optional[Callable[[ForwardEvent], None]] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> Forward:
    """Opens a local port that leads to a port of the target, or of a host that it reaches, and returns when it can be used.

    ``with forward("web-1", 5432, host="db.internal") as f: connect(f.host, f.port)``

    ``target``: an id, a name, ``tag:KEY=VALUE``, ``ecs:CLUSTER/SERVICE``. ``local_port`` 0 is any free one. ``sessions``: over how many the
    connections are spread, 1 to 16; each downloads at 0.7 MB/s at most. ``on_demand``: the first session is started by the first
    connection. ``once``: it ends with its first session. ``wait``: for a target that is not connected yet, True or seconds. ``on_event`` is
    called in a thread of the forward's and must not block. ``env`` takes the place of ``os.environ``.

    Raises a :class:`SessionManagerError` that says why it cannot be, :class:`TimeoutExpired` when it is not ready in time.
    """
    local = f"{_bracketed(local_host)}:{local_port}" if local_host else str(local_port)
    # With BIND the form names the host too; the target itself is its own localhost.
    remote = _bracketed(host) if host else ("localhost" if local_host else None)
    spec = ":".join([local, *([remote] if remote else []), str(remote_port)])
    arguments = [
        "port-forward",
        "--json",
        "--quiet",
        f"--target={target}",
        f"--sessions={sessions}",
    ]
    arguments += account_options(profile, region, endpoint_url) + start_options(wait, reason)
    if on_demand:
        arguments.append("--on-demand")
    if once:
        arguments.append("--once")
    arguments.append(f"-L{spec}")
    began = Program(arguments, program=program, env=env)
    opened = Forward(began, on_event, f"{target} {host or 'localhost'}:{remote_port}")
    try:
        opened._wait_ready(timeout)
    except BaseException:
        began.end()
        raise
    return opened


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


__all__ = ["Forward", "ForwardEvent", "forward"]
