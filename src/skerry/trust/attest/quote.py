"""A quote: what a TPM signs over its PCRs, and the signature on it.

Units:   `clock_ms` is the TPM's own milliseconds.
Errors:  MalformedError.
Source:  TPM 2.0 Library Part 2, sections 10.12 (TPMS_ATTEST) and 11.3 (TPMT_SIGNATURE).
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from skerry.trust.attest.public_area import PublicArea
from skerry.trust.attest.wire import Wire

MAGIC = 0xFF544347  # "\xffTCG": only the TPM itself puts it before what a restricted key signs
ST_ATTEST_QUOTE = 0x8018
ALG_SHA256 = 0x000B
ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA = 0x0014, 0x0016, 0x0018
QUOTE_BYTES_MAX = 1024
SIGNATURE_BYTES_MAX = 1024
_BANKS_MAX = 16
_SELECT_BYTES_MAX = 4
_DIGEST_BYTES_MAX = 64
_NUMBER_BYTES_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A TPMS_ATTEST of a quote, as it stands there; nothing of it is checked yet."""

    magic: int
    kind: int
    signer: bytes
    """Qualified name of the key that signed."""
    extra: bytes
    """The qualifying data that the challenger asked for."""
    clock_ms: int
    reset_count: int
    restart_count: int
    clock_safe: bool
    firmware: int
    selection: tuple[tuple[int, tuple[int, ...]], ...]
    """Bank (hash algorithm) and its PCRs."""
    pcr_digest: bytes


def parse_quote(data: bytes) -> Quote:
    """Read a TPMS_ATTEST."""
    wire = Wire(data[: QUOTE_BYTES_MAX + 1], "the quote")
    if len(data) > QUOTE_BYTES_MAX:
        raise wire.wrong(f"{len(data)} bytes, wanted {QUOTE_BYTES_MAX} at most")
    magic, kind = wire.number(4), wire.number(2)
    signer = wire.sized(length_max=_DIGEST_BYTES_MAX + 2)
    extra = wire.sized(length_max=_DIGEST_BYTES_MAX)
    clock_ms, reset_count, restart_count = wire.number(8), wire.number(4), wire.number(4)
    safe = wire.number(1)
    firmware = wire.number(8)
    if kind != ST_ATTEST_QUOTE:
        raise wire.wrong(f"it attests {kind:#06x}, wanted a quote")
    banks = wire.number(4)
    if banks > _BANKS_MAX:
        raise wire.wrong(f"{banks} PCR banks")
    selection = tuple(_bank(wire) for _ in range(banks))
    pcr_digest = wire.sized(length_max=_DIGEST_BYTES_MAX)
    wire.end()
    return Quote(
        magic=magic,
        kind=kind,
        signer=signer,
        extra=extra,
        clock_ms=clock_ms,
        reset_count=reset_count,
        restart_count=restart_count,
        clock_safe=safe == 1,
        firmware=firmware,
        selection=selection,
        pcr_digest=pcr_digest,
    )


def _bank(wire: Wire) -> tuple[int, tuple[int, ...]]:
    bank, length = wire.number(2), wire.number(1)
    if length > _SELECT_BYTES_MAX:
        raise wire.wrong(f"a PCR selection of {length} bytes")
    bits = int.from_bytes(wire.take(length), "little")
    return bank, tuple(pcr for pcr in range(8 * length) if bits >> pcr & 1)


def signed_by(key: PublicArea, quoted: bytes, signature: bytes) -> bool:
    """Tell whether a TPMT_SIGNATURE over these bytes is the key's, with SHA-256."""
    wire = Wire(signature[: SIGNATURE_BYTES_MAX + 1], "the signature")
    scheme, digest = wire.number(2), wire.number(2)
    if digest != ALG_SHA256:
        return False
    public = key.public_key()
    try:
        if scheme == ALG_ECDSA and isinstance(public, ec.EllipticCurvePublicKey):
            r = int.from_bytes(wire.sized(length_max=_NUMBER_BYTES_MAX), "big")
            s = int.from_bytes(wire.sized(length_max=_NUMBER_BYTES_MAX), "big")
            wire.end()
            public.verify(encode_dss_signature(r, s), quoted, ec.ECDSA(hashes.SHA256()))
            return True
        if not isinstance(public, ec.EllipticCurvePublicKey):
            value = wire.sized(length_max=_NUMBER_BYTES_MAX)
            wire.end()
            how: padding.AsymmetricPadding
            if scheme == ALG_RSASSA:
                how = padding.PKCS1v15()
            elif scheme == ALG_RSAPSS:
                how = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
            else:
                return False
            public.verify(value, quoted, how, hashes.SHA256())
            return True
    except InvalidSignature:
        pass
    return False


def pcr_digest(pcrs: dict[int, bytes]) -> bytes:
    """Return the digest that a quote holds over PCR values: in order of their numbers."""
    return hashlib.sha256(b"".join(pcrs[number] for number in sorted(pcrs))).digest()


def qualifying_data(nonce: bytes, csr_pem: bytes, event_log: bytes, token_id: str) -> bytes:
    """Return what a quote must carry: nonce, request, log and token in one digest.

    Each part is hashed first, so that no bytes can move from one part to the next.
    """
    parts = (nonce, csr_pem, event_log, token_id.encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
