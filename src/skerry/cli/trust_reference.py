"""`skerry trust reference`: capture what a good machine boots, from its event log."""

from pathlib import Path

import click

from skerry.cli.output import json_option, print_json, say, say_next


@click.command()
@click.option(
    "--log",
    "logs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Event log of a machine that you trust; may be given several times.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("reference.json"),
    show_default=True,
    help="File of reference values; what it holds already is kept.",
)
@json_option
def reference(logs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Capture what good machines boot, from their firmware's event logs.

    A log lies at /sys/kernel/security/tpm0/binary_bios_measurements. Look at what is new before
    the fleet is applied: whatever is in the file, machines may boot.
    """
    import msgspec

    from skerry.base.files import write_atomic
    from skerry.trust.attest.event_log import parse_event_log
    from skerry.trust.attest.reference import (
        ReferenceFile,
        components_of,
        merged,
        read_reference_file,
    )

    before = read_reference_file(out) if out.exists() else ReferenceFile(components={})
    now = before
    for log in logs:
        now = merged(now, components_of(parse_event_log(log.read_bytes())))
    new = {
        pcr: [digest for digest in digests if digest not in before.components.get(pcr, ())]
        for pcr, digests in now.components.items()
    }
    write_atomic(out, msgspec.json.format(msgspec.json.encode(now), indent=2))
    if as_json:
        print_json("trust-reference", {"path": str(out), "new": new})
    for pcr, digests in new.items():
        for digest in digests:
            say(f"PCR {pcr:>2}  {digest}")
    say(f"{out} has {sum(map(len, new.values()))} new digests; look at them")
    say_next("skerry apply   (signs it, with `trust: {attestation: ...}` in the fleet file)")
