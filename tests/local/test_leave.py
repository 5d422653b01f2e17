"""Leaving a machine: what is lost is said, keys are overwritten, nothing foreign is touched."""

import os
from pathlib import Path

import pytest

from skerry.base.files import FolderBusyError, FolderLock
from skerry.local.leave import LeaveError, leave, survey
from skerry.schema.records import Keep
from skerry.spine.outbox import Entry, Outbox


@pytest.fixture
def node(tmp_path: Path) -> Path:
    state = tmp_path / "node"
    for name in ("identity/enrolment.pem", "secrets/upstream", "journal/1", "node.json"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text("of use to a thief")
    return state


def test_keys_are_overwritten_before_they_are_removed(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = os.open(node / "identity/enrolment.pem", os.O_RDONLY)
    assert survey(node).keys == 2
    leave(node)
    assert os.pread(held, 100, 0) != b"of use to a thief"
    os.close(held)
    assert not node.exists()


def test_records_that_were_not_delivered_are_told(node: Path) -> None:
    outbox = Outbox(node / "outbox.db", region="eu", site="oslo", node_number=1, boot="b1")
    outbox.put_many([Entry(Keep.MUST, "event", 0, b"{}")])
    outbox.close()
    assert survey(node).losses == ("1 records that were not delivered",)


def test_a_region_says_what_goes_with_it(node: Path) -> None:
    (node / "node.json").rename(node / "region.json")
    assert "the authority of this region, unless it is backed up" in survey(node).losses


def test_a_running_process_keeps_its_folder(node: Path) -> None:
    with FolderLock(node), pytest.raises(FolderBusyError):
        leave(node)
    assert (node / "identity/enrolment.pem").read_text() == "of use to a thief"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos.pem").write_text("mine")
    with pytest.raises(LeaveError, match="holds none of"):
        leave(tmp_path)
    assert (tmp_path / "photos.pem").read_text() == "mine"
