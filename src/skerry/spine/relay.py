"""Region relay: moves the records that may travel from the region's stream to central's.

Pull, filter, hand over upward under the record's own key, acknowledge below only after the
acknowledgement above. Killed anywhere, the unacknowledged come again and count once.

Units: bytes of encoded envelopes.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import msgspec

from skerry.base.clock import Clock
from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.records import Envelope, Keep
from skerry.spine import subjects
from skerry.spine.bus import Bus, KeptMessage
from skerry.spine.errors import SpineError
from skerry.spine.steady import go_on

BATCH_RECORDS = 256
PULL_S = 2.0
TEL_BYTES_MAX = 1 << 30
TEL_AGE_S_MAX = 7 * SECONDS_PER_DAY
_TRAVELLING_KINDS = frozenset({"summary", "event"})


@dataclass(slots=True)
class RelayCounts:
    """Since the process began. `damaged` could not be read as envelopes and were given up."""

    forwarded: int = 0
    forwarded_bytes: int = 0
    withheld: int = 0
    withheld_bytes: int = 0
    damaged: int = 0
    failures: int = 0
    last_error: str = ""


def travels(envelope: Envelope) -> bool:
    """Let summaries and events go up, unless they are of the class `low`."""
    return envelope.keep is not Keep.LOW and envelope.kind in _TRAVELLING_KINDS


def read_envelope(message: KeptMessage) -> Envelope | None:
    """Decode a kept message; None if it is damaged or claims another key than its message id.

    The node in the key is checked against the subject, where the server enforces it: a node
    cannot use up the keys of another.
    """
    try:
        envelope = msgspec.json.decode(message.payload, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    owner = message.subject.split(".")[1:-1]  # region, site, node; only the region above the relay
    honest = envelope.key.split(".")[: len(owner)] == owner and envelope.key == message.msg_id
    return envelope if honest else None


class Relay:
    """One region's way up."""

    def __init__(
        self,
        bus: Bus,
        *,
        region: str,
        clock: Clock,
        rng: random.Random,
        filter: Callable[[Envelope], bool] = travels,  # noqa: A002  (that is what it is)
        stream_bytes_max: int = TEL_BYTES_MAX,
    ) -> None:
        self.counts = RelayCounts()
        self._bus, self._region, self._clock, self._rng = bus, region, clock, rng
        self._filter, self._stream_bytes_max = filter, stream_bytes_max

    async def run(self) -> None:
        """Create the stream TEL if it is missing, then relay until cancelled."""
        await go_on(
            self.move_once,
            ensure=self.ensure,
            counts=self.counts,
            clock=self._clock,
            rng=self._rng,
            through=SpineError,
        )

    async def ensure(self) -> None:
        """Bring the stream to its limits."""
        await self._bus.ensure_stream(
            subjects.TEL,
            [subjects.telemetry_of(self._region)],
            max_bytes=self._stream_bytes_max,
            max_age_s=TEL_AGE_S_MAX,
        )

    async def move_once(self) -> int:
        """Move one batch; returns how many records were dealt with. Raises `SpineError`."""
        messages = await self._bus.pull(
            subjects.TEL, subjects.RELAY_DURABLE, limit=BATCH_RECORDS, timeout_s=PULL_S
        )
        done: list[KeptMessage] = []
        errors: list[SpineError] = []
        async with anyio.create_task_group() as tasks:
            for message in messages:
                tasks.start_soon(self._move, message, done, errors)
        await self._bus.ack(done)
        if errors:
            raise errors[0]
        return len(done)

    async def _move(
        self, message: KeptMessage, done: list[KeptMessage], errors: list[SpineError]
    ) -> None:
        envelope = read_envelope(message)
        if envelope is None:
            self.counts.damaged += 1
        elif not self._filter(envelope):
            self.counts.withheld += 1
            self.counts.withheld_bytes += len(message.payload)
        else:
            try:
                await self._bus.publish_kept(
                    subjects.up(self._region, envelope.keep), message.payload, msg_id=envelope.key
                )
            except SpineError as error:
                errors.append(error)
                return
            self.counts.forwarded += 1
            self.counts.forwarded_bytes += len(message.payload)
        done.append(message)
