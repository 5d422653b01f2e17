"""Sending another version of one model through the running fleet, and following it to its end."""

import time
from collections.abc import Callable

import msgspec

from skerry.base.clock import SystemClock
from skerry.client import change
from skerry.client.operator import Operator
from skerry.fleet.load import load_fleet
from skerry.local.folder import LocalFolder
from skerry.schema.api import RolloutStatus
from skerry.schema.fleet import Fleet
from skerry.schema.lock import read_lock
from skerry.trust.roles import OfflineKeys

ROLLOUT_S_MAX = 90.0
POLL_S = 0.3


def send_release(folder: LocalFolder, central: Operator, model: str, version: int) -> RolloutStatus:
    """Apply the fleet with another version of a model; return how its rollout ended."""
    fleet = with_version(load_fleet(folder.root), folder, model, version)
    reply = change.apply(
        fleet,
        folder.models,
        OfflineKeys.load(folder.keys / "offline"),
        central,
        expected_generation=central.applied().generation,
        reason=f"{model} v{version}",
        clock=SystemClock(),
    )
    return follow(central, reply.generation, timeout_s=ROLLOUT_S_MAX)


def with_version(fleet: Fleet, folder: LocalFolder, model: str, version: int) -> Fleet:
    """Return the fleet with another version of one model, as the lock pins it."""
    digest = read_lock(folder.root).manifest_sha256(model, version)
    models = tuple(
        msgspec.structs.replace(one, version=version, manifest_sha256=digest)
        if one.name == model
        else one
        for one in fleet.models
    )
    return msgspec.structs.replace(fleet, models=models)


def follow(
    central: Operator,
    generation: int,
    *,
    timeout_s: float,
    tell: Callable[[RolloutStatus], None] = lambda _: None,
) -> RolloutStatus:
    """Wait until a change is through or has been taken back; return how it stands then.

    `tell` is called with every look.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        status = central.rollout()
        tell(status)
        # A revert is a generation of its own, which names the one that it takes back.
        concerns = generation in (status.generation, status.previous_generation)
        if concerns and status.phase in ("done", "reverted"):
            return status
        if time.monotonic() > deadline_s:
            return status
        time.sleep(POLL_S)
