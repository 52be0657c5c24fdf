"""The sandbox: the other side of Session Manager on this machine, for tests of programs that use it.

With pytest there is a fixture, ``session_manager``; without::

    with Sandbox(targets=["web-1"]) as sandbox:
        print(run("web-1", ["uptime"], env=sandbox.process_environment()))
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ._closing import Closing
from ._errors import ProgramError, ProgramNotFound
from ._program import Path, find_program

NAME = "session-manager-sandbox"
DISTRIBUTION = "session-manager-sandbox-rs"
#: Names the program where it is neither installed nor on the PATH.
VARIABLE = "SESSION_MANAGER_SANDBOX"
#: How long it may take to end.
END_TIMEOUT = 10.0


@dataclass(frozen=True)
class SandboxTarget:
    """A node of the sandbox. Whatever its name, it is this machine."""

    id: str
    name: Optional[str]
    address: str


class Sandbox(Closing):
    """API, gateway and agent on ports of this machine, with credentials of their own. Commands and shells run as this user.

    It ends with :meth:`close`, or with this process.
    """

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        fleet: int = 0,
        arguments: Sequence[str] = (),
        program: Optional[Path] = None,
    ) -> None:
        """``targets``: names of nodes; without any, every identifier is a node. ``fleet``: so many more. ``arguments``: options of the
        program, such as ``["--rtt=40", "--kms"]``."""
        path = os.fspath(program) if program is not None else os.environ.get(VARIABLE)
        path = path or find_program(NAME, DISTRIBUTION)
        if not path:
            raise ProgramNotFound(
                f"there is no program {NAME}: install the package {DISTRIBUTION}, or name it by the argument `program` or {VARIABLE}"
            )
        command = [path, "--json", *(f"--target={name}" for name in targets), *arguments]
        if fleet:
            command.append(f"--fleet={fleet}")
        try:
            self._process = subprocess.Popen(
                command,
                # The sandbox ends when its stdin is closed.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramNotFound(f"{path} cannot be run: {error.strerror}") from error
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            ready = json.loads(line)
            self.endpoint_url = str(ready["endpoint_url"])
            self.region = str(ready["region"])
            self.environment: dict[str, str] = {
                str(name): str(value) for name, value in ready["environment"].items()
            }
            self.targets = [
                SandboxTarget(str(each["id"]), each["name"], str(each["address"]))
                for each in ready["targets"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise ProgramError(
                f"the sandbox did not start: {line[:200]!r}", exit_code=self._process.returncode
            ) from error

    def process_environment(self, base: Optional[Mapping[str, str]] = None) -> dict[str, str]:
        """The environment of a program that is to find the sandbox and nothing else of AWS. ``base``: ``os.environ`` without it."""
        variables = {
            name: value
            for name, value in (os.environ if base is None else base).items()
            if not name.startswith(("AWS_", "SSM_PLUGIN_"))
        }
        variables["AWS_CONFIG_FILE"] = os.devnull
        variables["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        variables.update(self.environment)
        return variables

    def client(self, service: str = "ssm", **options: Any) -> Any:
        """A client of boto3 for it: ssm, ec2, ecs, sts, kms. boto3 must be installed."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=self.environment.get("AWS_SESSION_TOKEN"),
            verify=self.environment["AWS_CA_BUNDLE"],
            **options,
        )

    def close(self) -> None:
        """Ends it, and all that runs in it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


__all__ = ["Sandbox", "SandboxTarget"]
