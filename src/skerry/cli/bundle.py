"""`skerry bundle`: signed state and models in one file, for a place without a link."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.base.errors import UsageError
from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, say, say_next

if TYPE_CHECKING:
    from skerry.schema.bundle import BundleIndex

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
STATE = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("bundle")
def command() -> None:
    """Carry signed state and models to a place without a link, in one file.

    Example:  skerry bundle export stick.bundle --site oslo
    """


@command.command()
@click.argument("out", type=FILE)
@click.option("--site", "sites", multiple=True, help="A site to make it for; may be repeated.")
@click.option("--region", help="Make it for every site of a region.")
@click.option("--since", default="", metavar="BUNDLE|SNAPSHOT", help="Leave out what this brought.")
@click.option(
    "--days",
    type=click.FloatRange(0.01, 90),
    default=14.0,
    show_default=True,
    help="How long it can be imported: the journey, and some days more.",
)
@folder_option
@json_option
def export(
    out: Path,
    sites: tuple[str, ...],
    region: str | None,
    since: str,
    days: float,
    folder: Path,
    as_json: bool,
) -> None:
    """Write what sites need (all of the fleet, if none is named) into one file."""
    from skerry.base.clock import SystemClock
    from skerry.base.units import SECONDS_PER_DAY
    from skerry.client.bundle_export import export_bundle

    place = reach(folder)
    fleet = place.central.applied().fleet
    if fleet is None:
        raise UsageError("nothing was applied yet, so there is nothing to carry", "skerry apply")
    known = {site.name: site.region for site in fleet.sites}
    wanted = [s for s in known if region in (None, known[s]) and (not sites or s in sites)]
    unknown = set(sites) - set(known)
    if unknown or not wanted:
        what = f"no site {min(unknown)!r}" if unknown else f"no such site in region {region!r}"
        raise UsageError(f"the applied fleet has {what}", f"it has {', '.join(known)}")
    index = export_bundle(
        place.central,
        out,
        fleet=fleet.name,
        sites=wanted,
        bootstrap_root=place.tuf_root.read_bytes(),
        life_s=days * SECONDS_PER_DAY,
        since=since,
        clock=SystemClock(),
    )
    _tell(out, index, index.sites, as_json)
    say_next(f"skerry bundle import {out} --state STATE   (at the region or the node)")


@command.command()
@click.argument("path", metavar="BUNDLE", type=READABLE)
@click.option(
    "--root", type=READABLE, help="Root metadata to begin with; that of the fleet folder if absent."
)
@click.option("--after", type=READABLE, metavar="BUNDLE", help="The one it was made --since.")
@folder_option
@json_option
def verify(path: Path, root: Path | None, after: Path | None, folder: Path, as_json: bool) -> None:
    """Check a bundle as a node would, and change nothing."""
    from skerry.base.clock import SystemClock
    from skerry.trust.bundle import Bundle
    from skerry.trust.bundle_check import check_bundle

    bootstrap = (root or reach(folder).tuf_root).read_bytes()
    with ExitStack() as stack:
        bundle = stack.enter_context(Bundle.open(path))
        earlier = stack.enter_context(Bundle.open(after)) if after else None
        found = check_bundle(bundle, bootstrap_root=bootstrap, clock=SystemClock(), earlier=earlier)
        _tell(path, bundle.index, tuple(found.accepted), as_json)


@command.command(name="import")
@click.argument("path", metavar="BUNDLE", type=READABLE)
@click.option("--state", type=STATE, required=True, help="State folder of a region or a node.")
@json_option
def import_(path: Path, state: Path, as_json: bool) -> None:
    """Check a bundle and take it in, at a region's mirror or at one node.

    The process of that folder may run: it finds what is new at its next look.
    """
    from skerry.base.clock import SystemClock
    from skerry.trust.bundle import Bundle

    if (state / "region.json").exists():
        from skerry.region.stick import bring
    elif (state / "node.json").exists():
        from skerry.node.stick import bring
    else:
        raise UsageError(
            f"{state} is no state folder of a region or a node",
            "name the folder that `skerry up --role region` or `skerry join` was given",
        )
    with Bundle.open(path) as bundle:
        found = bring(bundle, state, SystemClock())
        _tell(path, bundle.index, tuple(found.accepted), as_json)
    say_next("skerry status")


@command.command()
@click.argument("out", type=FILE)
@click.option("--state", type=STATE, required=True, help="State folder of a node.")
@click.option("--records", is_flag=True, help="With the summaries and events that wait there.")
def report(out: Path, state: Path, records: bool) -> None:
    """Write what a node without a link runs, signed by it, for the stick's way back."""
    from skerry.base.clock import SystemClock
    from skerry.base.files import write_atomic
    from skerry.node import stick

    write_atomic(out, stick.report(state, SystemClock(), records=records))
    say(f"{out}  what is true of this node, signed by it")
    say_next(f"skerry bundle {'deliver' if records else 'read'} {out}   (at its region)")


