"""A file that has its name only once it is whole, written by two at once."""

import os
from pathlib import Path

import pytest

from app.cli.part_file import PartFile
from app.errors import InvalidInput


def test_it_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "it"
    file = PartFile(path)
    file.write(b"whole")
    assert not path.exists()
    file.finish()
    assert path.read_bytes() == b"whole"
    assert not file.part.exists()


def test_a_second_writer_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    first = PartFile(tmp_path / "it")
    first.write(b"whole")
    with pytest.raises(InvalidInput, match=r"another process is writing .*it\.part"):
        PartFile(tmp_path / "it")
    first.finish()
    assert first.path.read_bytes() == b"whole"


def test_a_part_that_is_finished_while_another_opens_it_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PartFile(tmp_path / "it")
    first.write(b"whole")
    really_open = os.open

    def opened_just_before_the_end(path: Path, flags: int, mode: int) -> int:
        descriptor = really_open(path, flags, mode)
        first.finish()
        return descriptor

    monkeypatch.setattr(os, "open", opened_just_before_the_end)
    with pytest.raises(InvalidInput, match="another process is writing"):
        PartFile(tmp_path / "it")
    assert first.path.read_bytes() == b"whole"
