"""What the tests of the static binary and of the packages share."""

import os
import pathlib
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
BINARY = pathlib.Path(os.environ.get("PLUGIN", TARGET / "static" / "session-manager-plugin"))
DIST = TARGET / "dist"
#: The other side of sessions.
SANDBOX = pathlib.Path(os.environ.get("SANDBOX", TARGET / "debug" / "sandbox"))
#: A machine that the sandbox has.
INSTANCE = "i-0123456789abcdef0"

#: What the program answers without arguments, and callers look for.
INSTALLED = (
    b"\nThe Session Manager plugin was installed successfully. "
    b"Use the AWS CLI to start a session.\n\n"
)

#: Long enough for a loaded machine: nothing here measures time.
PATIENCE_S = 60


def protocol_version():
    """The version that `--version` prints: the level of the protocol."""
    for line in (TOP / "src" / "lib.rs").read_text().splitlines():
        if line.startswith("pub const VERSION"):
            return line.split('"')[1]
    raise AssertionError("src/lib.rs has no VERSION")


def run(command, **options):
    """Runs a command to its end; what it printed is in the result, as bytes."""
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("timeout", PATIENCE_S)
    return subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )


def checked(command, **options):
    """Like `run`, for commands that must succeed."""
    result = run(command, **options)
    if result.returncode:
        raise AssertionError(
            f"{command} ended with {result.returncode}:\n"
            f"{result.stdout.decode(errors='replace')}"
            f"{result.stderr.decode(errors='replace')}"
        )
    return result.stdout


def check_manual_and_completions(prefix):
    """What lies under a prefix's share/ loads without a complaint."""
    share = prefix / "share"
    pages = sorted((share / "man" / "man1").glob("session-manager-plugin*.1*"))
    if len(pages) < 2:
        raise AssertionError(f"{share}: {pages}")
    for page in pages:
        # Without a terminal, man(1) wants no pager.
        result = run(["man", "--warnings", "--encoding=utf8", "--local-file", page])
        if result.returncode or result.stderr or b"session-manager-plugin" not in result.stdout:
            raise AssertionError(f"{page}: {result}")
    name = "session-manager-plugin"
    bash = share / "bash-completion" / "completions" / name
    registered = checked(["bash", "-c", f'source "$0" && complete -p {name}', bash])
    if name.encode() not in registered:
        raise AssertionError(registered)
    checked(
        [
            "fish",
            "--no-config",
            "--no-execute",
            share / "fish/vendor_completions.d" / f"{name}.fish",
        ]
    )
    zsh = [*share.glob(f"zsh/*/_{name}")]
    checked(["zsh", "--no-rcs", "-n", *zsh])


class Echo(socketserver.ThreadingTCPServer):
    """A TCP service on loopback that sends back what it gets."""

    daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        """One connection."""

        def handle(self):
            while part := self.request.recv(65536):
                self.request.sendall(part)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *failure):
        self.shutdown()
        super().__exit__(*failure)


class Folder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="plugin-test-"))
        # Programs that run as nobody must be able to enter.
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_works(self, command, **options):
        """The program behind `command` gives its version and says that it is installed."""
        version = run([*command, "--version"], **options)
        self.assertEqual(
            (version.returncode, version.stdout.decode(), version.stderr),
            (0, protocol_version() + "\n", b""),
        )
        installed = run(command, **options)
        self.assertEqual((installed.returncode, installed.stdout), (0, INSTALLED))


def main():
    """Runs the tests of the calling file, and closes with a line that counts them."""
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    passed = result.testsRun - failed - skipped
    sys.stderr.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed or not result.testsRun else 0)
