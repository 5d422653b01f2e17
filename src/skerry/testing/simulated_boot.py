"""A boot for a software TPM: the events that firmware and boot loaders would measure.

events = simulated_boot()
with software.open() as tpm:
    boot(tpm, events)                       the PCRs are now as after that boot
log = build_event_log(events)
reference = reference_of(events, ...)       what a fleet would sign as known to be good
"""

import hashlib
import struct
from collections.abc import Iterable

from skerry.schema.attestation import Mode, Reference
from skerry.trust.attest.event_log import (
    EFI_VARIABLE_DRIVER_CONFIG,
    NO_ACTION,
    SEPARATOR,
    Event,
)
from skerry.trust.attest.reference import components_of
from skerry.trust.attest.tpm import Tpm

BOOT_APPLICATION, IPL, CRTM_VERSION = 0x80000003, 0x0000000D, 0x00000008
_GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def measured(pcr: int, kind: int, data: bytes) -> Event:
    """Return an event whose digest is that of its data."""
    return Event(pcr, kind, hashlib.sha256(data).digest(), data)


def loaded(image: bytes) -> Event:
    """Return the event of a boot loader that was loaded: its digest, and where it went."""
    where = struct.pack("<QQQQ", 0x100000, len(image), 0, 0)  # UEFI_IMAGE_LOAD_EVENT, no path
    return Event(4, BOOT_APPLICATION, hashlib.sha256(image).digest(), where)


def secure_boot_event(*, on: bool) -> Event:
    """Return the measurement of the SecureBoot variable."""
    name, value = "SecureBoot".encode("utf-16-le"), bytes([on])
    sizes = struct.pack("<QQ", len(name) // 2, len(value))
    return measured(7, EFI_VARIABLE_DRIVER_CONFIG, _GLOBAL_VARIABLE + sizes + name + value)


def simulated_boot(*, secure: bool = True, loader: bytes = b"loader 2.06") -> list[Event]:
    """Return the events of a boot: firmware, Secure Boot, separators, loader, kernel."""
    return [
        measured(0, CRTM_VERSION, b"firmware 1.4"),
        secure_boot_event(on=secure),
        *(measured(pcr, SEPARATOR, bytes(4)) for pcr in range(8)),
        loaded(loader),
        measured(9, IPL, b"kernel 6.1"),
    ]


def boot(tpm: Tpm, events: Iterable[Event]) -> None:
    """Extend a TPM that was just reset with these events."""
    for event in events:
        if event.kind != NO_ACTION:
            tpm.extend(event.pcr, event.digest)


def reference_of(events: Iterable[Event], roots_pem: str, *, fleet: str = "clinic") -> Reference:
    """Return reference values that know these events, and demand attestation."""
    return Reference(
        fleet=fleet,
        mode=Mode.REQUIRED,
        roots_pem=roots_pem,
        components=components_of(events),
    )
