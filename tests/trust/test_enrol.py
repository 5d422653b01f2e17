"""Joining once with a token, and coming back for ever after with the enrolment key."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from skerry.trust.enrol import (
    PROOF_AGE_S_MAX,
    TOKEN_LIFE_S,
    BannedError,
    EnrolRequest,
    NotEnrolledError,
    ProofError,
    TokenBoundError,
    TokenExpiredError,
    TokenUnknownError,
    TokenUsedError,
    admit_join,
    admit_renewal,
    enrol_request,
    load_or_create_enrolment_key,
    new_token,
)
from skerry.trust.errors import KeyFileError
from skerry.trust.identity import create_csr, new_key
from skerry.trust.registry import SqliteRegistry
from skerry.trust.spiffe import node_id, region_id

OSLO = node_id("clinic.example", "eu", "oslo", 1)
BERGEN = node_id("clinic.example", "eu", "bergen", 1)
NOW_S = 1_700_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqliteRegistry]:
    registry = SqliteRegistry(tmp_path / "registry.db")
    yield registry
    registry.close()


KEY = new_key()


def ask(
    token: str = "", *, key: object = KEY, who: object = OSLO, at_s: float = NOW_S
) -> EnrolRequest:
    csr = create_csr(new_key(), who)  # type: ignore[arg-type]
    return enrol_request(key, who, csr, now_unix_s=at_s, token=token)  # type: ignore[arg-type]


def test_a_token_admits_its_node_and_the_key_renews(registry: SqliteRegistry) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    assert len(bytes.fromhex(token)) * 8 == 128
    assert admit_join(registry, ask(token), now_unix_s=NOW_S + 1) == OSLO
    later_s = NOW_S + 90 * 86_400
    assert admit_renewal(registry, ask(at_s=later_s), now_unix_s=later_s) == OSLO


def test_a_request_survives_json(registry: SqliteRegistry) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    sent = msgspec.json.decode(msgspec.json.encode(ask(token)), type=EnrolRequest)
    assert admit_join(registry, sent, now_unix_s=NOW_S) == OSLO


def test_the_token_itself_is_never_stored(registry: SqliteRegistry, tmp_path: Path) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert token.encode() not in stored
    assert (tmp_path / "registry.db").stat().st_mode & 0o777 == 0o600


def test_each_misuse_of_a_token_has_its_own_name(registry: SqliteRegistry) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    with pytest.raises(TokenUnknownError):
        admit_join(registry, ask("0" * 32), now_unix_s=NOW_S)
    with pytest.raises(TokenBoundError, match="oslo"):
        admit_join(registry, ask(token, who=BERGEN), now_unix_s=NOW_S)
    late_s = NOW_S + TOKEN_LIFE_S + 1
    with pytest.raises(TokenExpiredError, match="expired 1 s ago"):
        admit_join(registry, ask(token, at_s=late_s), now_unix_s=late_s)
    admit_join(registry, ask(token), now_unix_s=NOW_S)
    with pytest.raises(TokenUsedError):
        admit_join(registry, ask(token, key=new_key()), now_unix_s=NOW_S)


def test_the_same_key_may_try_again_after_a_crash(registry: SqliteRegistry) -> None:
    """The answer was lost: the same machine asks again, even after the token's time."""
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    admit_join(registry, ask(token), now_unix_s=NOW_S)
    late_s = NOW_S + TOKEN_LIFE_S + 60
    assert admit_join(registry, ask(token, at_s=late_s), now_unix_s=late_s) == OSLO


