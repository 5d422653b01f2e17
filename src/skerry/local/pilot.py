"""A pilot on a local fleet: the same requests to the fleet and to the emulated central cloud.

Each file goes to both arms in a random order, one right after the other, so that whatever
else this machine does falls on both alike. The cloud arm dials the cloud's node through
the emulated link of its site, as a client without a fleet would. Half of the fleet's own
requests against the other half is the A/A run: it has to say *no difference*.

Pilot requests are of a class that may travel: the cloud arm sends content to the cloud.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skerry.local.clients import Sdk
from skerry.local.traffic import Answered, Sender, StockHttp, TruthFile
from skerry.plan.predict import Prediction
from skerry.proof.pilot import PilotArm, judge
from skerry.schema.fleet import Fleet
from skerry.schema.goal import Figure, GoalName, Level
from skerry.schema.pilot import Comparison, PilotRecord
from skerry.schema.run_file import RunFile

WARM_UP = 20
"""Requests per site and arm that are sent before any is counted."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request of the pilot."""

    latency_ms: float
    answer: Answered | None
    site: str
    content_bytes: int

    @property
    def local(self) -> bool:
        """Whether it was answered at its own site."""
        return self.answer is not None and self.answer.served_site == self.site


@dataclass(frozen=True, slots=True)
class PilotOutcome:
    """The pilot's record, and what its A/A run said."""

    record: PilotRecord
    a_a: Comparison


def run_pilot(
    run: RunFile,
    fleet: Fleet,
    prediction: Prediction,
    files: Sequence[TruthFile],
    *,
    sites: Sequence[str],
    cloud_site: str,
    model: str,
    data_class: str,
    seed: int,
    pause_s: float = 0.01,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PilotOutcome:
    """Send every file to both arms and return the verdict."""
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    ours: list[Shot] = []
    theirs: list[Shot] = []
    senders = {site: _senders(run, site, cloud_site, model) for site in sites}
    try:
        for site, (own, cloud) in senders.items():
            for file in files[:WARM_UP]:
                _shoot(own, site, file, data_class)
                _shoot(cloud, site, file, data_class)
        for index, file in enumerate(files):
            site = sites[index % len(sites)]
            own, cloud = senders[site]
            arms = [(own, ours), (cloud, theirs)]
            rng.shuffle(arms)
            for sender, shots in arms:
                shots.append(_shoot(sender, site, file, data_class))
                time.sleep(pause_s)
            progress(index + 1, len(files))
    finally:
        for own, cloud in senders.values():
            own.close()
            cloud.close()
    now_s = time.time()
    fleet_figures = {r.name: r.predicted for r in prediction.goals if r.predicted is not None}
    cloud_figures = {r.name: r.baseline for r in prediction.goals if r.baseline is not None}
    arm = _arm("this fleet", ours, fleet_figures, now_s)
    record = judge(
        arm,
        _arm("cloud only", theirs, cloud_figures, now_s),
        fleet.goals,
        fleet=fleet.name,
        seed=seed,
        predicted=fleet_figures,
        exclusions=(f"{WARM_UP} warm-up requests per site and arm",),
    )
    # Odd against even within each site, so that both halves hold the same places.
    first, second = (
        [shot for index, shot in enumerate(ours) if index // len(sites) % 2 == half]
        for half in (0, 1)
    )
    halves = judge(
        _arm("half A", first, fleet_figures, now_s),
        _arm("half B", second, fleet_figures, now_s),
        {},
        fleet=fleet.name,
        seed=seed,
    )
    a_a = next(c for c in halves.comparisons if c.name is GoalName.LATENCY_MS_P95)
    return PilotOutcome(record, a_a)


def _senders(run: RunFile, site: str, cloud_site: str, model: str) -> tuple[Sender, Sender]:
    cloud_node = run.at_site(cloud_site)[0]
    through_link = cloud_node.http_url_from.get(site, cloud_node.http_url)
    return Sdk(Path(run.folder), site, model), StockHttp(through_link, model)


def _shoot(sender: Sender, site: str, file: TruthFile, data_class: str) -> Shot:
    content = file.path.read_bytes()
    started_s = time.perf_counter()
    try:
        answer: Answered | None = sender.ask(content, data_class)
    except Exception:  # whatever a client library raises is a failed request
        answer = None
    return Shot((time.perf_counter() - started_s) * 1000, answer, site, len(content))


def _arm(
    name: str, shots: Sequence[Shot], figures: dict[GoalName, Figure], now_s: float
) -> PilotArm:
    answered = [shot for shot in shots if shot.answer is not None]
    return PilotArm(
        name=name,
        level=Level.EMULATED,  # the links between places are
        source=f"pilot of {len(shots)} requests, links emulated",
        at_unix_s=now_s,
        latencies_ms=np.array([shot.latency_ms for shot in answered]),
        failed=len(shots) - len(answered),
        local=sum(shot.local for shot in answered),
        upstream_bytes=sum(shot.content_bytes for shot in answered if not shot.local),
        figures=figures,
    )
