"""Every goal of a fleet under some placement, beside the cloud alone.

`plan.predict` takes the models where they are placed, also for its baseline; a model that is
not on the cloud would make the cloud look as if it could not answer. Here the baseline is
the cloud with every model on it.
"""

from collections.abc import Callable, Mapping

import msgspec

from skerry.plan.predict import predict
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalRecord


def placed_goals(
    fleet: Fleet,
    trace: Trace,
    *,
    seed: int,
    service_ms: Mapping[str, float] | None,
    clock: Callable[[], float],
) -> tuple[GoalRecord, ...]:
    """Return each goal's prediction for a fleet as it is placed, and for the cloud alone."""
    everywhere = msgspec.structs.replace(
        fleet,
        models=tuple(
            msgspec.structs.replace(model, tiers=tuple(fleet.tiers)) for model in fleet.models
        ),
    )
    ours, cloud = (
        predict(one, lambda _: trace, seeds=(seed,), service_ms=service_ms, clock=clock).goals
        for one in (fleet, everywhere)
    )
    return tuple(
        msgspec.structs.replace(one, baseline=other.baseline)
        for one, other in zip(ours, cloud, strict=True)
    )
