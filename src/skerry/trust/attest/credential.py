"""MakeCredential without a TPM: a secret that only the TPM with this EK, holding this AK, opens.

    seed        random, sent encrypted to the EK
    identity    AES-CFB(KDFa(seed, "STORAGE", AK name), secret)
    integrity   HMAC(KDFa(seed, "INTEGRITY"), identity || AK name)

Source:  TPM 2.0 Library Part 1, sections 11.4.10 (KDFa, KDFe), 24 (credential protection),
         annexes B.10.4 (RSA-OAEP, label IDENTITY) and C.6.4 (ECDH).
"""

import hashlib
import hmac
import secrets

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from skerry.trust.attest.public_area import PublicArea
from skerry.trust.attest.wire import sized

_LABEL = b"IDENTITY\0"


def make_credential(ek: PublicArea, ak_name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """Return TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET for ActivateCredential."""
    seed, encrypted_seed = _seed(ek)
    bits = ek.symmetric_bits or 128
    cipher_key = _kdf_a(seed, b"STORAGE\0", ak_name, bits)
    cipher = Cipher(AES(cipher_key), CFB(bytes(16))).encryptor()
    identity = cipher.update(sized(secret)) + cipher.finalize()
    mac_key = _kdf_a(seed, b"INTEGRITY\0", b"", 256)
    integrity = hmac.digest(mac_key, identity + ak_name, "sha256")
    return sized(sized(integrity) + identity), sized(encrypted_seed)


def _seed(ek: PublicArea) -> tuple[bytes, bytes]:
    """Make a seed and encrypt it to the EK."""
    key = ek.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        own = ec.generate_private_key(ec.SECP256R1())
        shared = own.exchange(ec.ECDH(), key)
        point = own.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        seed = hashlib.sha256(  # KDFe: counter, Z, label, both parties' x
            (1).to_bytes(4, "big") + shared + _LABEL + x + ek.x.to_bytes(32, "big")
        ).digest()
        return seed, sized(x) + sized(y)
    seed = secrets.token_bytes(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), _LABEL)
    return seed, key.encrypt(seed, oaep)


def _kdf_a(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Derive `bits` (256 at most) in counter mode with HMAC-SHA-256."""
    data = (1).to_bytes(4, "big") + label + context + bits.to_bytes(4, "big")
    return hmac.digest(key, data, "sha256")[: bits // 8]
