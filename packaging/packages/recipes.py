"""What names the packages: checksums, and the Homebrew formula."""

import hashlib
import os
import string

from release import TOP

#: Where the archives will be found: the formula names it.
RELEASE_URL = os.environ.get(
    "RELEASE_URL", "https://example.com/session-manager-plugin/releases"
)


def digest(file):
    """A file's SHA-256 in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def formula(releases, tarballs):
    """The Homebrew formula, from its template."""
    template = string.Template(
        (TOP / "packaging" / "homebrew" / "session-manager-plugin.rb.in").read_text()
    )
    values = {
        "version": releases[0].version,
        "protocol_version": releases[0].protocol_version,
        "description": releases[0].description.split(":")[0],
        "homepage": releases[0].homepage or RELEASE_URL,
        "license": releases[0].license,
    }
    blocks = []
    for release, tarball in zip(releases, tarballs):
        condition = "on_intel" if release.architecture == "x86_64" else "on_arm"
        blocks.append(
            f"    {condition} do\n"
            f'      url "{RELEASE_URL}/{release.version}/{tarball.name}"\n'
            f'      sha256 "{digest(tarball)}"\n'
            f"    end"
        )
    file = releases[0].dist / "session-manager-plugin.rb"
    file.write_text(template.substitute(values, downloads="\n".join(blocks)))


def checksums(folder):
    """SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    lines = [f"{digest(file)}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
