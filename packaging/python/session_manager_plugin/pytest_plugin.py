"""The fixture ``session_manager``: a sandbox of Session Manager for the length of a test.

    @pytest.mark.session_manager(targets=["web-1"])
    def test_it(session_manager):
        assert run("web-1", ["echo", "hello"], text=True).stdout == "hello\\n"

The variables of the test's process lead to it meanwhile, so that boto3, the AWS CLI and this module find it and nothing else of AWS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Optional

import pytest

from .testing import Sandbox

MARK = "session_manager"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the sandbox is."""
    help_text = "the sandbox's program, where it is neither installed nor on the PATH"
    group = parser.getgroup("session_manager")
    group.addoption("--session-manager-sandbox", metavar="PROGRAM", default=None, help=help_text)
    parser.addini("session_manager_sandbox", help_text)


def pytest_configure(config: pytest.Config) -> None:
    """The marker, as `pytest --markers` shows it."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(targets=['web-1'], fleet=0, arguments=[]): what the sandbox of the fixture {MARK} has, and options of its program",
    )


@pytest.fixture
def session_manager(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """A sandbox; see :class:`session_manager_plugin.testing.Sandbox`. The mark of the same name says what it has."""
    mark = request.node.get_closest_marker(MARK)
    options = dict(mark.kwargs) if mark else {}
    named: Optional[str] = request.config.getoption("--session-manager-sandbox")
    named = named or request.config.getini("session_manager_sandbox") or None
    options.setdefault("program", named)
    with Sandbox(**options) as sandbox:
        wanted = sandbox.process_environment()
        for name in list(os.environ):
            if name not in wanted:
                monkeypatch.delenv(name)
        for name, value in wanted.items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)
        yield sandbox
