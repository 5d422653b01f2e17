"""A node's shadows: its rules, bound to what it may reach, and their records on disk.

The signed policy decides before anything is copied: the candidate must be a model that
takes the data's class, and another node's site a place that the class may go to. With
no policy nothing leaves the site.

    <state>/shadow/<rule>.shadow.json    written every `SAVE_S` seconds and at the end

Units:   seconds.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.route.away import CallPeer
from skerry.route.errors import NoCandidateError, ShadowFileError
from skerry.route.shadow import Shadow, Target
from skerry.route.shadow_files import (
    ExampleFolder,
    goes_on,
    read_record,
    record_path,
    write_record,
)
from skerry.schema.desired import Peer
from skerry.schema.model import Card
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.schema.shadow import HERE, ShadowRecord, ShadowRule
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.residency import Refusal, data_class_of, may_go

SAVE_S = 10.0


class NodeShadow:
    """Every rule of one node. `accepted` returns what the node serves by now, if anything."""

    def __init__(
        self,
        infer: InferFunction,
        rules: Sequence[ShadowRule],
        *,
        here: InferFunction,
        call_peer: CallPeer,
        accepted: Callable[[], AcceptedDesired | None],
        cards: Callable[[str, str], Card | None],
        site: str,
        folder: Path,
        clock: Clock,
    ) -> None:
        self._here, self._call_peer, self._accepted = here, call_peer, accepted
        self._cards, self._site = cards, site
        self._folder, self._clock, self._rules = folder, clock, rules
        self.shadow = Shadow(infer, [self._target(rule) for rule in rules], clock=clock)
        self.shadow.resume(
            [
                self._record_of(rule) or fresh
                for rule, fresh in zip(rules, self.shadow.records, strict=True)
            ]
        )
        self._saved: dict[Path, bytes] = {}
        self.infer = self.shadow.infer

    async def save_now_and_then(self) -> None:
        """Keep the records on disk near the truth, for as long as the process lives."""
        while True:
            await self._clock.sleep(SAVE_S)
            await self.save()

    async def save(self) -> None:
        """Write the records that changed; a disk that is full loses records, not answers."""
        for rule, record in zip(self._rules, self.shadow.records, strict=True):
            data = msgspec.json.encode(record)  # here, for the loop goes on changing it
            if self._saved.get(record_path(self._folder, rule)) != data:
                await anyio.to_thread.run_sync(self._write, rule, data)

    async def aclose(self) -> None:
        """Give up the copies under way and write what was found."""
        await self.shadow.aclose()
        await self.save()

    def _target(self, rule: ShadowRule) -> Target:
        return Target(
            rule=rule,
            call=self._run_here if rule.to == HERE else partial(self._send, rule),
            refuses=partial(self._refusal, rule),
            tolerance=self._tolerance,
            keep=ExampleFolder(self._folder, rule).keep,
        )

    async def _run_here(self, request: InferRequest, deadline_s: float) -> InferReply:
        return await self._here(request)

    async def _send(self, rule: ShadowRule, request: InferRequest, deadline_s: float) -> InferReply:
        peer = self._peer(rule.to)
        if peer is None:
            raise NoCandidateError(rule.tried, [], f"there is no node {rule.to}")
        copy = msgspec.structs.replace(
            request, hops=request.hops + 1, origin_site=request.origin_site or self._site
        )
        return await self._call_peer(peer, copy, deadline_s)

    def _refusal(self, rule: ShadowRule, request: InferRequest) -> str:
        """Return why the data may not go there; empty where it may."""
        accepted = self._accepted()
        if accepted is None:
            return "" if rule.to == HERE else "no policy is known here"
        settled = data_class_of(accepted.policy, rule.tried, request.data_class)
        if isinstance(settled, Refusal):
            return settled.text
        if rule.to == HERE:
            return ""
        peer = self._peer(rule.to)
        if peer is None:
            return f"there is no node {rule.to}"
        refused = may_go(accepted.policy, settled, request.origin_site or self._site, peer.site)
        return refused.text if refused is not None else ""

    def _peer(self, node: str) -> Peer | None:
        accepted = self._accepted()
        peers = accepted.desired.peers if accepted is not None else ()
        return next((peer for peer in peers if peer.node == node), None)

    def _tolerance(self, model: str, version: str) -> float | None:
        card = self._cards(model, version)
        return None if card is None else card.tolerance

    def _record_of(self, rule: ShadowRule) -> ShadowRecord | None:
        """Return what an earlier run left of the same rule."""
        try:
            record = read_record(record_path(self._folder, rule))
        except ShadowFileError:
            return None
        return record if goes_on(rule, record) else None

    def _write(self, rule: ShadowRule, data: bytes) -> None:
        with contextlib.suppress(OSError):  # tried again next time
            write_record(self._folder, rule, data)
            self._saved[record_path(self._folder, rule)] = data
