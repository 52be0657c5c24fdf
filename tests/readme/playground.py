#!/usr/bin/env python3
"""A command in a place where the examples of README.md can be tried: the sandbox with three nodes, a small fleet and a container, a
web server, an sshd and a Redis server on the nodes, and a home and a folder that go with it.

    tests/readme/playground.py FOLDER-OF-THE-BINARIES COMMAND…
"""

from __future__ import annotations

import contextlib
import http.server
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

TOP = pathlib.Path(__file__).resolve().parents[2]
#: What can be reached.
TARGETS = ["--target=web-1", "--target=web-2", "--target=db", "--fleet=3", "--task=prod/web/app"]
#: Where the nodes' web server listens.
WEB_PORT = 8000
PAGE = b"hello from web-1\n"
#: As on Amazon Linux.
PROMPT = "sh-5.2$ "
#: For an sshd to start, and for processes to end.
PATIENCE_S = 10
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {ssh}/host_key
AuthorizedKeysFile {ssh}/id_ed25519.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""
SSH_CONFIG = """\
Host *
    Port {port}
    User {user}
    IdentityFile {ssh}/id_ed25519
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""


class Web(http.server.BaseHTTPRequestHandler):
    """Every page is the same."""

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        """One page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:  # pylint: disable=redefined-builtin
        """Nothing is logged."""


@contextlib.contextmanager
def web_server(port: int) -> Iterator[int]:
    """The nodes' web server, on this port, or on any where it is taken."""
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Web)
    except OSError:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def ssh_server(home: pathlib.Path) -> Iterator[bool]:
    """The nodes' sshd, which `ssh` in this home finds and may enter; False where none is installed."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        yield False
        return
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    for key in "host_key", "id_ed25519":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / key], check=True)
    port = free_port()
    user = pwd.getpwuid(os.getuid()).pw_name
    (ssh / "sshd_config").write_text(SSHD_CONFIG.format(port=port, ssh=ssh))
    (ssh / "config").write_text(SSH_CONFIG.format(port=port, ssh=ssh, user=user))
    with contextlib.suppress(OSError):
        # As root it insists on this; others cannot make it, and need not.
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", ssh / "sshd_config"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as sshd:
        try:
            wait_for_port(port)
            yield True
        finally:
            sshd.terminate()


@contextlib.contextmanager
def redis_server() -> Iterator[int | None]:
    """The port of the nodes' Redis server, which keeps nothing; None where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    port = free_port()
    options = [
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        tempfile.gettempdir(),
    ]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as redis:
        try:
            wait_for_port(port)
            yield port
        finally:
            redis.terminate()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Returns when somebody listens."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.05)


class Playground:
    """Folders and servers; `command` is how something is run in it."""

    def __init__(self, binaries: pathlib.Path, web_port: int = WEB_PORT) -> None:
        self.binaries = binaries.resolve()
        self.web_port = web_port
        self.has_ssh = False
        self.redis_port: int | None = None
        self.exits = contextlib.ExitStack()

    def __enter__(self) -> Playground:
        with contextlib.ExitStack() as exits:
            top = pathlib.Path(
                exits.enter_context(tempfile.TemporaryDirectory(prefix="session-manager-"))
            )
            self.home = top / "home"
            self.folder = top / "work"
            self.tools = top / "bin"
            for folder in self.home, self.folder, self.tools:
                folder.mkdir()
            self.web_port = exits.enter_context(web_server(self.web_port))
            self.has_ssh = exits.enter_context(ssh_server(self.home))
            self.redis_port = exits.enter_context(redis_server())
            self.fill()
            self.exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.exits.close()

    def fill(self) -> None:
        """A folder to copy, and an OpenSSH that reads this home's configuration."""
        site = self.folder / "site"
        site.mkdir()
        (site / "index.html").write_text("<h1>hello</h1>\n")
        (site / "style.css").write_text("h1 { color: teal }\n")
        # OpenSSH looks for its configuration in the user's home, whatever HOME says.
        for name in "ssh", "scp", "sftp":
            program = shutil.which(name)
            if program is not None:
                wrapper = self.tools / name
                wrapper.write_text(f'#!/bin/sh\nexec {program} -F "{self.home}/.ssh/config" "$@"\n')
                wrapper.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """Nothing of this machine's but where programs are, so that examples look the same everywhere."""
        path = [
            str(self.tools),
            str(self.binaries),
            str(self.binaries.parent / "venv" / "bin"),
            os.environ.get("PATH", os.defpath),
        ]
        return {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.home),
            "USER": pwd.getpwuid(os.getuid()).pw_name,
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "PS1": PROMPT,
            # As if the wheel were installed.
            "PYTHONPATH": str(TOP / "packaging" / "python"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_PLUGINS": "session_manager_plugin.pytest_plugin",
            "SESSION_MANAGER_SANDBOX": str(self.binaries / "sandbox"),
        }

    def command(self, words: list[str]) -> list[str]:
        """The words as a command that has the sandbox."""
        return [str(self.binaries / "sandbox"), "--quiet", *TARGETS, "exec", "--", *words]


def end_at_signals() -> None:
    """What was started is ended and what was made is removed when TERM or HUP comes, too."""
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def main() -> int:
    """Runs the command in this terminal."""
    end_at_signals()
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with Playground(pathlib.Path(sys.argv[1])) as playground:
        print("Targets: web-1, web-2, db, node-1 to node-3 (tag Fleet=sandbox), ecs:prod/web.")
        print(f"A web server is on port {playground.web_port} of each.")
        print(
            "All of them are this machine, which nothing leaves. The home and the folder go with `exit`."
        )
        # Ctrl-C is for what runs in there.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return subprocess.run(
            playground.command(sys.argv[2:]),
            cwd=playground.folder,
            env=playground.environment() | {"TERM": os.environ.get("TERM", "xterm")},
            check=False,
            preexec_fn=default_interrupt,
        ).returncode


def default_interrupt() -> None:
    """What is ignored here would be ignored in there, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
