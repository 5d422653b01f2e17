"""OpenSSF model signatures, made and checked with keys on disk: no network, no log."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from skerry.trust.model_signature import ModelSignatureError, beside, verify_signature

pytestmark = pytest.mark.skipif(
    find_spec("model_signing") is None or find_spec("OpenSSL") is None, reason="needs pyopenssl"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


def key(folder: Path, name: str) -> Path:
    """Write a key pair, and return the public half's path."""
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / f"{name}.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = folder / f"{name}.pub"
    public.write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def sign(model: Path, name: str) -> Path:
    from model_signing import signing

    signature = model.with_name("model.onnx.sig")
    config = signing.Config().use_elliptic_key_signer(private_key=model.with_name(f"{name}.pem"))
    config.sign(model, signature)
    return signature


def test_a_model_that_its_trainer_signed_is_vouched_for(model: Path) -> None:
    public = key(model.parent, "trainer")
    signature = sign(model, "trainer")
    assert beside(model) == signature
    assert len(verify_signature(model, signature, public)) == 64


def test_other_bytes_another_key_and_rubbish_are_refused_with_a_reason(model: Path) -> None:
    public, other = key(model.parent, "trainer"), key(model.parent, "other")
    signature = sign(model, "trainer")
    with pytest.raises(ModelSignatureError, match="Key mismatch"):
        verify_signature(model, signature, other)
    model.write_bytes(b"Weights")
    with pytest.raises(ModelSignatureError, match="its files are not those that were signed"):
        verify_signature(model, signature, public)
    signature.write_bytes(b"{}")
    with pytest.raises(ModelSignatureError):
        verify_signature(model, signature, public)
    with pytest.raises(ModelSignatureError, match="no public key in PEM"):
        verify_signature(model, signature, model)
