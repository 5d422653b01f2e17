"""Keeping a node's identity alive: renew at half life, first at the region, else alone.

No timer stops a working thing: where neither way works, the node goes on with the
certificate that it has, says so, and tries again.
"""

import random
from collections.abc import Awaitable, Callable

import anyio.to_thread

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.node.enrol import renew
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles, issued_by_site

RETRY_S_FIRST = 5.0
RETRY_S_MAX = 300.0
ALONE_LEFT_RATIO = 0.25
"""With less than this share of its life left, a node that is cut off renews by itself."""

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
    ) -> None:
        self._files = files
        self._url, self._host, self._inference_url = region_url, region_host, inference_url
        self._clock, self._rng = clock, rng
        self._on_renewed, self._on_failed = on_renewed, on_failed

    async def run(self) -> None:
        """Wait for half life, renew, and again."""
        retry_s = RETRY_S_FIRST
        while True:
            identity = await anyio.to_thread.run_sync(self._files.load)
            due_s = identity.renew_at_unix_s(self._rng) - self._clock.unix_s()
            if issued_by_site(identity):
                # The region's certificate also brings the NATS login: ask for it soon.
                due_s = min(due_s, RETRY_S_FIRST)
            await self._clock.sleep(max(0.0, due_s))
            if await self.once():
                retry_s = RETRY_S_FIRST
            else:
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)

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
        renew(
            self._files,
            url=self._url,
            host=self._host,
            inference_url=self._inference_url,
            clock=self._clock,
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
