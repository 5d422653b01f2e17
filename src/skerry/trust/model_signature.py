"""OpenSSF model signatures: did whoever trained a model sign just these bytes?

A signature lies beside a model (`model.sig`) and lists the digest of every file of it. It is
checked with a public key that the operator names: no network, no transparency log.

Errors:  ModelSignatureError.
Source:  OpenSSF Model Signing 1.0, through the `model_signing` library (extra `provenance`).
"""

import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from skerry.trust.errors import TrustError

SIGNATURE_FILE = "model.sig"
SIGNATURE_BYTES_MAX = 16 * 1024**2


class ModelSignatureError(TrustError):
    """A model's signature is not of these bytes, not by this key, or cannot be read.

    The model was not added. Ask whoever signed it for the file and the key again.
    """

    code = "E0299"
    reason = "MODEL_SIGNATURE"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} does not vouch for this model: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check the key in --signer; if both are right, the model was changed"


def beside(model: Path) -> Path | None:
    """Return the signature that lies beside a model file; None if there is none."""
    places = (model.with_name(f"{model.name}.sig"), model.parent / SIGNATURE_FILE)
    return next((place for place in places if place.is_file()), None)


def verify_signature(model: Path, signature: Path, public_key: Path) -> str:
    """Return the key's fingerprint if it signed exactly this file or folder, else raise."""
    from model_signing import verifying

    fingerprint = _fingerprint(public_key)
    if signature.stat().st_size > SIGNATURE_BYTES_MAX:
        raise ModelSignatureError(str(signature), f"it is over {SIGNATURE_BYTES_MAX} bytes")
    try:
        config = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=public_key).verify(model, signature)
    except Exception as error:  # the library and those below it raise what they like
        raise ModelSignatureError(str(signature), _reason(error)) from error
    return fingerprint


def _reason(error: Exception) -> str:
    """Return the library's reason in a line; what it says of unlike digests runs over many."""
    if isinstance(error, ModuleNotFoundError):
        raise error  # an extra that is not installed is no verdict
    said = str(error).strip() or type(error).__name__
    if said.startswith("Signature mismatch"):
        return "its files are not those that were signed"
    return said.splitlines()[0][:200]


def _fingerprint(public_key: Path) -> str:
    """Return the SHA-256 of a public key's DER form; raises `ModelSignatureError`."""
    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        why = f"it is no public key in PEM: {error}"
        raise ModelSignatureError(str(public_key), why) from error
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()
