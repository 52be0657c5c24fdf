"""AWS Session Manager from Python: forwards, commands, copies, and sessions of boto3.

    from session_manager_plugin import copy, forward, run

    with forward("web-1", 5432, host="db.internal") as db:
        connect(host=db.host, port=db.port)
    print(run("web-1", ["uptime"], text=True).stdout)
    copy("web-1:/var/log/syslog", ".")

The work is done by the program ``session-manager-plugin``, which comes in the same wheel: no AWS CLI, no boto3, no other dependency.

Everything may be called from any thread. Calls block; in asyncio ``await asyncio.to_thread(run, …)``. A task that is cancelled leaves its
thread running: give calls a ``timeout``. However this process ends, the program notices and ends the sessions.
"""

from ._attach import Session, attach
from ._copy import CopiedFile, CopyResult, copy
from ._errors import (
    AccessDenied,
    CommandFailed,
    CopyFailed,
    CredentialsError,
    NoRegion,
    ProgramError,
    ProgramNotFound,
    Refused,
    SessionLost,
    SessionManagerError,
    StartError,
    TargetNotConnected,
    TargetNotFound,
    TimeoutExpired,
    Unreachable,
    UsageError,
)
from ._forward import Forward, ForwardEvent, forward
from ._query import Check, DoctorReport, Target, doctor, targets
from ._run import CompletedProcess, run

__all__ = [
    "AccessDenied",
    "Check",
    "CommandFailed",
    "CompletedProcess",
    "CopiedFile",
    "CopyFailed",
    "CopyResult",
    "CredentialsError",
    "DoctorReport",
    "Forward",
    "ForwardEvent",
    "NoRegion",
    "ProgramError",
    "ProgramNotFound",
    "Refused",
    "Session",
    "SessionLost",
    "SessionManagerError",
    "StartError",
    "Target",
    "TargetNotConnected",
    "TargetNotFound",
    "TimeoutExpired",
    "Unreachable",
    "UsageError",
    "attach",
    "copy",
    "doctor",
    "forward",
    "run",
    "targets",
]
