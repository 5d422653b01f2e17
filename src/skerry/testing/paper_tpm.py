"""A TPM on paper: signs any TPMS_ATTEST, also such as no TPM would make.

For tests of verifiers: real TPMs, software ones included, refuse to lie.
"""

import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from skerry.trust.attest.public_area import AK_MUST, PublicArea, parse_public_area
from skerry.trust.attest.quote import MAGIC, pcr_digest
from skerry.trust.attest.wire import sized


class PaperTpm:
    """A key and a pen."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        area = struct.pack(">HHI", 0x0023, 0x000B, sum(AK_MUST.values()))
        area += sized(b"") + struct.pack(">HHHHH", 0x0010, 0x0018, 0x000B, 0x0003, 0x0010)
        area += sized(point.x.to_bytes(32, "big")) + sized(point.y.to_bytes(32, "big"))
        self.ak: PublicArea = parse_public_area(area, "the key")

    def sign(self, quoted: bytes) -> bytes:
        """Return a TPMT_SIGNATURE over these bytes."""
        r, s = decode_dss_signature(self.key.sign(quoted, ec.ECDSA(hashes.SHA256())))
        numbers = sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
        return struct.pack(">HH", 0x0018, 0x000B) + numbers


def attest(
    extra: bytes,
    pcrs: dict[int, bytes],
    *,
    magic: int = MAGIC,
    clock_ms: int = 1_000_001,
    reset_count: int = 5,
    restart_count: int = 2,
    firmware: int = 7,
    bank: int = 0x000B,
) -> bytes:
    """Return a TPMS_ATTEST of a quote with these values in it."""
    bits = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    head = struct.pack(">IH", magic, 0x8018) + sized(b"signer") + sized(extra)
    clock = struct.pack(">QIIBQ", clock_ms, reset_count, restart_count, 1, firmware)
    selection = struct.pack(">IHB", 1, bank, 3) + bits
    return head + clock + selection + sized(pcr_digest(pcrs))