def test_of_two_machines_with_one_token_one_joins(registry: SqliteRegistry) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    requests = [ask(token, key=new_key()) for _ in range(8)]
    admitted: list[EnrolRequest] = []
    refused: list[Exception] = []

    def join(request: EnrolRequest) -> None:
        try:
            admit_join(registry, request, now_unix_s=NOW_S)
            admitted.append(request)
        except TokenUsedError as error:
            refused.append(error)

    threads = [threading.Thread(target=join, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(admitted), len(refused)) == (1, 7)
    assert registry.enrolment_key(str(OSLO)) == admitted[0].enrolment_public_pem


def test_a_blank_machine_takes_a_dead_ones_place(registry: SqliteRegistry) -> None:
    admit_join(registry, ask(new_token(registry, OSLO, now_unix_s=NOW_S)), now_unix_s=NOW_S)
    fresh = new_key()
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    admit_join(registry, ask(token, key=fresh), now_unix_s=NOW_S)
    assert admit_renewal(registry, ask(key=fresh), now_unix_s=NOW_S) == OSLO
    with pytest.raises(ProofError, match="not signed by the enrolment key"):
        admit_renewal(registry, ask(), now_unix_s=NOW_S)


def test_renewal_needs_the_registered_key(registry: SqliteRegistry) -> None:
    with pytest.raises(NotEnrolledError):
        admit_renewal(registry, ask(), now_unix_s=NOW_S)
    admit_join(registry, ask(new_token(registry, OSLO, now_unix_s=NOW_S)), now_unix_s=NOW_S)
    with pytest.raises(ProofError):
        admit_renewal(registry, ask(key=new_key()), now_unix_s=NOW_S)


@pytest.mark.parametrize("off_s", [PROOF_AGE_S_MAX + 1, -PROOF_AGE_S_MAX - 1, float("nan")])
def test_an_old_or_early_request_is_refused(registry: SqliteRegistry, off_s: float) -> None:
    """Else a captured request would refresh the certificate of a stolen old key."""
    admit_join(registry, ask(new_token(registry, OSLO, now_unix_s=NOW_S)), now_unix_s=NOW_S)
    with pytest.raises(ProofError, match="carries a time"):
        admit_renewal(registry, ask(at_s=NOW_S - off_s), now_unix_s=NOW_S)


@pytest.mark.parametrize("part", ["csr_pem", "token", "at_unix_s", "spiffe_id"])
def test_the_proof_covers_every_part(registry: SqliteRegistry, part: str) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    other = new_token(registry, BERGEN, now_unix_s=NOW_S)
    changes = {
        "csr_pem": create_csr(new_key(), OSLO),
        "token": other,
        "at_unix_s": NOW_S + 1,
        "spiffe_id": str(BERGEN),
    }
    altered = msgspec.structs.replace(ask(token), **{part: changes[part]})
    with pytest.raises(ProofError, match="not signed"):
        admit_join(registry, altered, now_unix_s=NOW_S)


def test_a_certificate_for_somebody_else_is_refused(registry: SqliteRegistry) -> None:
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    request = enrol_request(KEY, OSLO, create_csr(new_key(), BERGEN), now_unix_s=NOW_S, token=token)
    with pytest.raises(ProofError, match="bergen"):
        admit_join(registry, request, now_unix_s=NOW_S)


def test_only_nodes_join_and_only_with_small_requests(registry: SqliteRegistry) -> None:
    with pytest.raises(ProofError, match="only nodes join"):
        admit_join(registry, ask(who=region_id("clinic.example", "eu")), now_unix_s=NOW_S)
    with pytest.raises(ProofError, match="larger than any real one"):
        admit_join(registry, ask("0" * 1000), now_unix_s=NOW_S)


def test_a_banned_node_neither_renews_nor_joins(registry: SqliteRegistry) -> None:
    admit_join(registry, ask(new_token(registry, OSLO, now_unix_s=NOW_S)), now_unix_s=NOW_S)
    registry.ban(str(OSLO), "stolen on Monday", NOW_S)
    with pytest.raises(BannedError, match="stolen on Monday"):
        admit_renewal(registry, ask(), now_unix_s=NOW_S)
    with pytest.raises(BannedError):
        admit_join(registry, ask(new_token(registry, OSLO, now_unix_s=NOW_S)), now_unix_s=NOW_S)
    assert registry.bans() == {str(OSLO): "stolen on Monday"}
    registry.lift_ban(str(OSLO))
    assert admit_renewal(registry, ask(), now_unix_s=NOW_S) == OSLO


def test_the_registry_remembers_across_restarts(tmp_path: Path) -> None:
    before = SqliteRegistry(tmp_path / "registry.db")
    token = new_token(before, OSLO, now_unix_s=NOW_S)
    admit_join(before, ask(token), now_unix_s=NOW_S)
    before.ban(str(BERGEN), "lost", NOW_S)
    before.close()
    after = SqliteRegistry(tmp_path / "registry.db")
    assert admit_renewal(after, ask(), now_unix_s=NOW_S) == OSLO
    with pytest.raises(TokenUsedError):
        admit_join(after, ask(token, key=new_key()), now_unix_s=NOW_S)
    assert after.banned(str(BERGEN)) == "lost"
    after.close()


def test_a_token_is_not_burnt_if_the_key_cannot_be_kept(registry: SqliteRegistry) -> None:
    """Both in one transaction: a disk that refuses half way leaves the token whole."""
    token = new_token(registry, OSLO, now_unix_s=NOW_S)
    request = ask(token)
    registry._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON enrolments BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(sqlite3.Error):
        admit_join(registry, request, now_unix_s=NOW_S)
    registry._db.execute("DROP TRIGGER full")
    assert admit_join(registry, ask(token, key=new_key()), now_unix_s=NOW_S) == OSLO


def test_the_enrolment_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.pem"
    first = load_or_create_enrolment_key(path)
    assert load_or_create_enrolment_key(path).private_numbers() == first.private_numbers()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"")
    with pytest.raises(KeyFileError, match="torn"):  # never replaced in silence
        load_or_create_enrolment_key(path)
