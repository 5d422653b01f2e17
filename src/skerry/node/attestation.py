"""The node's reports of what it booted, and what follows from the verdict.

A failed verdict puts the node into quarantine at once, with its reason; a pass lifts that. A
region that cannot be reached changes nothing for as long as the last pass holds, so a site that is
cut off goes on; after that the node takes no restricted data until it passes again.

Units:   seconds.
"""

import random
from collections.abc import Callable

import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.node.attester import Attester
from skerry.node.enrol import report
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import add_cause, lift_cause, read_quarantine
from skerry.schema.attestation import Reason, Verdict
from skerry.schema.quarantine import QuarantineCause

WHO = "attest"
RETRY_S = 15.0
"""Wait after a report that did not get through."""
JITTER_RATIO = 0.1


class LastPass(msgspec.Struct, frozen=True, kw_only=True):
    """When the machine last passed, as it lies on the disk."""

    at_unix_s: float
    holds_s: float


class Reporting:
    """Reports one node's machine for as long as the process lives."""

    def __init__(
        self,
        attester: Attester,
        folder: NodeFolder,
        files: IdentityFiles,
        *,
        url: str,
        host: str,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._attester, self._folder, self._files = attester, folder, files
        self._url, self._host, self._clock, self._rng = url, host, clock, rng
        self._on_change, self._on_note = on_change, on_note

    async def run(self) -> None:
        """Report now, and again before the region misses it."""
        while True:
            wait_s = await anyio.to_thread.run_sync(self.once)
            await self._clock.sleep(wait_s * self._rng.uniform(1 - JITTER_RATIO, 1.0))

    def once(self) -> float:
        """Report, act on the verdict, and return when the next report is due, in seconds."""
        now_unix_s = self._clock.unix_s()
        try:
            verdict = report(self._attester, self._files, url=self._url, host=self._host)
        except (SkerryError, OSError) as error:
            self._on_note(f"attestation: {error}")
            self._take(self._expired(now_unix_s))
            return RETRY_S
        if verdict.passed:
            kept = LastPass(at_unix_s=now_unix_s, holds_s=verdict.holds_s)
            write_private(self._folder.attestation, msgspec.json.encode(kept))
            self._take(None)
        else:
            self._take(_cause(verdict, now_unix_s))
        return verdict.report_s

    def _expired(self, now_unix_s: float) -> QuarantineCause | None:
        """Return why the last pass holds no longer; without a pass there was nothing to lose."""
        found = read_quarantine(self._folder.quarantine).causes.get(WHO)
        try:
            last = msgspec.json.decode(self._folder.attestation.read_bytes(), type=LastPass)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return found
        age_s = now_unix_s - last.at_unix_s
        if found is not None or 0 <= age_s <= last.holds_s:
            return found
        text = f"it last passed {age_s:.0f} s ago, and a pass holds for {last.holds_s:.0f} s"
        return QuarantineCause(word=Reason.STALE, text=text, at_unix_s=now_unix_s)

    def _take(self, cause: QuarantineCause | None) -> None:
        """Enter or leave quarantine; say so once."""
        path = self._folder.quarantine
        before = read_quarantine(path).causes.get(WHO)
        if (before and before.word) == (cause and cause.word):
            return
        if cause is None:
            lift_cause(path, WHO)
            self._on_note("attestation: passed; the quarantine for it ends")
        else:
            add_cause(path, WHO, cause)
            self._on_note(f"attestation: {cause.word}: {cause.text}; restricted data is refused")
        self._on_change()


def _cause(verdict: Verdict, now_unix_s: float) -> QuarantineCause:
    return QuarantineCause(word=verdict.reasons[0], text=verdict.details[0], at_unix_s=now_unix_s)
