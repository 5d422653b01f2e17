"""Traffic and hands for a drill or a pilot on a fleet that is already running.

Traffic is real files of this Python installation, whose type is known, through stock
clients, the SDK and the watched folders, at every site.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from skerry.client.operator import Operator
from skerry.fleet.load import load_fleet
from skerry.learn.truth import truth_files
from skerry.local.clients import office_clients, site_clients
from skerry.local.drills import Range
from skerry.local.folder import LocalFolder
from skerry.local.record_audit import RecordAudit
from skerry.local.traffic import ClientPlan, Traffic, TruthFile
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.run_file import RunFile

FILES = 3000
SITE_PER_S, OFFICE_PER_S = 8.0, 3.0
PEOPLE = (Kind.EDGE, Kind.ONPREM)


def known_files(seed: int, limit: int = FILES) -> list[TruthFile]:
    """Return files whose type is known, and which no model was trained on."""
    return [TruthFile(path, label) for path, label in truth_files(limit, seed, part="test")]


def fleet_clients(run: RunFile, fleet: Fleet) -> list[ClientPlan]:
    """Return the clients of every site.

    People's sites send the class that their model assumes, the strictest; the others
    send one that may travel, where the model takes one.
    """
    plans: list[ClientPlan] = []
    for site in fleet.sites:
        model = next((one for one in fleet.models if site.tier in one.tiers), None)
        if model is None:
            continue
        if site.kind in PEOPLE:
            data_class = model.data_classes[0]
            plans += site_clients(
                run, site.name, model.name, data_class=data_class, per_s=SITE_PER_S
            )
        else:
            data_class = model.data_classes[-1]
            plans += office_clients(
                run, site.name, model.name, data_class=data_class, per_s=OFFICE_PER_S
            )
    return plans


@contextmanager
def open_range(
    folder: LocalFolder, run: RunFile, central: Operator, *, seed: int
) -> Iterator[Range]:
    """Start traffic on a running fleet and give the hands that drills need."""
    fleet = load_fleet(folder.root)
    with Traffic(known_files(seed), seed=seed) as traffic:
        traffic.start(fleet_clients(run, fleet))
        yield Range(folder, traffic, central, RecordAudit(folder))
