"""What names the packages: checksums, and the Homebrew formula."""

import hashlib
import string

from release import TOP


def digest(file):
    """A file's SHA-256 in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def formula(releases, tarballs, release_url, repository_url):
    """The text of the Homebrew formula, for archives found at `release_url`/VERSION/."""
    template = string.Template(
        (TOP / "packaging" / "homebrew" / "session-manager-plugin.rb.in").read_text()
    )
    blocks = []
    for release, tarball in zip(releases, tarballs):
        condition = "on_intel" if release.architecture == "x86_64" else "on_arm"
        blocks.append(
            f"    {condition} do\n"
            f'      url "{release_url}/{release.version}/{tarball.name}"\n'
            f'      sha256 "{digest(tarball)}"\n'
            f"    end"
        )
    return template.substitute(
        version=releases[0].version,
        protocol_version=releases[0].protocol_version,
        description=releases[0].description.split(":")[0],
        homepage=releases[0].homepage or repository_url,
        repository=repository_url,
        license=releases[0].license,
        downloads="\n".join(blocks),
    )


def checksums(folder):
    """SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    lines = [f"{digest(file)}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
