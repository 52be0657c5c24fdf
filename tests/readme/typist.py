"""Somebody at a terminal: a command on a pty, what it shows, and what is typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable

from screen import Screen

#: What is read at once.
READ = 65536
#: Until it is killed: the sandbox ends its processes, the program its sessions.
END_S = 15


class Typist:
    """Runs a command on a pty of its own, in a session of its own; leaving ends it."""

    def __init__(
        self,
        command: list[str],
        folder: pathlib.Path,
        environment: dict[str, str],
        columns: int,
        rows: int,
    ) -> None:
        self.screen = Screen(columns, rows)
        #: What was shown, and when, in seconds from the beginning.
        self.record: list[tuple[float, bytes]] = []
        self.began = time.monotonic()
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                for number in (
                    signal.SIGINT,
                    signal.SIGQUIT,
                    signal.SIGHUP,
                    signal.SIGPIPE,
                    signal.SIGXFSZ,
                    signal.SIGTSTP,
                ):
                    signal.signal(number, signal.SIG_DFL)
                os.chdir(folder)
                os.execvpe(command[0], command, environment)
            finally:
                os._exit(127)

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        # The terminal goes: whoever has it gets HUP.
        os.close(self.terminal)
        until = time.monotonic() + END_S
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self.process, os.WNOHANG)[0] == 0:
                if time.monotonic() > until:
                    os.kill(self.process, signal.SIGKILL)
                    os.waitpid(self.process, 0)
                    return
                time.sleep(0.02)

    def type(self, text: str) -> None:
        """Types it, all at once."""
        os.write(self.terminal, text.encode())

    def read(self, seconds: float) -> bool:
        """Takes what is shown within this time; False when nothing is, or nobody is there any more."""
        if not select.select([self.terminal], [], [], max(0.0, seconds))[0]:
            return False
        try:
            output = os.read(self.terminal, READ)
        except OSError:
            # What a pty says when its last process has gone.
            output = b""
        if not output:
            return False
        self.record.append((time.monotonic() - self.began, output))
        self.screen.feed(output)
        return True

    def wait(self, pleases: Callable[[], bool], seconds: float) -> bool:
        """Reads until what is seen pleases; False when it does not within this time."""
        until = time.monotonic() + seconds
        while not pleases():
            left = until - time.monotonic()
            if left <= 0 or (
                not self.read(left) and time.monotonic() < until and not self.is_alive()
            ):
                return pleases()
        return True

    def is_alive(self) -> bool:
        """Whether the command runs."""
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False
