"""Forwards."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import threading

import pytest
import session_manager_plugin as smp
from conftest import TIMEOUT, EchoServer, children, wait_until
from session_manager_plugin import ForwardEvent, forward, run
from session_manager_plugin.testing import Sandbox

pytestmark = pytest.mark.session_manager(targets=["web-1"], arguments=["--unpaced"])


def ask(address: tuple[str, int], data: bytes) -> bytes:
    """What an echo service answers."""
    with socket.create_connection(address, TIMEOUT) as connection:
        connection.sendall(data)
        answer = b""
        while len(answer) < len(data) and (part := connection.recv(65536)):
            answer += part
    return answer


def test_a_port_of_the_target(session_manager: Sandbox, echo: EchoServer) -> None:
    with forward("web-1", echo.port) as opened:
        assert opened.host == "127.0.0.1"
        assert opened.target == session_manager.targets[0].id
        assert len(opened.session_ids) == 1
        assert ask(opened.address, b"hello") == b"hello"
        assert opened.is_open
        program = opened._program.process.pid
        assert program in children(os.getpid())
    assert not opened.is_open
    assert opened.error is None
    opened.wait(0)
    opened.close()
    assert opened.session_ids == ()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(opened.address, TIMEOUT)
    # Nothing is left, not even to be waited for.
    assert program not in children(os.getpid())


def test_hosts_and_local_addresses(session_manager: Sandbox, echo: EchoServer) -> None:
    with forward("web-1", echo.port, host="127.0.0.1") as opened:
        assert ask(opened.address, b"hello") == b"hello"
        taken = opened.port
        with pytest.raises(smp.StartError, match=f"{taken}.*in use"):
            forward("web-1", echo.port, local_port=taken)
    with forward("web-1", echo.port, "localhost", local_host="127.0.0.2") as opened:
        assert opened.host == "127.0.0.2"
        assert ask(opened.address, b"hello") == b"hello"
    with forward("web-1", echo.port, local_host="::1") as opened:
        assert opened.host == "::1"
        assert ask(opened.address, b"hello") == b"hello"


def test_events_by_call_and_by_iteration(session_manager: Sandbox, echo: EchoServer) -> None:
    called: list[ForwardEvent] = []
    with forward("web-1", echo.port, on_event=called.append) as opened:
        with socket.create_connection(opened.address, TIMEOUT) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            # Reset: what is only closed on one side is waited for.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until("the connection's end", lambda: any(event.state == "closed" for event in called))
    seen = list(opened.events())
    assert [event.event for event in seen] == [event.event for event in called]
    assert sorted(event.event for event in seen[:2]) == ["ready", "session"]
    closed = next(event for event in seen if event.state == "closed")
    assert (closed.sent, closed.received, closed.forward) == (5, 5, 1)
    assert closed.nothing_of_that_name is None
    assert (seen[-1].event, seen[-1].code) == ("end", 0)
    # Each once.
    assert list(opened.events()) == []


def test_it_outlives_its_session(session_manager: Sandbox, echo: EchoServer) -> None:
    with forward("web-1", echo.port) as opened:
        (first,) = opened.session_ids
        session_manager.client("ssm").terminate_session(SessionId=first)
        wait_until("the end of the session", lambda: opened.session_ids == ())
        assert ask(opened.address, b"again") == b"again"
        (second,) = opened.session_ids
        assert second != first


def test_a_callback_that_fails_harms_nothing(session_manager: Sandbox, echo: EchoServer) -> None:
    def fail(event: ForwardEvent) -> None:
        raise RuntimeError(event.event)

    def leave(event: ForwardEvent) -> None:
        sys.exit(event.event)

    for callback in (fail, leave):
        with forward("web-1", echo.port, on_event=callback) as opened:
            assert ask(opened.address, b"hello") == b"hello"
            wait_until(
                "the connection", lambda: any(e.event == "connection" for e in opened.events(0))
            )


def test_errors_and_the_end_by_itself(session_manager: Sandbox, echo: EchoServer) -> None:
    with pytest.raises(smp.TargetNotFound):
        forward("nowhere", echo.port)
    with pytest.raises(smp.UsageError):
        forward("web-1", 0)
    with pytest.raises(smp.UsageError):
        forward("web-1", 80, sessions=17)
    with pytest.raises(smp.TimeoutExpired):
        forward("nowhere", echo.port, wait=300, timeout=0.5)
    opened = forward("web-1", echo.port, once=True)
    session_manager.client("ssm").terminate_session(SessionId=opened.session_ids[0])
    opened.wait(TIMEOUT)
    assert not opened.is_open


def test_many_threads_use_one(session_manager: Sandbox, echo: EchoServer) -> None:
    with forward("web-1", echo.port, sessions=4) as opened:
        answers: list[bool] = []

        def work(number: int) -> None:
            data = bytes([number]) * 100_000
            answers.append(ask(opened.address, data) == data)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert answers == [True] * 8
        closers = [threading.Thread(target=opened.close) for _ in range(4)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join(TIMEOUT)
        assert not opened.is_open


def test_asyncio_uses_threads(session_manager: Sandbox, echo: EchoServer) -> None:
    async def one(number: int) -> bytes:
        opened = await asyncio.to_thread(forward, "web-1", echo.port)
        try:
            reader, writer = await asyncio.open_connection(*opened.address)
            writer.write(b"hello %d" % number)
            answer = await asyncio.wait_for(reader.readexactly(7), TIMEOUT)
            writer.close()
            done = await asyncio.to_thread(run, "web-1", ["echo", str(number)], timeout=TIMEOUT)
            assert done.stdout == b"%d\n" % number
            return answer
        finally:
            await asyncio.to_thread(opened.close)

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(one(number) for number in range(3)))

    assert asyncio.run(all_of_them()) == [b"hello 0", b"hello 1", b"hello 2"]
