"""What is packaged: the binary, what comes with it, and where it goes."""

import collections
import os
import pathlib
import subprocess
import sys

import tomllib

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")).resolve()
PROGRAM = "session-manager-plugin"
#: The packages' own name: the original's package of the plain name has versions above
#: ours, and must be replaced instead of "upgraded".
PACKAGE = "session-manager-plugin-rs"
#: The other side of sessions, for tests, and its packages.
SANDBOX = "session-manager-sandbox"
SANDBOX_PACKAGE = "session-manager-sandbox-rs"
#: The Python module of the wheel.
MODULE = TOP / "packaging" / "python" / "session_manager_plugin"
#: Where the original is installed, and other programs look for it.
PREFIX = "/usr/local/sessionmanagerplugin"
LINK = "/usr/local/bin/session-manager-plugin"

#: How the architectures are called by Rust's targets, Debian, RPM, Alpine and OCI.
Architecture = collections.namedtuple("Architecture", "folder debian rpm oci wheel")
ARCHITECTURES = {
    "x86_64": Architecture("static", "amd64", "x86_64", "amd64", "x86_64"),
    "aarch64": Architecture("static-aarch64", "arm64", "aarch64", "arm64", "aarch64"),
}

#: A file of a package: where it comes from, where it goes, and its mode.
Item = collections.namedtuple("Item", "source path mode")


class Release:
    """One architecture's binary with all that is shipped beside it."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.names = ARCHITECTURES[architecture]
        self.binary = TARGET / self.names.folder / PROGRAM
        self.sandbox = TARGET / self.names.folder / SANDBOX
        self.manual = TARGET / "manual"
        self.dist = TARGET / "dist"
        self.work = TARGET / "packages" / architecture
        package = tomllib.loads((TOP / "Cargo.toml").read_text())["package"]
        self.version = package["version"]
        self.description = package["description"]
        self.license = package["license"]
        self.repository = package.get("repository", "")
        self.homepage = package.get("homepage") or self.repository
        self.epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or last_commit("%ct") or 0)
        self.maintainer = os.environ.get("PACKAGE_MAINTAINER") or last_commit("%an <%ae>")

    @property
    def protocol_version(self):
        """What `--version` prints, and the original keeps in its file VERSION."""
        for line in (TOP / "src" / "lib.rs").read_text().splitlines():
            if line.startswith("pub const VERSION"):
                return line.split('"')[1]
        raise SystemExit("src/lib.rs has no VERSION")

    def write_documents(self):
        """Writes VERSION, the licences and the bill of materials."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "VERSION").write_text(self.protocol_version + "\n")
        bill = [sys.executable, str(TOP / "packaging" / "bill.py")]
        for kind, crate, file in [
            ("licenses", PROGRAM, self.work / "LICENSES.txt"),
            ("licenses", "sandbox", self.work / "sandbox" / "LICENSES.txt"),
            (
                "sbom",
                PROGRAM,
                self.dist / f"{PACKAGE}-{self.version}-{self.architecture}.cdx.json",
            ),
        ]:
            file.parent.mkdir(exist_ok=True)
            command = [*bill, kind, self.architecture, crate]
            file.write_bytes(subprocess.check_output(command))

    def items(self):
        """The files under the installation's own folder, with relative paths."""
        yield Item(self.binary, f"bin/{PROGRAM}", 0o755)
        yield Item(self.work / "VERSION", "VERSION", 0o644)
        yield Item(self.work / "LICENSES.txt", "LICENSES.txt", 0o644)
        for name in ("LICENSE", "README.md"):
            if (TOP / name).exists():
                yield Item(TOP / name, name, 0o644)

    def pages(self):
        """The manual pages, with paths relative to a prefix such as /usr."""
        for page in sorted(self.manual.glob("*.1")):
            yield Item(page, f"share/man/man1/{page.name}", 0o644)

    def completions(self):
        """The shells' completions, with paths relative to a prefix."""
        for name, path in [
            (f"{PROGRAM}.bash", f"bash-completion/completions/{PROGRAM}"),
            (f"{PROGRAM}.fish", f"fish/vendor_completions.d/{PROGRAM}.fish"),
            (f"_{PROGRAM}", f"zsh/site-functions/_{PROGRAM}"),
        ]:
            yield Item(self.manual / name, f"share/{path}", 0o644)


def last_commit(form):
    """What git says of the last commit; nothing where there is no repository."""
    log = ["git", "-C", str(TOP), "log", "-1", f"--format={form}"]
    return subprocess.run(log, capture_output=True, text=True, check=False).stdout.strip()
