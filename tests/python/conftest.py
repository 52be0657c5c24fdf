"""What the tests of the Python module share. They run by `cargo test --test python`, which says where the programs are."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

pytest_plugins = ["pytester"]

#: Longer than anything takes, on however slow a machine.
TIMEOUT = 60.0


class EchoServer(socketserver.ThreadingTCPServer):
    """A TCP service on loopback that sends back what it gets."""

    daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        """One connection."""

        def handle(self) -> None:
            while part := self.request.recv(65536):
                self.request.sendall(part)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    """An echo service that targets reach."""
    with EchoServer() as server:
        yield server
        server.shutdown()


def wait_until(what: str, is_so: Callable[[], object]) -> None:
    """Waits for what nobody tells of."""
    deadline = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process is there and not only waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(") ", 1)[1][0] not in "ZX"


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that nobody has waited for."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found
