"""The note by which commands find a service, and what becomes of it however the service ends."""

import logging
import os
import stat
from pathlib import Path

import pytest

from app.service_note import NAME, Holder, find_holder, noted

HOLDER = Holder("http://127.0.0.1:8000", os.getpid(), "/srv/agent-storage.db", "deterministic")


def test_a_service_is_found_until_it_ends(tmp_path: Path) -> None:
    assert find_holder(tmp_path) is None
    with noted(tmp_path, HOLDER):
        assert find_holder(tmp_path) == HOLDER
        assert find_holder(tmp_path) == HOLDER, "looking takes nothing away"
    assert find_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_may_read_a_note(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("of an older umask, and longer than what is written now" * 10)
    (tmp_path / NAME).chmod(0o644)
    with noted(tmp_path, HOLDER):
        assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
        assert find_holder(tmp_path) == HOLDER


def test_a_note_that_nobody_has_locked_says_nothing(tmp_path: Path) -> None:
    with noted(tmp_path, HOLDER):
        left = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(left)
    assert find_holder(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b'{"url": "http', b"[]", b'{"url": "http://x"}'])
def test_a_note_that_is_being_written_says_nothing(tmp_path: Path, content: bytes) -> None:
    with noted(tmp_path, HOLDER):
        (tmp_path / NAME).write_bytes(content)
        assert find_holder(tmp_path) is None


def test_no_link_is_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / NAME).symlink_to(other)
    with noted(tmp_path, HOLDER):
        assert find_holder(tmp_path) is None
    assert other.read_text() == "kept"


def test_a_note_of_another_user_leads_no_key_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with noted(tmp_path, HOLDER):
        monkeypatch.setattr("app.service_note.os.geteuid", lambda: os.getuid() + 1)
        assert find_holder(tmp_path) is None


def test_a_service_that_can_leave_no_note_says_so_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), noted(tmp_path / "gone", HOLDER):
        pass
    assert "--api http://127.0.0.1:8000" in caplog.text
