"""A wheel that puts the program on the PATH: `pip install` beside awscli is all it takes.

maturin makes such wheels too, but only from a binary that it has built itself; this one
carries the very bytes of the other packages. `wheel pack` writes RECORD and the archive.
"""

import os
import shutil
import subprocess

from release import PACKAGE, PROGRAM, TARGET, TOP


def make(release):
    """Writes the wheel."""
    distribution = PACKAGE.replace("-", "_")
    folder = release.work / f"{distribution}-{release.version}"
    shutil.rmtree(folder, ignore_errors=True)
    information = folder / f"{distribution}-{release.version}.dist-info"
    data = folder / f"{distribution}-{release.version}.data"

    def add(source, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o644)

    program = data / "scripts" / PROGRAM
    add(release.binary, program)
    program.chmod(0o755)
    # man(1) finds the pages of what is on the PATH, and so do shells the completions where
    # the prefix is /usr or /usr/local.
    for item in [*release.pages(), *release.completions()]:
        add(item.source, data / "data" / item.path)
    licenses = [item for item in release.items() if item.path.startswith("LICENSE")]
    for item in licenses:
        add(item.source, information / "licenses" / item.path)
    metadata = [
        "Metadata-Version: 2.4",
        f"Name: {PACKAGE}",
        f"Version: {release.version}",
        f"Summary: {release.description}",
        f"License-Expression: {release.license}",
        *(f"License-File: {item.path}" for item in licenses),
        "Classifier: Environment :: Console",
        "Classifier: Operating System :: POSIX :: Linux",
    ]
    readme = TOP / "README.md"
    if readme.exists():
        metadata += ["Description-Content-Type: text/markdown", "", readme.read_text()]
    (information / "METADATA").write_text("\n".join(metadata) + "\n")
    # A static program runs with either C library, of any age.
    (information / "WHEEL").write_text(
        "Wheel-Version: 1.0\n"
        "Generator: session-manager-plugin packaging\n"
        "Root-Is-Purelib: false\n"
        f"Tag: py3-none-manylinux2014_{release.names.wheel}\n"
        f"Tag: py3-none-musllinux_1_1_{release.names.wheel}\n"
    )
    for name in ("METADATA", "WHEEL"):
        (information / name).chmod(0o644)
    subprocess.run(
        [TARGET / "tools" / "python" / "bin" / "wheel", "pack", folder]
        + ["--dest-dir", release.dist],
        # Archives of zip's kind know no time before 1980.
        env=dict(os.environ, SOURCE_DATE_EPOCH=str(max(release.epoch, 315532800))),
        stdout=subprocess.DEVNULL,
        check=True,
    )
