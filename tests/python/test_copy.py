"""Copies."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
import session_manager_plugin as smp
from session_manager_plugin import copy
from session_manager_plugin.testing import Sandbox

pytestmark = pytest.mark.session_manager(targets=["web-1"])


def test_up_and_down(session_manager: Sandbox, tmp_path: Path) -> None:
    data = random.Random(7).randbytes(3_000_000)
    here, there, back = tmp_path / "a b", tmp_path / "there", tmp_path / "back"
    here.write_bytes(data)
    progress: list[tuple[int, int]] = []
    sent = copy(here, f"web-1:{there}", on_progress=lambda *both: progress.append(both))
    assert there.read_bytes() == data
    (file,) = sent.files
    assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    received = copy(f"web-1:{there}", back)
    assert back.read_bytes() == data
    assert received.bytes == len(data)
    assert all(carried <= total for carried, total in progress)


def test_folders_several_sources_and_colons(
    session_manager: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("site/index.html", "site/deep/a", "web-1:x", "-r"):
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    there = tmp_path / "there"
    there.mkdir()
    result = copy([Path("site"), Path("web-1:x"), Path("-r")], f"web-1:{there}/", recursive=True)
    assert len(result.files) == 4
    assert (there / "site/deep/a").read_text() == "site/deep/a"
    assert (there / "web-1:x").read_text() == "web-1:x"
    assert (there / "-r").read_text() == "-r"


def test_what_fails_is_named_and_the_rest_is_copied(
    session_manager: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("a")
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(smp.CopyFailed) as caught:
        copy([tmp_path / "a", tmp_path / "missing"], f"web-1:{there}")
    assert [Path(path).name for path, _ in caught.value.failures] == ["missing"]
    assert [Path(file.path).name for file in caught.value.result.files] == ["a"]
    with pytest.raises(smp.CopyFailed, match="no such file"):
        copy("web-1:/nowhere/at/all", tmp_path)
    with pytest.raises(smp.TargetNotFound):
        copy("nowhere:/etc/hostname", tmp_path)
    with pytest.raises(smp.UsageError):
        copy("a", "b")
    with pytest.raises(smp.UsageError):
        copy("web-1:/a", "-")
    with pytest.raises(smp.TimeoutExpired):
        copy("web-1:/etc/hostname", tmp_path, timeout=0.0)
