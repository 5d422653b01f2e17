"""Keeping a node's identity alive: renew at half life, first at the region, else alone.

No timer stops a working thing: where neither way works, the node goes on with the
certificate that it has, says so, and tries again.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.to_thread

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.node.attester import Attester
from skerry.node.enrol import renew
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles, issued_by_site
from skerry.node.trust_news import take_roots

RETRY_S_FIRST = 5.0
RETRY_S_MAX = 300.0
ALONE_LEFT_RATIO = 0.25
"""With less than this share of its life left, a node that is cut off renews by itself."""

HURRY_S_MAX = 30.0
"""Longest wait of a node that has to leave its certificate: a fleet must not come all at once."""

OnRenewed = Callable[[str], Awaitable[None]]
"""Called with who issued (`region` or `site`) after a new identity lies on the disk."""


class Renewal:
    """Renews one node's identity for as long as the process lives."""

    def __init__(
        self,
        files: IdentityFiles,
        *,
        region_url: str,
        region_host: str,
        inference_url: str,
        clock: Clock,
        rng: random.Random,
        on_renewed: OnRenewed,
        on_failed: Callable[[str], None],
        attester: Attester | None = None,
    ) -> None:
        self._files = files
        self._url, self._host, self._inference_url = region_url, region_host, inference_url
        self._clock, self._rng = clock, rng
        self._on_renewed, self._on_failed = on_renewed, on_failed
        self._hurry, self._attester = anyio.Event(), attester

    def hurry(self) -> None:
        """Renew soon: an authority above this node's certificate is being left."""
        self._hurry.set()

    async def run(self) -> None:
        """Wait for half life, renew, and again."""
        retry_s = RETRY_S_FIRST
        while True:
            identity = await anyio.to_thread.run_sync(self._files.load)
            due_s = identity.renew_at_unix_s(self._rng) - self._clock.unix_s()
            if issued_by_site(identity):
                # The region's certificate also brings the NATS login: ask for it soon.
                due_s = min(due_s, RETRY_S_FIRST)
            await self._wait(due_s, identity.ends_unix_s - identity.starts_unix_s)
            if await self.once():
                retry_s = RETRY_S_FIRST
            else:
                await self._clock.sleep(spread_s(retry_s, self._rng))
                retry_s = min(retry_s * 2, RETRY_S_MAX)

    async def _wait(self, due_s: float, life_s: float) -> None:
        """Wait until renewal is due, or for a while after somebody said to hurry."""

        async def hurried() -> None:
            await self._hurry.wait()
            await self._clock.sleep(self._rng.uniform(0, min(HURRY_S_MAX, life_s / 20)))
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hurried)
            await self._clock.sleep(max(0.0, due_s))
            tasks.cancel_scope.cancel()
        self._hurry = anyio.Event()

    async def once(self) -> bool:
        """Try the region, then, late in the certificate's life, the site's own authority."""
        try:
            await anyio.to_thread.run_sync(self._from_region)
        except (SkerryError, OSError, ValueError) as error:  # whatever it answered, go on
            self._on_failed(str(error))
            return await self._alone_if_late()
        await self._on_renewed("region")
        return True

    def _from_region(self) -> None:
        with suppress(SkerryError):  # whoever shows other roots now proves them first
            take_roots(self._files, url=self._url)
        renew(
            self._files,
            url=self._url,
            host=self._host,
            inference_url=self._inference_url,
            clock=self._clock,
            attester=self._attester,
        )

    async def _alone_if_late(self) -> bool:
        identity = await anyio.to_thread.run_sync(self._files.load)
        now_s = self._clock.unix_s()
        left_ratio = (identity.ends_unix_s - now_s) / (
            identity.ends_unix_s - identity.starts_unix_s
        )
        if left_ratio > ALONE_LEFT_RATIO:
            return False
        try:
            await anyio.to_thread.run_sync(lambda: self._files.renew_alone(now_unix_s=now_s))
        except (SkerryError, OSError) as error:
            self._on_failed(str(RenewalError("the site's own authority", str(error))))
            return False
        await self._on_renewed("site")
        return True


def spread_s(wait_s: float, rng: random.Random) -> float:
    """Return how long to wait: nodes that miss one region must not all come back in one second."""
    return wait_s * rng.uniform(0.5, 1.0)
