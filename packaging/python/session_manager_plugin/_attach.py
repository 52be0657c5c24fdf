"""A session that somebody else has started: by boto3's StartSession, or by ECS's ExecuteCommand."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import IO, Any, Optional

from ._closing import Closing
from ._errors import StartError, TimeoutExpired, UsageError
from ._program import END_TIMEOUT, Path, Program

VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
_FIELDS = ("SessionId", "TokenValue", "StreamUrl")


class Session(Closing):
    """A session that runs: :func:`attach` makes it.

    Of a shell or a command ``stdin`` and ``stdout`` are the streams (binary). Of a document that forwards a port, ``port`` is the local
    port, and nothing goes through the streams. Of AWS-StartSSHSession the streams carry the connection.
    """

    def __init__(self, response: Mapping[str, Any], arguments: list[str], **options: Any) -> None:
        #: The session's id.
        self.session_id = str(response["SessionId"])
        self._opened = re.compile(
            rb"^Port (\d+) opened for sessionId " + re.escape(self.session_id.encode()) + rb"\.\s*$"
        )
        self._changed = threading.Condition()
        self._port: Optional[int] = None
        self._is_over = False
        self._program = Program(
            arguments,
            stdin=subprocess.PIPE,
            on_line=self._line,
            variables={
                # Not among the arguments, which everybody can see.
                VARIABLE: json.dumps({name: response[name] for name in _FIELDS}),
                "SSM_PLUGIN_QUIET": "1",
                "SSM_PLUGIN_PROPAGATE_EXIT_CODE": "1",
            },
            **options,
        )
        threading.Thread(
            target=self._follow, name="session-manager-plugin-session", daemon=True
        ).start()

    def _line(self, line: bytes) -> None:
        opened = self._opened.match(line)
        if opened:
            with self._changed:
                self._port = int(opened[1])
                self._changed.notify_all()

    def _follow(self) -> None:
        self._program.wait()
        # What it said at the end is known then.
        self._program.complaints()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    @property
    def stdin(self) -> IO[bytes]:
        """What goes to the session. Closing it is the end of its input."""
        assert self._program.process.stdin is not None
        return self._program.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What comes from it."""
        return self._program.stdout

    @property
    def messages(self) -> str:
        """What the program says about the session, and a command's stderr: the last 64 KiB."""
        return self._program.complaints()

    @property
    def host(self) -> str:
        """The local address of a forward."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The local port of a forward; waits for it, a minute at most."""
        return self.wait_port(60.0)

    def wait_port(self, timeout: Optional[float] = None) -> int:
        """The local port, when it is open. Raises why there is none; :class:`TimeoutExpired` also of a session that is no forward."""
        with self._changed:
            is_known = self._changed.wait_for(lambda: self._port or self._is_over, timeout)
            if self._port is not None:
                return self._port
        if not is_known:
            raise TimeoutExpired(f"a port of {self.session_id}", timeout or 0.0)
        raise self._why()

    def _why(self) -> StartError:
        code = self._program.wait()
        return StartError(
            self._program.complaints() or f"the session has ended with exit code {code}",
            exit_code=code,
        )

    @property
    def returncode(self) -> Optional[int]:
        """The exit code, of the remote command where it is known; None while it runs."""
        return self._program.process.poll()

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits for the end of the session; the exit code. Whoever waits must have read ``stdout``, or still read it elsewhere."""
        try:
            return self._program.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutExpired(f"session {self.session_id}", timeout or 0.0) from None

    def send_signal(self, number: int) -> None:
        """INT, QUIT and TSTP reach a shell or command as if they were typed; TERM ends the session."""
        self._program.send_signal(number)

    def close(self, timeout: float = END_TIMEOUT) -> None:
        """Ends the session. May be called again, and from any thread. In a process that was forked off it does nothing."""
        if not self._program.is_ours:
            return
        self._program.end(signal.SIGTERM, timeout)
        for stream in (self._program.process.stdin, self._program.process.stdout):
            if stream is not None:
                # What was not sent stays unsent.
                with contextlib.suppress(OSError):
                    stream.close()

    def __repr__(self) -> str:
        return f"<Session {self.session_id}>"


def attach(
    response: Mapping[str, Any],
    region: str,
    *,
    target: Optional[str] = None,
    profile: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> Session:
    """Runs a session that boto3's ``start_session`` has started.

        with attach(ssm.start_session(Target="i-…"), "eu-central-1") as session:
            session.stdin.write(b"uptime; exit\\n")
            session.stdin.flush()
            print(session.stdout.read().decode())

    The end of the block ends the session, also where the shell would go on.

    ``response`` needs SessionId, TokenValue and StreamUrl (ECS's ``execute_command`` has them in ``session``). ``target``: sessions that
    are encrypted with KMS need it. ``profile`` and ``env`` should lead to the credentials that the session was started with: it is resumed
    and ended with them.
    """
    session = response.get("session")
    if isinstance(session, Mapping):
        response = {name[:1].upper() + name[1:]: value for name, value in session.items()}
    missing = [name for name in _FIELDS if not response.get(name)]
    if missing:
        raise UsageError(f"the response has no {', '.join(missing)}")
    arguments = [VARIABLE, region, "StartSession", profile or ""]
    arguments.append(json.dumps({"Target": target} if target else {}))
    arguments.append(endpoint_url or "")
    return Session(response, arguments, program=program, env=env)


__all__ = ["Session", "attach"]
