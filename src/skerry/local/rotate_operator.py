"""Changing every NATS key of a fleet but those of nodes, while everything goes on.

    switch   central, then each region: accounts signed by the operator's next key, with signing
             keys of their own that are new; the process logs in anew, and the region's link
    drop     accounts without the signing keys of before; the old logins are revoked and cut

Each step is done once every server has taken the one before it. What was done lies beside the
keys, so the change can be interrupted anywhere and goes on. Nodes are not asked: their logins are
signed by their region, whose key changes with its authority (`skerry.local.rotate_ca`).

Units:   seconds; times are unix seconds from the clock given.
Errors:  OperatorError for a kit that a process refuses; the kit of before goes on there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.central.bootstrap import TrustSet
from skerry.client.operator import Operator, OperatorUnreachableError
from skerry.spine.nats_change import NatsGrant, NatsStanding
from skerry.spine.nats_jwt import CENTRAL
from skerry.spine.nats_operator import NatsOperator

PATH = "/v1/nats"
TAKE_S_MAX = 60.0
"""Longest that a process may take over a kit: its server may start anew, its link dial again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is under way, and who holds it up; nothing is under way once `step` is `done`."""

    step: str
    waiting: tuple[str, ...] = ()
    unknowing: tuple[str, ...] = ()
    """Servers that do not know the operator's next key: they have to start anew for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorChange:
    """One fleet, as whoever holds its NATS keys reaches it."""

    trust: TrustSet
    central: Callable[[], Operator]
    regions: Mapping[str, Callable[[], Operator]]
    clock: Clock

    def go_on(self, *, restart: bool = False, stolen: bool = False) -> Standing:
        """Do what can be done now; say which step is under way, and who is missing.

        `restart` lets servers that do not know the next key start anew. `stolen` trusts no key
        that was known, so every server starts anew.
        """
        operator = self._operator()
        if operator.change is None:
            unknowing, away = self._unknowing(operator.next_signer)
            if away:  # nothing is begun that somebody could not follow
                return Standing("begin", away)
            if unknowing and not (restart or stolen):
                return Standing("begin", unknowing, unknowing)
            operator.begin(restart=restart, stolen=stolen)
        waiting = self._deliver(operator, restart=restart)
        if waiting:
            return Standing(_step(operator), waiting)
        if not operator.leaving:
            operator.leave(now_unix_s=int(self.clock.unix_s()))
            waiting = self._deliver(operator, restart=restart)
            if waiting:
                return Standing(_step(operator), waiting)
        operator.end()
        return Standing("done")

    def _unknowing(self, signer: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return whose servers do not know a signer, and who does not answer."""
        unknowing, away = [], []
        for name, place in self._places().items():
            try:
                if signer not in place().ask("GET", PATH, NatsStanding).trusted:
                    unknowing.append(name)
            except OperatorUnreachableError:
                away.append(name)
        return tuple(unknowing), tuple(away)

    def _deliver(self, operator: NatsOperator, *, restart: bool) -> tuple[str, ...]:
        """Bring the step under way to whoever has not taken it; return who could not be reached.

        Central comes first: its account has to know the new logins of the regions' links.
        """
        away = []
        for name, place in self._places().items():
            if operator.has_taken(name):
                continue
            try:
                self._give(operator, name, place(), restart=restart)
            except OperatorUnreachableError:
                away.append(name)
                if name == CENTRAL:
                    return tuple(one for one in self._places() if not operator.has_taken(one))
                continue
            operator.took(name)
        return tuple(away)

    def _give(self, operator: NatsOperator, name: str, place: Operator, *, restart: bool) -> None:
        standing = place.ask("GET", PATH, NatsStanding)
        kit = operator.server_kit(
            name, ends_unix_s=int(standing.ends_unix_s), now_unix_s=int(self.clock.unix_s())
        )
        grant = NatsGrant(
            kit=kit,
            revoked=operator.left(name) if operator.leaving else (),
            restart=(restart or operator.restarts) and operator.signer not in standing.trusted,
        )
        place.ask("POST", PATH, NatsStanding, grant, timeout_s=TAKE_S_MAX)

    def _places(self) -> dict[str, Callable[[], Operator]]:
        return {CENTRAL: self.central, **self.regions}

    def _operator(self) -> NatsOperator:
        return NatsOperator.create(
            self.trust.nats, fleet=self.trust.fleet, regions=list(self.regions)
        )


def _step(operator: NatsOperator) -> str:
    return "drop" if operator.leaving else "switch"
