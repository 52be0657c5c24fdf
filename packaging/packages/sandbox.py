"""The sandbox for others: an archive, a wheel, and a container image with a shell.

What sessions run is this machine's own, or the image's: there it is Debian's static busybox.
"""

import pathlib
import subprocess

import archive
import oci
import wheel
from release import SANDBOX, SANDBOX_PACKAGE, TOP, Item

BUSYBOX = pathlib.Path("/bin/busybox")
BUSYBOX_TERMS = pathlib.Path("/usr/share/doc/busybox-static/copyright")


def make(releases):
    """Everything, for the architectures for which it was built."""
    images = []
    for release in releases:
        tarball(release)
        wheel.make_sandbox(release)
        # There is a busybox of this machine's architecture only.
        if release.architecture == "x86_64":
            images.append((release, contents(release)))
    if images:
        oci.write(images)


def items(release):
    """What is in the archive."""
    yield Item(release.sandbox, f"bin/{SANDBOX}", 0o755)
    yield Item(TOP / "LICENSE", "LICENSE", 0o644)
    yield Item(release.work / "sandbox" / "LICENSES.txt", "LICENSES.txt", 0o644)
    yield Item(TOP / "docs" / "sandbox.md", "README.md", 0o644)


def tarball(release):
    """The archive for a person."""
    name = f"{SANDBOX_PACKAGE}-{release.version}-{release.architecture}-linux"
    inside = [item._replace(path=f"{name}/{item.path}") for item in items(release)]
    file = release.dist / f"{name}.tar.gz"
    file.write_bytes(archive.compressed(archive.tarball(inside, release.epoch)))


def contents(release):
    """What is in the image: the sandbox, and busybox under all its names."""
    if not BUSYBOX.exists() or not BUSYBOX_TERMS.exists():
        raise SystemExit(f"{BUSYBOX} is not there: install Debian's busybox-static")
    names = subprocess.check_output([BUSYBOX, "--list"], text=True).split()
    inside = [
        Item(release.sandbox, f"usr/bin/{SANDBOX}", 0o755),
        Item(TOP / "LICENSE", f"usr/share/doc/{SANDBOX}/LICENSE", 0o644),
        Item(
            release.work / "sandbox" / "LICENSES.txt",
            f"usr/share/doc/{SANDBOX}/LICENSES.txt",
            0o644,
        ),
        Item(BUSYBOX, "bin/busybox", 0o755),
        Item(BUSYBOX_TERMS, "usr/share/doc/busybox-static/copyright", 0o644),
    ]
    links = [(f"bin/{name}", "busybox") for name in names if name != "busybox"]
    return oci.Contents(
        SANDBOX_PACKAGE,
        SANDBOX,
        inside,
        links,
        ["tmp"],
        [f"/usr/bin/{SANDBOX}"],
        ["PATH=/usr/bin:/bin", "HOME=/tmp"],
    )
