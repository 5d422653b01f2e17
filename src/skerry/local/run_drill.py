"""One drill by name on a running fleet: finds a target that fits where none is given."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.base.files import private_folder, write_atomic
from skerry.fleet.load import load_fleet
from skerry.local import drills
from skerry.local.drills import DrillTargetError, Range
from skerry.local.folder import LocalFolder
from skerry.local.range import PEOPLE
from skerry.local.release import send_release
from skerry.local.traffic import StockHttp
from skerry.schema.drill import DrillKind, DrillRecord
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.run_file import RunFile

_PROBE_BYTES = b"%PDF-1.7\n" + b"a page of text\n" * 64
_NUMBER = re.compile(r"(\d{4})\.json")


def run_kind(
    range_: Range,
    kind: DrillKind,
    *,
    site: str = "",
    node: str = "",
    region: str = "",
    for_s: float,
) -> DrillRecord:
    """Run one drill; raises `DrillTargetError` where no target fits."""
    fleet = load_fleet(range_.folder.root)
    match kind:
        case DrillKind.WAN_CUT:
            return drills.wan_cut(range_, site or _site(fleet, kind), for_s)
        case DrillKind.BLACK_HOLE:
            return drills.black_hole(range_, node or _paired_node(fleet, kind), for_s)
        case DrillKind.NODE_KILL:
            return drills.node_kill(range_, node or _paired_node(fleet, kind), for_s)
        case DrillKind.REGION_DOWN:
            return drills.region_down(range_, region or _region(fleet, kind), for_s)
        case DrillKind.CENTRAL_DOWN:
            return drills.central_down(range_, for_s)
        case DrillKind.LOSE_CENTRAL:
            return drills.lose_central(range_)
        case DrillKind.FORGED_UPDATE:
            return drills.forged_update(range_, region or _region(fleet, kind), for_s)
        case DrillKind.COLD_START:
            chosen = site or _site(fleet, kind)
            return drills.cold_start(range_, chosen, asker(range_.run, fleet, chosen))
        case DrillKind.BAD_RELEASE:
            return _bad_release(range_, fleet)


def asker(run: RunFile, fleet: Fleet, site: str) -> Callable[[], bool]:
    """Return a question to a site's first node: true once it gives a real answer."""
    url = run.at_site(site)[0].http_url
    model = next(one for one in fleet.models if fleet.site(site).tier in one.tiers)

    def ask() -> bool:
        sender = StockHttp(url, model.name)
        try:
            return bool(sender.ask(_PROBE_BYTES, model.data_classes[0]).label)
        except Exception:  # not there yet: that is what is being timed
            return False
        finally:
            sender.close()

    return ask


def keep_record(folder: LocalFolder, record: DrillRecord) -> Path:
    """Write a drill's record under the next number; returns its path."""
    private_folder(folder.drills)
    numbers = [int(m[1]) for m in map(_NUMBER.fullmatch, _names(folder.drills)) if m]
    path = folder.drills / f"{max(numbers, default=0) + 1:04d}.json"
    write_atomic(path, msgspec.json.format(msgspec.json.encode(record), indent=2))
    return path


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _bad_release(range_: Range, fleet: Fleet) -> DrillRecord:
    model = fleet.models[0]
    versions = [int(path.name) for path in (range_.folder.models / model.name).glob("[0-9]*")]
    above = [version for version in versions if version > model.version]
    if not above:
        raise DrillTargetError(
            "bad-release",
            model.name,
            f"the model repository holds no version above {model.version}",
        )
    return drills.bad_release(
        range_,
        f"{model.name} v{max(above)}",
        lambda: send_release(range_.folder, range_.central, model.name, max(above)),
        len(fleet.rollout.rings),
    )


def _site(fleet: Fleet, kind: str) -> str:
    return _first([site.name for site in fleet.sites if site.kind in PEOPLE], kind, "edge site")


def _paired_node(fleet: Fleet, kind: str) -> str:
    sites = [site.name for site in fleet.sites if site.nodes > 1]
    return f"{_first(sites, kind, 'site with two nodes')}/1"


def _region(fleet: Fleet, kind: str) -> str:
    regions = [site.name for site in fleet.sites if site.kind is Kind.REGIONAL]
    return _first(regions, kind, "regional site")


def _first(found: list[str], kind: str, what: str) -> str:
    if not found:
        raise DrillTargetError(kind, "", f"the fleet has no {what}")
    return found[0]
