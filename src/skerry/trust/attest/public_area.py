"""The public half of a key in a TPM: what it may do, its name, and the key itself.

Errors:  MalformedError.
Source:  TPM 2.0 Library Part 2, sections 8.3 (TPMA_OBJECT) and 12.2 (TPMT_PUBLIC);
         Part 1, section 16 (names).
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skerry.trust.attest.wire import Wire

ALG_RSA, ALG_NULL, ALG_SHA256, ALG_ECC = 0x0001, 0x0010, 0x000B, 0x0023
ALG_AES, ALG_CFB = 0x0006, 0x0043
CURVE_P256 = 0x0003
PUBLIC_BYTES_MAX = 1024

FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
AK_MUST = {
    "fixedTPM": FIXED_TPM,
    "fixedParent": FIXED_PARENT,
    "sensitiveDataOrigin": SENSITIVE_DATA_ORIGIN,
    "restricted": RESTRICTED,
    "sign": SIGN,
}
"""Made in that TPM, stays there, and signs nothing that the TPM did not make itself."""

_SCHEMES = {0x0014, 0x0016, 0x0018}  # RSASSA, RSAPSS, ECDSA: the algorithm and its hash
_RSA_BITS = (2048, 3072, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicArea:
    """A TPMT_PUBLIC. `encoded` is exactly the bytes that its name is made from."""

    encoded: bytes
    kind: int
    name_alg: int
    attributes: int
    symmetric_bits: int
    """Of a storage key; 0 where there is none."""
    scheme: int
    """The only scheme that the key signs with, or ALG_NULL."""
    x: int = 0
    y: int = 0
    modulus: int = 0
    exponent: int = 65_537

    @property
    def name(self) -> bytes:
        """The name that the TPM knows the key by: its algorithm and a digest."""
        return self.name_alg.to_bytes(2, "big") + hashlib.sha256(self.encoded).digest()

    def public_key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """Return the key."""
        if self.kind == ALG_ECC:
            return ec.EllipticCurvePublicNumbers(self.x, self.y, ec.SECP256R1()).public_key()
        return rsa.RSAPublicNumbers(self.exponent, self.modulus).public_key()

    def lacks(self) -> tuple[str, ...]:
        """Return what it lacks, or has too much, for an attestation key; empty if it is one."""
        lacks = [name for name, bit in AK_MUST.items() if not self.attributes & bit]
        if self.attributes & DECRYPT:
            lacks.append("not decrypt")
        if self.scheme == ALG_NULL:
            lacks.append("one fixed scheme")
        return tuple(lacks)


def parse_public_area(data: bytes, what: str) -> PublicArea:
    """Read a TPMT_PUBLIC of an RSA or P-256 key whose name is SHA-256."""
    wire = Wire(data[: PUBLIC_BYTES_MAX + 1], what)
    if len(data) > PUBLIC_BYTES_MAX:
        raise wire.wrong(f"{len(data)} bytes, wanted {PUBLIC_BYTES_MAX} at most")
    kind, name_alg, attributes = wire.number(2), wire.number(2), wire.number(4)
    if name_alg != ALG_SHA256:
        raise wire.wrong(f"its name is of algorithm {name_alg:#06x}, wanted SHA-256")
    if kind not in (ALG_RSA, ALG_ECC):
        raise wire.wrong(f"a key of algorithm {kind:#06x}, wanted RSA or ECC")
    wire.sized(length_max=64)  # the policy that its use needs
    symmetric_bits = _symmetric(wire)
    scheme = wire.number(2)
    if scheme in _SCHEMES:
        wire.number(2)
    elif scheme != ALG_NULL:
        raise wire.wrong(f"a scheme of algorithm {scheme:#06x}")
    if kind == ALG_ECC:
        curve, derivation = wire.number(2), wire.number(2)
        if curve != CURVE_P256 or derivation != ALG_NULL:
            raise wire.wrong(f"a key on curve {curve:#06x}, wanted P-256")
        x = int.from_bytes(wire.sized(length_max=32), "big")
        y = int.from_bytes(wire.sized(length_max=32), "big")
        wire.end()
        area = PublicArea(
            encoded=data,
            kind=kind,
            name_alg=name_alg,
            attributes=attributes,
            symmetric_bits=symmetric_bits,
            scheme=scheme,
            x=x,
            y=y,
        )
    else:
        bits, exponent = wire.number(2), wire.number(4) or 65_537
        modulus = int.from_bytes(wire.sized(length_max=512), "big")
        wire.end()
        if bits not in _RSA_BITS or modulus.bit_length() != bits or exponent != 65_537:
            raise wire.wrong(f"an RSA key of {modulus.bit_length()} bits, exponent {exponent}")
        area = PublicArea(
            encoded=data,
            kind=kind,
            name_alg=name_alg,
            attributes=attributes,
            symmetric_bits=symmetric_bits,
            scheme=scheme,
            modulus=modulus,
            exponent=exponent,
        )
    try:
        area.public_key()
    except ValueError as error:  # a point that is not on the curve, an even modulus
        raise wire.wrong(str(error)) from error
    return area


def _symmetric(wire: Wire) -> int:
    algorithm = wire.number(2)
    if algorithm == ALG_NULL:
        return 0
    bits, mode = wire.number(2), wire.number(2)
    if algorithm != ALG_AES or mode != ALG_CFB or bits not in (128, 256):
        raise wire.wrong(f"a symmetric cipher of algorithm {algorithm:#06x}, {bits} bits")
    return bits
