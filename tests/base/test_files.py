"""Files: whole or absent, private where they must be, and a folder has one owner."""

import subprocess
import sys
from pathlib import Path

import pytest

from skerry.base.files import (
    FolderBusyError,
    FolderLock,
    private_folder,
    write_atomic,
    write_private,
)


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old and longer")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old_bytes_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old")

    def disk_full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "keys")
    write_private(folder / "node.key", b"secret")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "node.key").stat().st_mode & 0o777 == 0o600


def test_a_second_process_on_the_same_folder_is_refused_and_told_who_holds_it(
    tmp_path: Path,
) -> None:
    holder = (
        "import sys; from pathlib import Path; from skerry.base.files import FolderLock\n"
        f"with FolderLock(Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(FolderBusyError, match=f"process {process.pid}"), FolderLock(tmp_path):
            pass
        process.kill()
    with FolderLock(tmp_path):  # the kernel let go when the process died
        pass
