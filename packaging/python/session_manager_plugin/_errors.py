"""What can go wrong, as exceptions: made from what the program says with ``--json``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Optional


class SessionManagerError(Exception):
    """Everything that this module raises by itself is one of these.

    ``kind`` is the program's word for it (docs/commands.md, "JSON"), ``aws_code`` the name of AWS's error where AWS refused a call, and
    ``exit_code`` the program's, where it has ended.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Optional[str] = None,
        aws_code: Optional[str] = None,
        exit_code: Optional[int] = None,
    ) -> None:
        # Not super(): subclasses with a second base call its __init__ themselves.
        Exception.__init__(self, message)
        self.message = message
        self.kind = kind
        self.aws_code = aws_code
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of subclasses differ: what is there is carried over as it is.
        return (_restore, (type(self), self.args, self.__dict__))


def _restore(
    kind: type[SessionManagerError], arguments: tuple[Any, ...], state: Mapping[str, Any]
) -> SessionManagerError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class ProgramNotFound(SessionManagerError, FileNotFoundError):
    """There is no program ``session-manager-plugin``, or it cannot be run."""


class ProgramError(SessionManagerError):
    """The program said what this module does not understand: it is another one, or it was killed."""


class UsageError(SessionManagerError, ValueError):
    """The arguments make no sense; nothing was tried."""


class TargetNotFound(SessionManagerError):
    """No node or task of that name is online."""


class CredentialsError(SessionManagerError):
    """There are no credentials, or they have expired or cannot be used."""


class NoRegion(SessionManagerError):
    """No region is known."""


class Unreachable(SessionManagerError):
    """AWS cannot be reached."""


class StartError(SessionManagerError):
    """The session could not be started."""


class Refused(SessionManagerError):
    """AWS refused a call; ``aws_code`` says why."""


class AccessDenied(Refused):
    """The account's policies do not allow it: the text names the action of IAM."""


class TargetNotConnected(Refused):
    """The node is there, and its agent is not."""


class SessionLost(SessionManagerError):
    """The session was over before what was asked for was done."""


class CommandFailed(SessionManagerError, subprocess.CalledProcessError):
    """A command ended with another exit code than 0, and ``check`` was asked for."""

    def __init__(self, returncode: int, cmd: Any, output: Any, stderr: Any) -> None:
        subprocess.CalledProcessError.__init__(self, returncode, cmd, output, stderr)
        message = f"the command ended with exit code {returncode}"
        SessionManagerError.__init__(self, message, exit_code=returncode)


class TimeoutExpired(SessionManagerError, subprocess.TimeoutExpired):
    """It took longer than ``timeout``. Sessions that were started are ended."""

    def __init__(self, cmd: Any, timeout: float, output: Any = None, stderr: Any = None) -> None:
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output, stderr)
        SessionManagerError.__init__(self, f"it took longer than {timeout} s")


class CopyFailed(SessionManagerError):
    """Not everything was copied: ``failures`` has paths and reasons, ``result`` what was."""

    def __init__(self, failures: Sequence[tuple[str, str]], result: Any, exit_code: int) -> None:
        shown = "; ".join(f"{path}: {reason}" for path, reason in failures[:5])
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        super().__init__(f"not copied: {shown}{more}", exit_code=exit_code)
        self.failures = list(failures)
        self.result = result


_KINDS: Mapping[str, type[SessionManagerError]] = {
    "usage": UsageError,
    "no_target": TargetNotFound,
    "credentials": CredentialsError,
    "no_region": NoRegion,
    "unreachable": Unreachable,
    "refused": Refused,
    "start": StartError,
    "old_agent": StartError,
    "taken": StartError,
    "lost": SessionLost,
    "signal": SessionLost,
}

_DENIED = ("AccessDenied", "UnauthorizedOperation", "NotAuthorized", "AuthException")
_CREDENTIALS = (
    "ExpiredToken",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "RequestExpired",
)


def from_json(fields: Mapping[str, Any], exit_code: Optional[int] = None) -> SessionManagerError:
    """The exception for an ``error`` of the program's."""
    kind = fields.get("kind")
    code = fields.get("aws_code")
    message = fields.get("message") or fields.get("error") or "it failed without a reason"
    error = _KINDS.get(kind, SessionManagerError) if isinstance(kind, str) else SessionManagerError
    if isinstance(code, str):
        if code.startswith("TargetNotConnected"):
            error = TargetNotConnected
        elif code.startswith(_DENIED):
            error = AccessDenied
        elif code.startswith(_CREDENTIALS):
            error = CredentialsError
    return error(str(message), kind=kind, aws_code=code, exit_code=exit_code)
