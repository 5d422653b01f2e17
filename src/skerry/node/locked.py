"""A node whose keys were taken from it: it watches its sensors, and asks to be let in again.

It has no identity, so it has no link and takes no releases; its worker answers for unrestricted
data. Where the enrolment key was left to it, proof of that key brings a new identity and the
node goes on in quarantine, and tells what happened. Else a person joins it anew.
"""

import asyncio
import os
import random
import signal
from functools import partial

import anyio
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.ids import new_boot_id
from skerry.node.attester import attester_of
from skerry.node.enrol import renew
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles, identity_files
from skerry.node.quarantine import read_quarantine
from skerry.node.settings import NodeSettings
from skerry.node.tamper import Demands, TamperWatch
from skerry.node.upstream import region_address
from skerry.spine.outbox import Outbox, OutboxLimits
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.attest.sealer import Sealer
from skerry.trust.attest.tpm import opener
from skerry.trust.custody import signers_of
from skerry.trust.spiffe import node_id

RETRY_S_FIRST = 5.0
RETRY_S_MAX = 300.0
LOOK_S = 1.0


def is_locked(folder: NodeFolder) -> bool:
    """Tell whether keys were taken from a node that had joined."""
    has_none = not IdentityFiles(folder.identity).identity.exists()
    return has_none and bool(read_quarantine(folder.quarantine).causes)


def demands_of(accepted: AcceptedDesired | None) -> Demands:
    """Return what signed state demands; a node that has none yet reacts as fleets do by default."""
    if accepted is None:
        return Demands()
    return Demands(accepted.desired.tamper, signers_of(accepted.desired.custody))


def sealers_of(folder: NodeFolder, settings: NodeSettings) -> tuple[Sealer, ...]:
    """Return what an opened lid takes from this machine's TPM, where it has one."""
    return (Sealer(opener(settings.tpm), folder.sealed_key),) if settings.tpm else ()


async def wait_for_identity(
    folder: NodeFolder, settings: NodeSettings, clock: Clock, *, announce: bool
) -> bool:
    """Watch, and try to come back; returns False if the process is told to stop."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    boot, files = new_boot_id(), identity_files(folder, settings)
    outbox = Outbox(
        folder.outbox,
        region=settings.region,
        site=settings.site,
        node_number=settings.number,
        boot=boot,
        limits=OutboxLimits(bytes_max=settings.outbox_bytes_max),
    )
    accepted = AcceptedDesired.load(folder.accepted)
    watch = TamperWatch(
        folder,
        settings,
        outbox,
        boot=boot,
        demands=lambda: demands_of(accepted),
        clock=clock,
        sealers=sealers_of(folder, settings),
    )

    async def end_on_stop() -> None:
        await stop.wait()
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_on_stop)
            tasks.start_soon(watch.run)
            if announce:
                line = {"ready": True, "pid": os.getpid(), "node": settings.node, "locked": True}
                os.write(1, msgspec.json.encode(line) + b"\n")
            await _come_back(files, settings, clock)
            tasks.cancel_scope.cancel()
    finally:
        watch.close()
        outbox.close()
    return not stop.is_set()


async def _come_back(files: IdentityFiles, settings: NodeSettings, clock: Clock) -> None:
    """Return once an identity lies on the disk: one that was asked for, or a person's."""
    rng = random.Random()  # noqa: S311 - spreads load, guards nothing
    name = node_id(settings.domain, settings.region, settings.site, settings.number)
    ask = partial(
        renew,
        files,
        url=region_address(settings),
        host=settings.region_host,
        inference_url=f"https://{settings.host}:{settings.peer_port}",
        clock=clock,
        name=name,
        attester=attester_of(settings),
    )
    retry_s, waited_s = RETRY_S_FIRST, RETRY_S_FIRST
    while not files.identity.exists():
        if files.enrolment_key.exists() and waited_s >= retry_s:
            try:
                await anyio.to_thread.run_sync(ask)
                continue
            except (SkerryError, OSError, ValueError) as error:
                os.write(2, f"{settings.node} (locked): {error}\n".encode())
                retry_s, waited_s = min(retry_s * 2, RETRY_S_MAX) * rng.uniform(0.5, 1.0), 0.0
        await clock.sleep(LOOK_S)
        waited_s += LOOK_S
