"""Keys on a token: python-tuf verifies what a PKCS#11 token signs, and a wrong PIN is named."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Token

from skerry.trust.ceremony_errors import TokenKeyError
from skerry.trust.ceremony_keys import TokenPlace, public_key
from skerry.trust.hsm import TokenKey, TokenSigner, create_token_key
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys


def signer(key: TokenKey, pin: str) -> TokenSigner:
    return TokenSigner(key, public_key("token", key.public_pem), pin)


def test_the_token_makes_ed25519_and_its_signature_verifies(token: Token) -> None:
    key = create_token_key(token.module, token.label, "one", token.pin)
    signature = signer(key, token.pin).sign(b"payload")
    public = public_key("token", key.public_pem)
    assert public.scheme == "ed25519"
    public.verify_signature(signature, b"payload")


def test_a_token_without_ed25519_makes_p256(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    import pkcs11

    edwards = {pkcs11.Mechanism.EDDSA}
    monkeypatch.setattr(
        "skerry.trust.hsm.mechanisms", lambda slot: set(slot.get_mechanisms()) - edwards
    )
    key = create_token_key(token.module, token.label, "two", token.pin)
    public = public_key("token", key.public_pem)
    assert public.scheme == "ecdsa-sha2-nistp256"
    public.verify_signature(signer(key, token.pin).sign(b"payload"), b"payload")


def test_a_wrong_pin_and_an_absent_token_are_named(token: Token) -> None:
    key = create_token_key(token.module, token.label, "three", token.pin)
    with pytest.raises(TokenKeyError, match="the PIN is another"):
        signer(key, "11111").sign(b"x")
    with pytest.raises(TokenKeyError, match="sees no token of this label"):
        create_token_key(token.module, "nobody", "four", token.pin)
    with pytest.raises(TokenKeyError, match="cannot be used"):
        create_token_key("/nowhere/lib.so", token.label, "five", token.pin)
    with pytest.raises(TokenKeyError, match="already"):
        create_token_key(token.module, token.label, "three", token.pin)


def test_a_fleet_is_founded_and_updated_by_keys_on_a_token(
    token: Token, repo: Any, tmp_path: Path
) -> None:
    """Nodes verify with python-tuf and never know where the key is."""
    place = TokenPlace(module=token.module, token=token.label)
    keys = OfflineKeys.create(tmp_path / "alice", passphrase=token.pin, holder="alice", place=place)
    assert not list((tmp_path / "alice").glob("*.pem"))
    repo.offline = OfflineKeys.load(tmp_path / "alice", passphrase=token.pin)
    repo.first = keys.found(repo.online.public(), now_unix_s=repo.clock.unix_s())
    shutil.rmtree(repo.files)
    repo.publisher = Publisher.found(repo.files, repo.online, repo.first, repo.clock)
    repo.add({"prod/model/magika/1.json": b"{}"})
    client = repo.client()
    client.refresh()
    assert client.target_bytes("prod/model/magika/1.json") == b"{}"
