"""Only the owner can access the stored files, under any umask."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import COMMAND, environment
from support.parts import settings_for

from app.private_files import make_private_file, make_private_folder
from containers import create_container, running

LINES = b"".join(
    b'{"source_uri": "doc:%d", "extraction_type": "fact", "data": {"text": "fact %d"}}\n' % (number, number)
    for number in range(20)
)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> tuple[set[int], set[int]]:
    """Of all folders, with this one, and of all files."""
    found = [folder, *folder.rglob("*")]
    return {mode_of(path) for path in found if path.is_dir()}, {
        mode_of(path) for path in found if path.is_file()
    }


def test_all_that_a_command_stores(tmp_path: Path) -> None:
    for arguments in (["ingest", "-"], ["search", "fact"], ["verify"]):
        command = [*COMMAND, *arguments]
        subprocess.run(command, input=LINES, cwd=tmp_path, env=environment(), umask=0, check=True, timeout=120)
    assert modes(tmp_path / "data") == ({0o700}, {0o600})


def test_the_folders_and_the_database_of_a_program_that_opens_the_container(umask: int, tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path,
        database={"url": f"sqlite:///{tmp_path}/a/b/store.db"},
        qdrant={"path": str(tmp_path / "a/c/qdrant")},
    )
    with running(create_container(settings)) as container:
        with container.engine().begin() as connection:
            connection.exec_driver_sql("CREATE TABLE of_a_test (id INTEGER)")
        files = [path for path in (tmp_path / "a/b").iterdir() if path.is_file()]
        assert {path.name for path in files} == {"store.db", "store.db-shm", "store.db-wal"}
        assert {mode_of(path) for path in files} == {0o600}
        for folder in ("a", "a/b", "a/c", "a/c/qdrant"):
            assert mode_of(tmp_path / folder) == 0o700
    assert os.umask(umask) == umask  # the program's umask isn't changed


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755
    file = tmp_path / "file"
    file.write_text("kept")
    file.chmod(0o644)
    make_private_file(file)
    assert (file.read_text(), mode_of(file)) == ("kept", 0o644)
    with pytest.raises(FileExistsError):
        make_private_folder(file)
