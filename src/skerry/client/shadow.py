"""The SDK's shadows: a share of what a client sends is sent to a candidate too, and compared.

    rule = ShadowRule(model="magika", to="http://10.0.0.7:8000", share=0.1)
    with Client("https://cloud.example:8443", shadow=rule, shadow_folder=Path("shadow")) as client:
        client.infer("magika", file=Path("scan.pdf"))    # answered by the cloud alone

An address that the caller names is a place the data may go, as it is for the primary.
Where endpoints carry a fleet's policy it decides, and only nodes of the fleet may be named.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import UsageError
from skerry.client.endpoints import Endpoints
from skerry.route.endpoint import Endpoint
from skerry.route.shadow import Shadow, Target
from skerry.route.shadow_files import ExampleFolder, write_record
from skerry.schema.desired import Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.schema.shadow import ShadowRule, wrong_in
from skerry.trust.residency import Refusal, data_class_of, may_go


class ClientShadow:
    """Every rule of one client; owns the links to addresses that are no endpoint of it."""

    def __init__(
        self,
        infer: InferFunction,
        rules: ShadowRule | Sequence[ShadowRule],
        *,
        ends: Endpoints,
        links: Mapping[str, Endpoint],
        open_link: Callable[[str], Endpoint],
        folder: Path | None,
        clock: Clock,
    ) -> None:
        self._rules = (rules,) if isinstance(rules, ShadowRule) else tuple(rules)
        self._folder, self._ends = folder, ends
        self._own: dict[str, Endpoint] = {}
        for rule in self._rules:
            wrong = wrong_in(rule)
            if wrong:
                raise UsageError(f"a shadow's {wrong}", "ShadowRule(model=..., to=URL, share=0.1)")
            if rule.to not in links and rule.to not in self._own:
                self._own[rule.to] = open_link(rule.to)
        reached = {**links, **self._own}
        self.shadow = Shadow(
            infer,
            [
                Target(
                    rule=rule,
                    call=partial(_send, reached[rule.to]),
                    refuses=partial(self._refusal, rule),
                    keep=None if folder is None else ExampleFolder(folder, rule).keep,
                )
                for rule in self._rules
            ],
            clock=clock,
        )

    async def aclose(self) -> None:
        """Give up the copies under way, write the records, close the links."""
        await self.shadow.aclose()
        for link in self._own.values():
            await link.aclose()
        if self._folder is not None:
            for rule, record in zip(self._rules, self.shadow.records, strict=True):
                write_record(self._folder, rule, msgspec.json.encode(record))

    def _refusal(self, rule: ShadowRule, request: InferRequest) -> str:
        policy, place = self._ends.policy, self._ends.place
        if policy is None:
            return ""
        settled = data_class_of(policy, rule.tried, request.data_class)
        if isinstance(settled, Refusal):
            return settled.text
        peer: Peer | None = next((p for p in self._ends.peers if p.node == rule.to), None)
        if peer is None:
            return f"the policy knows no place for {rule.to}"
        refused = may_go(policy, settled, place.site, peer.site)
        return refused.text if refused is not None else ""


async def _send(link: Endpoint, request: InferRequest, deadline_s: float) -> InferReply:
    return await link.infer(request, deadline_s)
