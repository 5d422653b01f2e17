"""Attestation: what a verdict costs a region, and what joining by a TPM costs a machine.

    python benchmarks/attestation.py

The TPM is a software one (swtpm, needed here), so times of its own commands prove that it works and
not how fast chips are: a discrete TPM takes tens to hundreds of milliseconds for a signature.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from measured import median_ms, tell

from skerry.base.clock import SystemClock
from skerry.client.signing import sign_release
from skerry.local.hollow_fleet import HollowFleet
from skerry.node.attester import Attester
from skerry.node.enrol import join
from skerry.node.identity import IdentityFiles
from skerry.schema.attestation import Challenge, Evidence, Reference, Verdict, reference_target
from skerry.testing.simulated_boot import IPL, boot, measured, reference_of, simulated_boot
from skerry.testing.swtpm import SoftwareTpm, TestMaker
from skerry.trust.attest.desk import Desk
from skerry.trust.attest.errors import MalformedError
from skerry.trust.attest.event_log import (
    EVENTS_MAX,
    Event,
    build_event_log,
    parse_event_log,
    replay,
)
from skerry.trust.attest.records import Records
from skerry.trust.roles import OfflineKeys

NAME = "spiffe://oslo.eu.clinic.example/node/1"
ROUNDS = 30
PASSED = Verdict(report_s=300, holds_s=30 * 86_400)
BOOT = [
    *simulated_boot(),
    *(measured(9, IPL, b"a line that the boot loader read %03d " % n * 10) for n in range(108)),
]
"""As long as a real boot's log: 120 events, 46 kB."""


def logs() -> None:
    """Reading and replaying a log: of a usual boot, the longest that is read, an endless one."""
    usual = build_event_log(BOOT)
    tell("attest-log-replay", median_ms(lambda: replay(parse_event_log(usual)), times=50), "ms")
    head, one = build_event_log([]), build_event_log([Event(4, IPL, bytes(32), b"")])
    longest = head + one[len(head) :] * EVENTS_MAX
    tell("attest-log-longest", median_ms(lambda: replay(parse_event_log(longest)), times=5), "ms")
    endless = head + one[len(head) :] * 1_000_000

    def refuse() -> None:
        try:
            parse_event_log(endless)
        except MalformedError:
            return
        raise SystemExit("an endless log was read")

    tell("attest-log-endless", median_ms(refuse, times=5), "ms")


def verdicts(folder: Path, chip: SoftwareTpm, reference: Reference) -> None:
    """What a region does for one report: challenge and verdict, noted on its disk."""
    desk = Desk(Records(folder / "machines.db"), lambda: reference, SystemClock())
    (folder / "log").write_bytes(build_event_log(BOOT))
    attester = Attester(chip.open, folder / "log")
    spent: dict[str, list[float]] = {"challenge": [], "verdict": []}

    def post(path: str, body: Any, kind: Any) -> Any:
        began_s = time.perf_counter()
        answer = desk.challenge(body) if kind is Challenge else desk.judge(body)
        spent["challenge" if kind is Challenge else "verdict"].append(
            (time.perf_counter() - began_s) * 1000
        )
        if isinstance(body, Evidence):
            assert answer == PASSED, answer
        return answer

    attester.show(NAME, post, csr_pem=b"csr", token="token")
    desk.admitted(NAME, b"csr", "token")
    whole_ms = median_ms(lambda: attester.show(NAME, post), times=ROUNDS)
    for what, times_ms in spent.items():
        tell(f"attest-{what}", sorted(times_ms)[len(times_ms) // 2], "ms")
    tell("attest-report", whole_ms, "ms")


def enrolment(folder: Path, chip: SoftwareTpm, reference: Reference) -> None:
    """A ticket, a TPM and a real region: until the certificate lies on the node's disk."""
    fleet = HollowFleet(folder / "fleet", regions=("eu",)).start()
    try:
        sign_release(
            "clinic",
            "models",
            {reference_target("clinic"): msgspec.json.encode(reference)},
            OfflineKeys.load(fleet.trust.offline),
            fleet.operator("central"),
            folder=folder,
            clock=fleet.clock,
        )
        while not (fleet.folder / "eu" / "reference.json").exists():
            time.sleep(0.05)
        attester, numbers = Attester(chip.open, folder / "log"), iter(range(1, 100))

        def enrol() -> None:
            number = next(numbers)
            ticket = fleet.operator("eu").ticket("oslo", number)
            files = IdentityFiles(folder / f"node-{number}")
            files.folder.mkdir()
            join(files, ticket, inference_url="", clock=fleet.clock, attester=attester)

        tell("attest-enrol", median_ms(enrol, times=10) / 1000, "s")
    finally:
        fleet.close()


def main() -> None:
    """Measure, and print one figure on each line."""
    logs()
    maker = TestMaker.create()
    reference = reference_of(BOOT, maker.root_pem)
    with (
        tempfile.TemporaryDirectory() as name,
        SoftwareTpm(Path(name) / "tpm", maker) as chip,
    ):
        with chip.open() as tpm:
            boot(tpm, BOOT)
        folder = Path(name)
        verdicts(folder, chip, reference)
        enrolment(folder, chip, reference)


if __name__ == "__main__":
    main()
