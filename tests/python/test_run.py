"""Commands, as subprocess.run runs them."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import session_manager_plugin as smp
from conftest import is_alive, wait_until
from session_manager_plugin import run
from session_manager_plugin.testing import Sandbox

pytestmark = pytest.mark.session_manager(targets=["web-1", "web-2"])


def test_output_and_exit_code(session_manager: Sandbox) -> None:
    done = run("web-1", ["sh", "-c", "echo out; echo err >&2; exit 3"], text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.target == session_manager.targets[0].id
    with pytest.raises(smp.CommandFailed) as caught:
        done.check_returncode()
    assert isinstance(caught.value, subprocess.CalledProcessError)
    assert (caught.value.returncode, caught.value.stdout) == (3, "out\n")


def test_words_stay_whole(session_manager: Sandbox) -> None:
    words = ["", "two words", "it's", "$HOME", "*", "-n", "é\n"]
    done = run("web-1", ["printf", "<%s>", *words], text=True, check=True)
    assert done.stdout == "".join(f"<{word}>" for word in words)
    # One word is a program, however it is called; a text is a line.
    missing = run("web-1", ["a program"], text=True)
    assert missing.returncode == 1
    assert "No such file" in (missing.stderr or "")
    assert run("web-1", "echo 'a  b' c", text=True).stdout == "a  b c\n"
    with pytest.raises(smp.UsageError):
        run("web-1", [])
    assert run("web-1", ["echo", Path("a  b")], text=True).stdout == "a  b\n"


@pytest.mark.parametrize("argv", [[b"echo", b"x"], b"echo x", ["echo", 5], ["echo", None]])
def test_what_is_no_word_is_refused(session_manager: Sandbox, argv: Any) -> None:
    with pytest.raises(smp.UsageError, match=r"bytes|int|None"):
        run("web-1", argv)


def test_words_without_end_are_no_missing_program(session_manager: Sandbox) -> None:
    with pytest.raises(smp.UsageError, match="too long"):
        run("web-1", ["echo", "x" * 200_000])


def test_whether_it_is_text_may_be_known_late(session_manager: Sandbox) -> None:
    def lines(text: bool) -> Any:
        return run("web-1", ["echo", "a"], text=text).stdout

    assert (lines(True), lines(False)) == ("a\n", b"a\n")


def test_large_output_comes_whole(session_manager: Sandbox) -> None:
    done = run("web-1", ["head", "-c", "9000000", "/dev/zero"], check=True)
    assert done.stdout == bytes(9_000_000)


def test_input_of_any_bytes_and_output_of_any_bytes(
    session_manager: Sandbox, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 500
    assert run("web-1", ["cat"], input=data, check=True).stdout == data
    assert run("web-1", ["wc", "-c"], input="é", text=True).stdout == "2\n"
    # A command that reads nothing holds nothing up.
    assert run("web-1", ["true"], input=bytes(2_000_000)).returncode == 0
    file = tmp_path / "data"
    file.write_bytes(data)
    with file.open("rb") as stdin:
        assert run("web-1", ["cat"], stdin=stdin).stdout == data
    assert run("web-1", ["cat"], stdin=subprocess.DEVNULL).stdout == b""
    # Nobody would write, and nothing can be read by the program.
    for nothing in (subprocess.PIPE, io.BytesIO(b"x"), "x"):
        with pytest.raises(smp.UsageError, match="input"):
            run("web-1", ["cat"], stdin=nothing, timeout=20)  # type: ignore[arg-type]


def test_without_input_stdin_is_left_alone(session_manager: Sandbox) -> None:
    script = "import sys, session_manager_plugin as smp; smp.run('web-1', ['true'], check=True); print(sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-c", script], input="mine", capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine\n"


def test_output_that_is_not_captured(
    session_manager: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    pieces: list[tuple[str, bytes]] = []
    done = run(
        "web-1",
        ["sh", "-c", "echo out; echo err >&2"],
        capture_output=False,
        on_output=lambda stream, data: pieces.append((stream, data)),
    )
    assert (done.stdout, done.stderr) == (None, None)
    assert capfd.readouterr() == ("out\n", "err\n")
    assert sorted(pieces) == [("stderr", b"err\n"), ("stdout", b"out\n")]


def test_output_comes_after_what_was_printed_before(session_manager: Sandbox) -> None:
    script = (
        "from session_manager_plugin import run; print('a');"
        "run('web-1', ['echo', 'b'], capture_output=False, check=True); print('c')"
    )
    # As it is where nobody says otherwise.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=variables
    )
    assert done.stdout == "a\nb\nc\n"


def test_a_callback_that_fails_ends_the_command(session_manager: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = f"echo $$ >{mark}; exec cat /dev/zero"

    def fail(stream: str, data: bytes) -> None:
        raise KeyError(stream)

    with pytest.raises(KeyError):
        run("web-1", ["sh", "-c", command], on_output=fail)
    pid = int(mark.read_text())
    wait_until("the end of the command", lambda: not is_alive(pid))
    wait_until("the threads' end", lambda: not others())


def others() -> list[str]:
    """Threads of the module's."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("session-manager-plugin")]


def test_timeout_ends_the_command(session_manager: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = f"echo $$ >{mark}; echo begun; exec sleep 1000"
    with pytest.raises(smp.TimeoutExpired) as caught:
        run("web-1", ["sh", "-c", command], timeout=2.0)
    assert isinstance(caught.value, subprocess.TimeoutExpired)
    assert caught.value.output == b"begun\n"
    pid = int(mark.read_text())
    wait_until("the end of the command", lambda: not is_alive(pid))


def test_errors_have_types(session_manager: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(smp.TargetNotFound, match=r"nowhere.*online are i-00000000000000001"):
        run("nowhere", ["true"])
    with pytest.raises(smp.TargetNotConnected) as caught:
        run("i-00000000000000009", ["true"])
    with pytest.raises(smp.TargetNotConnected):
        run("i-00000000000000009", ["true"], input=b"x")
    assert caught.value.aws_code == "TargetNotConnected"
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (type(copied), str(copied)) == (type(caught.value), str(caught.value))
    assert copied.aws_code == "TargetNotConnected"
    with pytest.raises(smp.UsageError):
        run("tag:nothing", ["true"])
    with pytest.raises(smp.UsageError):
        run("web-1", ["true"], wait=-1)
    with pytest.raises(smp.SessionManagerError):
        run("web-1", ["nul\0"])
    with pytest.raises(smp.ProgramNotFound):
        run("web-1", ["true"], program="/nowhere/session-manager-plugin")
    with pytest.raises(smp.ProgramError):
        run("web-1", ["true"], program="/bin/echo")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN000000000")
    with pytest.raises(smp.CredentialsError):
        run("web-1", ["true"])
    with pytest.raises(smp.Unreachable):
        run("web-1", ["true"], endpoint_url="http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(smp.CredentialsError):
        run("web-1", ["true"])
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(smp.NoRegion):
        run("web-1", ["true"])


def test_many_threads_at_a_time(session_manager: Sandbox) -> None:
    def one(number: int) -> str:
        name = f"web-{number % 2 + 1}"
        return run(name, ["echo", str(number)], text=True, check=True, timeout=60).stdout or ""

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(16))) == [f"{number}\n" for number in range(16)]
