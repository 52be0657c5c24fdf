"""Targets and the doctor."""

from __future__ import annotations

import pytest
import session_manager_plugin as smp
from session_manager_plugin import doctor, targets
from session_manager_plugin.testing import Sandbox


@pytest.mark.session_manager(targets=["web-1", "web-2", "db"], fleet=60)
def test_targets(session_manager: Sandbox) -> None:
    everything = targets()
    assert len(everything) == 63
    first = next(each for each in everything if each.name == "web-1")
    assert first == smp.Target(
        id=session_manager.targets[0].id,
        name="web-1",
        state="Online",
        agent_version="3.3.0.0",
        platform="Amazon Linux 2023",
        address="10.0.0.1",
        computer_name="host-1.example.internal",
        tags={"Name": "web-1"},
    )
    assert first.is_online
    assert sorted(each.name for each in targets("web-*")) == ["web-1", "web-2"]
    assert len(targets(filters={"tag:Fleet": "sandbox"})) == 60
    (db,) = targets("db", filters={"tag:Name": ["db", "web-2"], "PingStatus": "Online"})
    assert db.name == "db"
    with pytest.raises(smp.UsageError):
        targets(filters={"": "x"})
    with pytest.raises(smp.Unreachable):
        targets(endpoint_url="http://127.0.0.1:9")
    with pytest.raises(smp.TimeoutExpired):
        targets(timeout=0.0)


@pytest.mark.session_manager(targets=["web-1"])
def test_doctor(session_manager: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # As with an endpoint of one's own network.
    gateway = session_manager.environment["SSM_PLUGIN_ALLOW_STREAM_HOST"].split(",")[0]
    monkeypatch.setenv("SSM_PLUGIN_STREAM_ENDPOINT", gateway)
    report = doctor("web-1")
    assert report.ok, report
    assert {"version", "credentials", "session"} <= {check.name for check in report.checks}
    monkeypatch.setenv("SSM_PLUGIN_STREAM_ENDPOINT", "127.0.0.1:9")
    report = doctor()
    assert [check.name for check in report.problems] == ["ssmmessages"]
    assert not report.ok
    assert report.problems[0].next_step
    assert "->" in str(report)
    monkeypatch.setenv("SSM_PLUGIN_QUIET", "perhaps")
    with pytest.raises(smp.StartError, match="SSM_PLUGIN_QUIET"):
        doctor()
