"""Makes every package of the static binary: `make packages`.

    python3 packaging/packages [ARCHITECTURE...]

Reads session-manager-plugin and session-manager-sandbox in target/static (and in
target/static-aarch64 for aarch64), target/manual, and writes to target/dist. The same inputs give the same bytes.

Variables say what cannot be known here:

    PACKAGE_MAINTAINER   "Name <address>" of who answers for deb, rpm and apk; without it
                         the author of the last commit
    RELEASE_URL          where the archives will be found, in a folder named by version
    REPOSITORY_URL       where git finds the sources; without it Cargo.toml's `repository`

The Homebrew formula needs the last two, and is left out without them.
"""

import os
import shutil
import sys

import archive
import native
import oci
import recipes
import sandbox
import wheel
from release import ARCHITECTURES, Release


def main():
    """Makes the packages for the architectures named."""
    wanted = sys.argv[1:] or ["x86_64"]
    unknown = [name for name in wanted if name not in ARCHITECTURES]
    if unknown:
        sys.exit(f"unknown architectures {unknown}: there are {list(ARCHITECTURES)}")
    releases = [Release(name) for name in wanted]
    for each in releases:
        if not each.binary.exists():
            sys.exit(f"{each.binary} is not there: make {each.names.folder}")

    dist = releases[0].dist
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    tarballs = []
    for each in releases:
        each.write_documents()
        tarballs.append(archive.make(each))
        native.make(each)
        wheel.make(each)
    oci.make(releases)
    sandbox.make([each for each in releases if each.sandbox.exists()])
    release_url = os.environ.get("RELEASE_URL")
    repository_url = os.environ.get("REPOSITORY_URL") or releases[0].repository
    if release_url and repository_url:
        text = recipes.formula(releases, tarballs, release_url, repository_url)
        (dist / "session-manager-plugin.rb").write_text(text)
    else:
        print("No Homebrew formula: it wants RELEASE_URL and REPOSITORY_URL", file=sys.stderr)
    recipes.checksums(dist)
    for file in sorted(dist.iterdir()):
        print(f"{file.stat().st_size:>10}  {file.name}")


main()
