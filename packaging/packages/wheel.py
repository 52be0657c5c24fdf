"""Wheels: the program on the PATH and the Python module that runs it; and the sandbox.

`pip install` beside awscli is all it takes. maturin makes such wheels too, but only from a
binary that it has built itself; these carry the very bytes of the other packages. `wheel pack`
writes RECORD and the archive.
"""

import os
import pathlib
import shutil
import subprocess

from release import MODULE, PACKAGE, PROGRAM, SANDBOX, SANDBOX_PACKAGE, TARGET, TOP


def make(release):
    """Writes the wheel of the program and the module."""
    files = [
        (item.source, pathlib.Path("data", "data") / item.path)
        # man(1) finds the pages of what is on the PATH, and so do shells the completions where
        # the prefix is /usr or /usr/local.
        for item in [*release.pages(), *release.completions()]
    ]
    modules = [file for file in sorted(MODULE.rglob("*")) if file.suffix in (".py", ".typed")]
    metadata = [
        "Requires-Python: >=3.9",
        "Provides-Extra: testing",
        f"Requires-Dist: {SANDBOX_PACKAGE} == {release.version} ; extra == 'testing'",
        "Requires-Dist: pytest >= 7 ; extra == 'testing'",
        "Classifier: Framework :: Pytest",
        "Classifier: Programming Language :: Python :: 3",
        "Classifier: Typing :: Typed",
    ]
    entry_points = "[pytest11]\nsession_manager_plugin = session_manager_plugin.pytest_plugin\n"
    licenses = [item for item in release.items() if item.path.startswith("LICENSE")]
    write(
        release,
        PACKAGE,
        release.description,
        program=(release.binary, PROGRAM),
        files=files,
        modules=modules,
        licenses=[(item.source, item.path) for item in licenses],
        metadata=metadata,
        entry_points=entry_points,
        readme=TOP / "README.md",
    )


def make_sandbox(release):
    """Writes the wheel of the sandbox, which has nothing else."""
    licenses = [TOP / "LICENSE", release.work / "sandbox" / "LICENSES.txt"]
    write(
        release,
        SANDBOX_PACKAGE,
        "The other side of AWS Session Manager on loopback, for tests of programs that use it",
        program=(release.sandbox, SANDBOX),
        licenses=[(file, file.name) for file in licenses],
        readme=TOP / "docs" / "sandbox.md",
    )


def write(
    release,
    package,
    summary,
    *,
    program,
    licenses,
    readme,
    files=(),
    modules=(),
    metadata=(),
    entry_points=None,
):
    """Writes one wheel."""
    distribution = package.replace("-", "_")
    folder = release.work / f"{distribution}-{release.version}"
    shutil.rmtree(folder, ignore_errors=True)
    information = folder / f"{distribution}-{release.version}.dist-info"
    data = folder / f"{distribution}-{release.version}.data"

    def add(source, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(0o644)

    binary, name = program
    add(binary, data / "scripts" / name)
    (data / "scripts" / name).chmod(0o755)
    for source, path in files:
        add(source, data / path.relative_to("data"))
    for module in modules:
        add(module, folder / MODULE.name / module.relative_to(MODULE))
    for source, name in licenses:
        add(source, information / "licenses" / name)
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {package}",
        f"Version: {release.version}",
        f"Summary: {summary}",
        f"License-Expression: {release.license}",
        *(f"License-File: {name}" for _, name in licenses),
        *metadata,
        "Classifier: Environment :: Console",
        "Classifier: Operating System :: POSIX :: Linux",
    ]
    if readme.exists():
        lines += ["Description-Content-Type: text/markdown", "", readme.read_text()]
    documents = {
        "METADATA": "\n".join(lines) + "\n",
        # A static program runs with either C library, of any age.
        "WHEEL": "Wheel-Version: 1.0\n"
        "Generator: session-manager-plugin packaging\n"
        "Root-Is-Purelib: false\n"
        f"Tag: py3-none-manylinux2014_{release.names.wheel}\n"
        f"Tag: py3-none-musllinux_1_1_{release.names.wheel}\n",
    }
    if entry_points:
        documents["entry_points.txt"] = entry_points
    for name, text in documents.items():
        (information / name).write_text(text)
        (information / name).chmod(0o644)
    subprocess.run(
        [TARGET / "tools" / "python" / "bin" / "wheel", "pack", folder]
        + ["--dest-dir", release.dist],
        # Archives of zip's kind know no time before 1980.
        env=dict(os.environ, SOURCE_DATE_EPOCH=str(max(release.epoch, 315532800))),
        stdout=subprocess.DEVNULL,
        check=True,
    )
