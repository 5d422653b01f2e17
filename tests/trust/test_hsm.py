"""Keys on a token: python-tuf verifies what a PKCS#11 token signs, and a wrong PIN is named."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.trust.ceremony_errors import TokenKeyError
from skerry.trust.ceremony_keys import TokenPlace, public_key
from skerry.trust.hsm import TokenKey, TokenSigner, create_token_key
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "24680"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A software token of this test run alone; the library reads its settings once per process."""
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("needs softhsm2")
    pytest.importorskip("pkcs11", reason="needs python-pkcs11")
    folder = tmp_path_factory.mktemp("tokens")
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(settings))
        label = f"alice-{secrets.token_hex(3)}"
        words = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN]
        command = ["softhsm2-util", *words]
        subprocess.run(command, check=True, capture_output=True, env=dict(os.environ), timeout=20)
        yield label


def signer(key: TokenKey, pin: str = PIN) -> TokenSigner:
    return TokenSigner(key, public_key("token", key.public_pem), pin)


def test_the_token_makes_ed25519_and_its_signature_verifies(token: str) -> None:
    key = create_token_key(str(MODULE), token, "one", PIN)
    signature = signer(key).sign(b"payload")
    public = public_key("token", key.public_pem)
    assert public.scheme == "ed25519"
    public.verify_signature(signature, b"payload")


def test_a_token_without_ed25519_makes_p256(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pkcs11

    edwards = {pkcs11.Mechanism.EDDSA}
    monkeypatch.setattr(
        "skerry.trust.hsm.mechanisms", lambda slot: set(slot.get_mechanisms()) - edwards
    )
    key = create_token_key(str(MODULE), token, "two", PIN)
    public = public_key("token", key.public_pem)
    assert public.scheme == "ecdsa-sha2-nistp256"
    public.verify_signature(signer(key).sign(b"payload"), b"payload")


def test_a_wrong_pin_and_an_absent_token_are_named(token: str) -> None:
    key = create_token_key(str(MODULE), token, "three", PIN)
    with pytest.raises(TokenKeyError, match="the PIN is another"):
        signer(key, "11111").sign(b"x")
    with pytest.raises(TokenKeyError, match="sees no token of this label"):
        create_token_key(str(MODULE), "nobody", "four", PIN)
    with pytest.raises(TokenKeyError, match="cannot be used"):
        create_token_key("/nowhere/lib.so", token, "five", PIN)
    with pytest.raises(TokenKeyError, match="already"):
        create_token_key(str(MODULE), token, "three", PIN)


def test_a_fleet_is_founded_and_updated_by_keys_on_a_token(
    token: str, repo: Any, tmp_path: Path
) -> None:
    """Nodes verify with python-tuf and never know where the key is."""
    place = TokenPlace(module=str(MODULE), token=token)
    keys = OfflineKeys.create(tmp_path / "alice", passphrase=PIN, holder="alice", place=place)
    assert not list((tmp_path / "alice").glob("*.pem"))
    repo.offline = OfflineKeys.load(tmp_path / "alice", passphrase=PIN)
    repo.first = keys.found(repo.online.public(), now_unix_s=repo.clock.unix_s())
    shutil.rmtree(repo.files)
    repo.publisher = Publisher.found(repo.files, repo.online, repo.first, repo.clock)
    repo.add({"prod/model/magika/1.json": b"{}"})
    client = repo.client()
    client.refresh()
    assert client.target_bytes("prod/model/magika/1.json") == b"{}"
