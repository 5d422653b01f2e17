"""What a fleet knows to be good machines: from the files beside its file to the signed target.

Errors:  ReferenceFileError.
"""

import hashlib
from pathlib import Path

import msgspec

from skerry.schema.attestation import Mode, Reference
from skerry.schema.fleet import Fleet
from skerry.trust.attest.ek_certificate import read_makers
from skerry.trust.attest.reference import read_reference_file


def with_files(fleet: Fleet, home: Path) -> Fleet:
    """Return the fleet with the digest of its files of makers and reference values."""
    attestation = fleet.trust.attestation
    if attestation.mode is Mode.OFF:
        return fleet
    reference = msgspec.json.encode(read_reference_file(home / attestation.reference))
    both = reference + read_makers(home / attestation.makers).encode()
    found = msgspec.structs.replace(attestation, files_sha256=hashlib.sha256(both).hexdigest())
    trust = msgspec.structs.replace(fleet.trust, attestation=found)
    return msgspec.structs.replace(fleet, trust=trust)


def reference_of(fleet: Fleet, home: Path, generation: int) -> Reference:
    """Return what is to be signed; with attestation off it says just that."""
    attestation = fleet.trust.attestation
    if attestation.mode is Mode.OFF:
        return Reference(fleet=fleet.name, generation=generation)
    known = read_reference_file(home / attestation.reference)
    return Reference(
        fleet=fleet.name,
        generation=generation,
        mode=attestation.mode,
        roots_pem=read_makers(home / attestation.makers),
        components=known.components,
        revoked=known.revoked,
        secure_boot=attestation.secure_boot,
        firmware_min=known.firmware_min,
        report_s=attestation.report_s,
        holds_s=attestation.holds_s,
    )
