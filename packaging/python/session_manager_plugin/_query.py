"""Which targets there are, and what stands in the way of a session."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from ._errors import ProgramError, TimeoutExpired
from ._program import Event, Events, Path, Program, account_options, no_answer


@dataclass(frozen=True)
class Target:
    """A managed node."""

    id: str
    name: str
    #: ``Online``, ``ConnectionLost``, ``Inactive``.
    state: str
    agent_version: str
    platform: str
    address: str
    computer_name: str
    #: None where EC2 may not be asked for them.
    tags: Optional[Mapping[str, str]] = None

    @property
    def is_online(self) -> bool:
        """Whether its agent is connected."""
        return self.state == "Online"


@dataclass(frozen=True)
class Check:
    """A step of :func:`doctor`."""

    name: str
    #: ``ok``, ``warning`` or ``problem``.
    result: str
    detail: str
    next_step: Optional[str] = None


@dataclass(frozen=True)
class DoctorReport:
    """What :func:`doctor` has found."""

    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems

    @property
    def problems(self) -> list[Check]:
        """What does."""
        return [check for check in self.checks if check.result == "problem"]

    def __str__(self) -> str:
        return "\n".join(
            f"{check.result:8} {check.name:12} {check.detail}"
            + (f"\n{'':22}-> {check.next_step}" if check.next_step else "")
            for check in self.checks
        )


def targets(
    pattern: Optional[str] = None,
    *,
    filters: Optional[Mapping[str, Union[str, list[str]]]] = None,
    timeout: Optional[float] = 300.0,
    profile: Optional[str] = None,
    region: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> list[Target]:
    """The managed nodes, those that are not connected included.

    ``pattern`` is compared with id, name, computer's name and address, ``*`` and ``?`` stand for anything. ``filters`` are those of
    DescribeInstanceInformation: ``{"tag:Role": ["web", "db"], "PingStatus": "Online"}``.
    """
    arguments = ["list", "--json", *account_options(profile, region, endpoint_url)]
    for key, values in (filters or {}).items():
        joined = values if isinstance(values, str) else ",".join(values)
        arguments.append(f"--filter={key}={joined}")
    if pattern is not None:
        arguments += ["--", pattern]
    child = Program(arguments, program=program, env=env)
    found, code = _all(child, timeout)
    error = next((event for event in found if event.get("event") == "error"), None)
    if code != 0 or error is not None:
        raise no_answer(child, error)
    return [_target(event) for event in found]


def _target(event: Event) -> Target:
    def text(name: str) -> str:
        return str(event.get(name, ""))

    tags = event.get("tags")
    return Target(
        id=text("id"),
        name=text("name"),
        state=text("state"),
        agent_version=text("agent_version"),
        platform=text("platform"),
        address=text("address"),
        computer_name=text("computer_name"),
        tags=(
            {str(key): str(value) for key, value in tags.items()}
            if isinstance(tags, dict)
            else None
        ),
    )


def doctor(
    target: Optional[str] = None,
    *,
    timeout: Optional[float] = 120.0,
    profile: Optional[str] = None,
    region: Optional[str] = None,
    endpoint_url: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    program: Optional[Path] = None,
) -> DoctorReport:
    """Looks at everything that a session needs; with ``target`` a session is started and ended at once, as nothing else tells whether that
    is allowed. What stands in the way is in the report, and raises nothing."""
    arguments = ["doctor", "--json", *account_options(profile, region, endpoint_url)]
    if target is not None:
        arguments.append(f"--target={target}")
    child = Program(arguments, program=program, env=env)
    found, code = _all(child, timeout)
    checks = [
        Check(
            str(event.get("name")),
            str(event.get("result")),
            str(event.get("detail")),
            str(event["next_step"]) if event.get("next_step") else None,
        )
        for event in found
        if event.get("event") == "check"
    ]
    if code not in (0, 1) or not checks:
        error = next((event for event in found if event.get("event") == "error"), None)
        raise no_answer(child, error)
    if not any(event.get("event") == "end" for event in found):
        raise ProgramError("the program ended too early", exit_code=code)
    return DoctorReport(checks)


def _all(child: Program, timeout: Optional[float]) -> tuple[list[Event], int]:
    deadline = None if timeout is None else time.monotonic() + timeout
    found: list[Event] = []
    events = Events(child)
    try:
        try:
            while True:
                event = events.next(deadline)
                if event is None:
                    return found, child.wait()
                found.append(event)
        except queue.Empty:
            raise TimeoutExpired(child.process.args, timeout or 0.0) from None
    except BaseException:
        events.abandon()
        raise


__all__ = ["Check", "DoctorReport", "Target", "doctor", "targets"]
