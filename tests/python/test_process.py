"""What is left when this process ends, in whatever way: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import session_manager_plugin as smp
from conftest import TIMEOUT, EchoServer, children, is_alive, wait_until
from session_manager_plugin.testing import Sandbox

pytestmark = pytest.mark.session_manager(targets=["web-1"])

FORWARD = "f = smp.forward('web-1', {port}); print(f._program.process.pid, flush=True); {then}"
COMMAND = (
    "smp.run('web-1', ['sh', '-c', 'echo $$ >{mark}; exec sleep 1000'], input={input}, timeout=500)"
)


def python(script: str) -> subprocess.Popen[str]:
    """Another interpreter."""
    imports = "import os, signal, sys, threading, time, session_manager_plugin as smp"
    return subprocess.Popen(
        [sys.executable, "-c", f"{imports}\n{script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "then", ["time.sleep(1000)", "sys.exit(3)", "os._exit(4)", "os.abort()", "raise SystemError"]
)
def test_a_forward_ends_with_the_interpreter(
    session_manager: Sandbox, echo: EchoServer, then: str
) -> None:
    with python(FORWARD.format(port=echo.port, then=then)) as interpreter:
        assert interpreter.stdout is not None
        program = int(interpreter.stdout.readline())
        if "sleep" in then:
            interpreter.kill()
        interpreter.wait(TIMEOUT)
        wait_until("the end of the program", lambda: not is_alive(program))


@pytest.mark.parametrize("given", ["None", "b'x'"])
def test_a_command_ends_with_the_interpreter(
    session_manager: Sandbox, tmp_path: Path, given: str
) -> None:
    mark = tmp_path / "pid"
    with python(COMMAND.format(mark=mark, input=given)) as interpreter:
        wait_until("the command", lambda: mark.exists() and mark.read_text().endswith("\n"))
        command = int(mark.read_text())
        (program,) = children(interpreter.pid)
        interpreter.kill()
        interpreter.wait(TIMEOUT)
        wait_until("the end of the program", lambda: not is_alive(program))
        wait_until("the end of the command", lambda: not is_alive(command))


def test_ctrl_c_is_for_the_caller(session_manager: Sandbox, echo: EchoServer) -> None:
    script = FORWARD.format(port=echo.port, then="told.wait(60)")
    handler = "os.setpgid(0, 0); told = threading.Event(); signal.signal(signal.SIGINT, lambda *_: told.set())"
    with python(f"{handler}; {script}; print(f.is_open)") as interpreter:
        assert interpreter.stdout is not None
        interpreter.stdout.readline()
        # As a terminal sends it: to all of the group.
        os.killpg(interpreter.pid, signal.SIGINT)
        assert interpreter.stdout.readline() == "True\n"
        assert interpreter.wait(TIMEOUT) == 0


def test_a_process_that_is_forked_off_ends_nothing(session_manager: Sandbox) -> None:
    # The thread that waits for the program holds a lock, which is held for ever in the other process.
    script = (
        "import boto3; answer = boto3.client('ssm').start_session(Target='i-00000000000000001');"
        "session = smp.attach(answer, 'eu-central-1');"
        "say = lambda line: (session.stdin.write(line), session.stdin.flush());"
        "find = lambda text: any(text in line for line in session.stdout);"
        "say(b'echo be$((0))gun\\n'); find(b'be0gun');"
        "os.fork() or sys.exit(0); os.wait();"
        "say(b'echo st$((0))ill\\n'); print(find(b'st0ill'))"
    )
    with python(script) as interpreter:
        assert interpreter.stdout is not None
        assert interpreter.stdout.readline() == "True\n"
        assert interpreter.wait(TIMEOUT) == 0


def test_a_process_that_leaves_a_block_after_a_fork_ends_nothing(session_manager: Sandbox) -> None:
    script = """
import boto3
answer = boto3.client('ssm').start_session(Target='i-00000000000000001')
with smp.attach(answer, 'eu-central-1') as session:
    child = os.fork()
    if not child:
        sys.exit(0)
    os.waitpid(child, 0)
    session.stdin.write(b'echo st$((0))ill; exit\\n')
    session.stdin.flush()
    print(b'st0ill' in session.stdout.read())
"""
    with python(script) as interpreter:
        assert interpreter.stdout is not None
        assert interpreter.stdout.read() == "True\n"
        assert interpreter.wait(TIMEOUT) == 0


def test_an_interrupted_command_is_ended(session_manager: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with python(COMMAND.format(mark=mark, input=None)) as interpreter:
        wait_until("the command", lambda: mark.exists() and mark.read_text().endswith("\n"))
        command = int(mark.read_text())
        interpreter.send_signal(signal.SIGINT)
        interpreter.wait(TIMEOUT)
        wait_until("the end of the command", lambda: not is_alive(command))


def test_no_thread_and_no_descriptor_is_left(session_manager: Sandbox, echo: EchoServer) -> None:
    def use() -> None:
        with smp.forward("web-1", echo.port):
            smp.run("web-1", ["true"], input=b"x", check=True)
        smp.targets()

    def threads() -> int:
        names = [thread.name for thread in threading.enumerate()]
        return len([name for name in names if name.startswith("session-manager-plugin")])

    def descriptors() -> int:
        wait_until("the threads' end", lambda: threads() == 0)
        return len(os.listdir("/proc/self/fd"))

    use()
    before = descriptors()
    for _ in range(3):
        use()
    assert descriptors() <= before
