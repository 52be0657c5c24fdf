"""The fixture for other people's tests, and the sandbox without it."""

from __future__ import annotations

import os
import subprocess

import pytest
from session_manager_plugin import ProgramError, ProgramNotFound, run
from session_manager_plugin.testing import VARIABLE, Sandbox

TEST = """
import os
import boto3
import pytest
from session_manager_plugin import run

def test_every_target_is_there(session_manager):
    assert run("i-0123456789abcdef0", ["echo", "hello"], text=True).stdout == "hello\\n"
    assert session_manager.targets == []

@pytest.mark.session_manager(targets=["web-1"], arguments=["--rtt=10"])
def test_boto3_finds_it(session_manager):
    found = boto3.client("ssm").describe_instance_information()["InstanceInformationList"]
    assert [node["InstanceId"] for node in found] == [session_manager.targets[0].id]
    assert "AWS_PROFILE" not in os.environ

def test_nothing_is_left():
    assert os.environ["AWS_PROFILE"] == "mine"
    assert "AWS_ENDPOINT_URL" not in os.environ
"""


@pytest.mark.parametrize("how", ["variable", "option", "setting"])
def test_the_fixture(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    program = os.environ[VARIABLE]
    arguments = ["-p", "session_manager_plugin.pytest_plugin", "--strict-markers"]
    if how != "variable":
        monkeypatch.delenv(VARIABLE)
    if how == "option":
        arguments += ["--session-manager-sandbox", program]
    if how == "setting":
        pytester.makeini(f"[pytest]\nsession_manager_sandbox = {program}\n")
    pytester.makepyfile(TEST)
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=3)


def test_without_pytest() -> None:
    with Sandbox(targets=["web-1"]) as sandbox:
        done = run("web-1", ["uname"], env=sandbox.process_environment(), check=True)
        assert done.stdout == subprocess.check_output(["uname"])
    sandbox.close()


def test_what_cannot_be_started() -> None:
    with pytest.raises(ProgramNotFound):
        Sandbox(program="/nowhere/sandbox")
    with pytest.raises(ProgramError):
        Sandbox(program="/bin/true")
    with pytest.raises(ProgramError):
        Sandbox(arguments=["--no-such-option"])
