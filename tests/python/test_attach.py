"""Sessions that boto3 has started."""

from __future__ import annotations

import os
import signal
import socket

import pytest
import session_manager_plugin as smp
from conftest import TIMEOUT, EchoServer
from session_manager_plugin import attach
from session_manager_plugin.testing import Sandbox


def test_a_shell(session_manager: Sandbox) -> None:
    response = session_manager.client("ssm").start_session(Target="i-0123456789abcdef0")
    with attach(response, session_manager.region) as session:
        assert session.session_id == response["SessionId"]
        session.stdin.write(b"echo $((6 * 7)); exit\n")
        session.stdin.flush()
        output = session.stdout.read()
        assert session.wait(TIMEOUT) == 0
    assert b"42" in output
    # The banner and all else that the program says is elsewhere.
    assert b"SessionId" not in output
    assert "Starting session with SessionId" in session.messages


def test_a_command_and_its_exit_code(session_manager: Sandbox) -> None:
    response = session_manager.client("ssm").start_session(
        Target="i-0123456789abcdef0",
        DocumentName="AWS-StartNonInteractiveCommand",
        Parameters={
            "command": ["sh -c 'echo out; echo err >&2; exit 5'"],
            "separateOutputStream": ["True"],
        },
    )
    with attach(response, session_manager.region) as session:
        assert session.stdout.read().startswith(b"out\n")
        assert session.wait(TIMEOUT) == 5
    assert "err" in session.messages


def test_a_port(session_manager: Sandbox, echo: EchoServer) -> None:
    response = session_manager.client("ssm").start_session(
        Target="i-0123456789abcdef0",
        DocumentName="AWS-StartPortForwardingSession",
        Parameters={"portNumber": [str(echo.port)], "localPortNumber": ["0"]},
    )
    with attach(response, session_manager.region) as session:
        with socket.create_connection((session.host, session.port), TIMEOUT) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        port = session.port
    assert session.returncode is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT)


def test_interrupting_and_ending(session_manager: Sandbox) -> None:
    ssm = session_manager.client("ssm")
    output = b""

    def read_until(text: bytes) -> None:
        nonlocal output
        while text not in output:
            piece = os.read(session.stdout.fileno(), 4096)
            assert piece, (output, session.messages)
            output += piece

    with attach(ssm.start_session(Target="i-1"), session_manager.region) as session:
        session.stdin.write(b"trap 'echo it was inter''rupted' INT; echo be''gun; sleep 1000\n")
        session.stdin.flush()
        read_until(b"begun\r")
        session.send_signal(signal.SIGINT)
        read_until(b"it was interrupted")
        with pytest.raises(smp.TimeoutExpired):
            session.wait_port(0.1)
        assert session.returncode is None
    assert session.wait(0) == 143


def test_what_is_no_answer_of_start_session(session_manager: Sandbox) -> None:
    with pytest.raises(smp.UsageError, match="TokenValue"):
        attach({"SessionId": "s", "StreamUrl": "wss://x"}, "eu-central-1")
    response = {"SessionId": "s-1", "TokenValue": "t", "StreamUrl": "wss://evil.example.com/"}
    with (
        attach(response, "eu-central-1") as session,
        pytest.raises(smp.StartError, match=r"evil\.example\.com"),
    ):
        session.wait_port(TIMEOUT)


@pytest.mark.session_manager(targets=["web-1"], arguments=["--task=prod/web/app"])
def test_the_answer_of_ecs(session_manager: Sandbox) -> None:
    ecs = session_manager.client("ecs")
    (task,) = ecs.list_tasks(cluster="prod", serviceName="web")["taskArns"]
    response = ecs.execute_command(
        cluster="prod", task=task, container="app", interactive=True, command="echo in a task"
    )
    with attach(response, session_manager.region) as session:
        assert b"in a task" in session.stdout.read()
