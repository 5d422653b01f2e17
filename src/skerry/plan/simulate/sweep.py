"""Many simulations: scenarios by seeds, one after the other here or side by side with Ray.

An engine only decides where a simulation runs; each is a function of its case and seed, so
every engine gives the same outcomes in the same order. While Ray runs, its own processes
listen on the machine's address and write below its temporary folder; whoever asks for that
engine asks for that.

Errors:  EngineError, where Ray is not installed or a part ends without a result.
"""

import logging
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any

from skerry.plan.simulate.errors import EngineError
from skerry.plan.simulate.run import Case, Outcome, simulate
from skerry.plan.simulate.world import quiet

Tell = Callable[[float, str], None]


class Engine(StrEnum):
    """Where simulations run."""

    LOCAL = "local"
    RAY = "ray"


def run_all(
    cases: Sequence[Case],
    seeds: Sequence[int],
    *,
    engine: Engine = Engine.LOCAL,
    address: str | None = None,
    tell: Tell = quiet,
) -> list[list[Outcome]]:
    """Return the outcomes of every case, one per seed; `address` is a Ray cluster's."""
    if engine is Engine.RAY:
        return _with_ray(cases, seeds, address, tell)
    total = len(cases) * len(seeds)
    found: list[list[Outcome]] = []
    for case in cases:
        row: list[Outcome] = []
        for seed in seeds:
            done = len(found) * len(seeds) + len(row)
            what = f"{case.scenario.name}, seed {seed}"
            row.append(simulate(case, seed, partial(_part, tell, done, total, what)))
        found.append(row)
    return found


def _part(tell: Tell, done: int, total: int, what: str, share: float) -> None:
    tell((done + share) / total, what)


def _unpacked(packed: bytes, seed: int) -> Outcome:
    """Simulate a case that came as bytes: arrays that Ray itself brings are read-only, and
    the kernels would be compiled anew for them."""
    return simulate(pickle.loads(packed), seed)  # noqa: S301 - packed by `_with_ray`


def _with_ray(
    cases: Sequence[Case], seeds: Sequence[int], address: str | None, tell: Tell
) -> list[list[Outcome]]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read while it loads: nothing phones home
    try:
        import ray
    except ImportError as error:
        raise EngineError(Engine.RAY, "the package ray is not installed") from error
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=address,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    try:
        one: Any = ray.remote(_unpacked)
        tasks = []
        for case in cases:
            shared = ray.put(pickle.dumps(replace(case, threads=1)))
            tasks += [one.remote(shared, seed) for seed in seeds]
        waiting = list(tasks)
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=1)
            tell(1.0 - len(waiting) / len(tasks), f"{len(tasks) - len(waiting)} of {len(tasks)}")
        flat = ray.get(tasks)
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[-1]
        raise EngineError(Engine.RAY, first) from error
    finally:
        if started:
            ray.shutdown()
    width = len(seeds)
    return [flat[k : k + width] for k in range(0, len(flat), width)]
