"""What follows from a node's own reports: quarantine, its end, and how long a pass holds."""

import random
from pathlib import Path

import pytest

from skerry.node import attestation
from skerry.node.attestation import RETRY_S, Reporting
from skerry.node.errors import RenewalError
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import add_cause, read_quarantine
from skerry.schema.attestation import Reason, Verdict
from skerry.schema.quarantine import QuarantineCause
from skerry.testing.clock import ManualClock

PASSED = Verdict(report_s=300, holds_s=1000)
FAILED = Verdict(reasons=(Reason.SECUREBOOT_OFF,), details=("it is off",), report_s=300)
AWAY = RenewalError("https://region", "no route")


class Bench:
    """A node's reports, with what the region says put in its mouth."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.clock = NodeFolder(folder).make(), ManualClock()
        self.notes: list[str] = []
        self.changes = 0
        self.says: Verdict | Exception = PASSED
        monkeypatch.setattr(attestation, "report", self._report)
        self.reporting = Reporting(
            None,  # type: ignore[arg-type]  # no TPM is asked here
            self.folder,
            IdentityFiles(self.folder.identity),
            url="",
            host="",
            clock=self.clock,
            rng=random.Random(0),
            on_change=self._changed,
            on_note=self.notes.append,
        )

    def _report(self, *_: object, **__: object) -> Verdict:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def _changed(self) -> None:
        self.changes += 1

    def once(self, says: Verdict | Exception) -> str:
        """Report once; returns the word of the quarantine that follows, or nothing."""
        self.says = says
        self.wait_s = self.reporting.once()
        cause = read_quarantine(self.folder.quarantine).causes.get("attest")
        return cause.word if cause else ""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_failed_verdict_acts_at_once_and_a_pass_ends_it(bench: Bench) -> None:
    assert bench.once(PASSED) == ""
    assert bench.changes == 0
    assert bench.once(FAILED) == "SECUREBOOT_OFF"
    assert bench.once(FAILED) == "SECUREBOOT_OFF"
    assert bench.changes == 1  # told once, however long it lasts
    assert bench.once(PASSED) == ""
    assert bench.changes == 2
    assert bench.wait_s == 300


def test_a_cut_off_node_goes_on_for_as_long_as_its_pass_holds(bench: Bench) -> None:
    bench.once(PASSED)
    bench.clock.advance(1000)
    assert bench.once(AWAY) == ""
    assert bench.wait_s == RETRY_S
    bench.clock.advance(1)
    assert bench.once(AWAY) == "STALE"
    assert bench.once(PASSED) == ""


def test_losing_the_network_ends_no_quarantine(bench: Bench) -> None:
    bench.once(FAILED)
    assert bench.once(AWAY) == "SECUREBOOT_OFF"


def test_a_clock_set_back_makes_no_pass_last_longer(bench: Bench) -> None:
    bench.once(PASSED)
    bench.clock.advance(-10)
    assert bench.once(AWAY) == "STALE"


def test_a_pass_lifts_no_other_reason(bench: Bench) -> None:
    other = QuarantineCause(word="LID_OPEN", text="front", at_unix_s=1)
    add_cause(bench.folder.quarantine, "tamper", other)
    bench.once(FAILED)
    bench.once(PASSED)
    assert read_quarantine(bench.folder.quarantine).causes == {"tamper": other}
