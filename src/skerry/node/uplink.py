"""The node's link to its region: records up, status up, nudges down.

The agent works without it. What must not be lost waits in the outbox; a status
report is only ever the newest one; a nudge says *look now* and nothing else.
"""

import random
from collections.abc import Callable
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.schema.api import Nudge
from skerry.schema.observed import Observed
from skerry.spine import subjects
from skerry.spine.bus import Message
from skerry.spine.nats_bus import NatsBus
from skerry.spine.outbox import Outbox
from skerry.spine.uplink import Uplink

AWAY_S = 10.0
"""Time without a connection after which the login itself may be what is wrong."""
AWAY_AGAIN_S = 60.0
NATS = "nats"
"""The name of the NATS address in the `dial` settings."""


class RegionLink:
    """One node's connection to its region, for as long as the agent lives."""

    def __init__(
        self,
        settings: NodeSettings,
        files: IdentityFiles,
        outbox: Outbox,
        *,
        clock: Clock,
        rng: random.Random,
        report: Callable[[], Observed],
        on_nudge: Callable[[str], None],
        on_note: Callable[[str], None],
        on_away: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._files, self._outbox = settings, files, outbox
        self._clock, self._rng = clock, rng
        self._report, self._on_nudge, self._on_note = report, on_nudge, on_note
        self._on_away, self._away_from_s = on_away, clock.monotonic_s()
        self._bus: NatsBus | None = None
        self._uplink: Uplink | None = None
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Connect, and stay connected through every outage."""
        settings = self._settings
        login = self._files.load_login()
        bus = self._bus = await NatsBus.connect(
            [_dialled(login.nats_url, settings.dial.get(NATS, ""))],
            name=settings.node,
            inbox_prefix=subjects.inbox_node(settings.region, settings.site, settings.number),
            tls=self._files.client_tls,
            tls_hostname=login.nats_host,
            credentials=self._files.credentials,
            on_note=self._on_note,
            wait=False,
        )
        uplink = self._uplink = Uplink(
            self._outbox,
            bus,
            region=settings.region,
            site=settings.site,
            node_number=settings.number,
            clock=self._clock,
            rng=self._rng,
        )
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(uplink.run)
                tasks.start_soon(self._tell)
                await bus.subscribe(
                    subjects.command(settings.region, settings.site), self._on_command
                )
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await bus.close()

    async def use_new_identity(self) -> None:
        """Move over to the certificate and login that now lie on the disk."""
        if self._bus is not None:
            await self._bus.replace_credentials()

    def records_waiting(self) -> None:
        """Say that the outbox holds something new; call it from the event loop's thread."""
        if self._uplink is not None:
            self._uplink.nudge()

    def status_changed(self) -> None:
        """Report at once instead of at the next beat; call it from the event loop's thread."""
        self._changed.set()

    async def _on_command(self, message: Message) -> bytes | None:
        try:
            role = msgspec.json.decode(message.payload, type=Nudge).role
        except (msgspec.DecodeError, UnicodeDecodeError):
            role = ""  # whatever it was meant to say, looking does no harm
        self._on_nudge(role)
        return None

    async def _tell(self) -> None:
        """Report on every beat and on every change."""
        settings = self._settings
        subject = subjects.status(settings.region, settings.site, settings.number)
        assert self._bus is not None  # noqa: S101 - set just before this task starts
        while True:
            now_s = self._clock.monotonic_s()
            if self._bus.connected:
                self._away_from_s = now_s
            elif now_s - self._away_from_s > AWAY_S:
                self._away_from_s = now_s + AWAY_AGAIN_S
                self._on_away()
            if self._bus.connected:
                try:
                    report = await anyio.to_thread.run_sync(self._report)
                    await self._bus.publish(subject, msgspec.json.encode(report))
                except (SkerryError, OSError) as error:
                    self._on_note(str(error))
            with anyio.move_on_after(settings.status_s):
                await self._changed.wait()
            self._changed = anyio.Event()


def _dialled(url: str, address: str) -> str:
    """Return the URL with another address to dial, where the settings name one."""
    return urlsplit(url)._replace(netloc=address).geturl() if address else url
