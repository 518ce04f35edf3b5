"""Files appear whole or not at all, links are followed, and temporary folders of killed runs are removed."""

import errno
import os
from pathlib import Path

import pytest

from requant.errors import OutputError
from requant.ir.destination import appearing


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    with appearing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_only_old_folders_of_ours_are_removed(tmp_path: Path) -> None:
    for name in (".requant.abcd1234", ".requant.efgh5678", ".requant.cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").touch()
    for name in (".requant.abcd1234", ".requant.cache"):
        os.utime(tmp_path / name, (0, 0))
    with appearing(tmp_path / "out") as temporary:
        temporary.touch()
    assert {path.name for path in tmp_path.iterdir()} == {".requant.efgh5678", ".requant.cache", "out"}


def test_old_files_come_back_when_one_of_two_cannot_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("m", "m.data"):
        (tmp_path / name).write_text("old")
    real = os.replace

    def full(source: Path, target: Path) -> None:
        if target == tmp_path / "m":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        _write_two(tmp_path / "m")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m": "old", "m.data": "old"}


def _write_two(path: Path) -> None:
    with appearing(path) as temporary:
        temporary.write_text("new")
        temporary.with_name("m.data").write_text("new")