@command.command()
@click.argument("path", metavar="REPORT", type=READABLE)
@click.option("--state", type=STATE, required=True, help="State folder of the node's region.")
@json_option
def read(path: Path, state: Path, as_json: bool) -> None:
    """Check a node's report from a stick against the key that it joined with, and show it."""
    import time

    from skerry.region.settings import RegionFolder
    from skerry.trust.registry import SqliteRegistry
    from skerry.trust.stick_report import read_report

    enrolment = RegionFolder(state).enrolment
    if not enrolment.exists():
        raise UsageError(f"{state} is no state folder of a region", "name the node's own region's")
    registry = SqliteRegistry(enrolment)
    try:
        said = read_report(path.read_bytes(), registry)
    finally:
        registry.close()
    if as_json:
        print_json("bundle-read", said)
        return
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(said.at_unix_s))
    trial = ", on trial" if said.on_trial else ""
    models = ", ".join(f"{name} v{version}" for name, version in said.models.items())
    say(f"{said.spiffe_id}  {when}")
    say(f"  generation {said.generation}{trial}: {models or 'no model'}")
    if said.gave_up:
        say(f"  took back generation {said.gave_up}: {said.gave_up_reason}")


@command.command()
@click.argument("path", metavar="REPORT", type=READABLE)
@click.option("--region", required=True, help="The region that the node joined.")
@folder_option
@json_option
def deliver(path: Path, region: str, folder: Path, as_json: bool) -> None:
    """Hand a node's records from a stick to its region, which passes them on to central."""
    import msgspec

    from skerry.schema.stick_report import SignedReport, StickTaken

    try:
        signed = msgspec.json.decode(path.read_bytes(), type=SignedReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no report: {error}", "skerry bundle report") from error
    place = reach(folder)
    if region not in place.region_urls:
        raise UsageError(f"the fleet has no region {region!r}", ", ".join(place.region_urls))
    taken = place.region(region).ask("POST", "/v1/stick", StickTaken, signed, timeout_s=600.0)
    if as_json:
        print_json("bundle-deliver", taken)
    say(f"{taken.records} records of {taken.node} are with central; each counts once")


def _tell(path: Path, index: "BundleIndex", sites: tuple[str, ...], as_json: bool) -> None:
    import time

    length_bytes = sum(member.length_bytes for member in index.members)
    if as_json:
        facts = {
            "path": str(path),
            "sites": sites,
            "snapshot_version": index.snapshot_version,
            "since_snapshot_version": index.since_snapshot_version,
            "good_until_unix_s": index.good_until_unix_s,
            "members": len(index.members),
            "length_bytes": length_bytes,
        }
        print_json("bundle", facts)
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(index.good_until_unix_s))
    since = f", on top of {index.since_snapshot_version}" if index.since_snapshot_version else ""
    say(f"{path}  snapshot {index.snapshot_version}{since} for {', '.join(sites)}")
    say(f"  {len(index.members)} members, {length_bytes} bytes; can be imported until {until}")
