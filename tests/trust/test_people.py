"""People and tokens: hashed, limited, silent about names, and gone when they are taken back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.schema.access import Action, Door
from skerry.trust import people as people_module
from skerry.trust.access_errors import (
    LoginRefusedError,
    LoginTooOftenError,
    PeopleError,
    TokenRefusedError,
)
from skerry.trust.access_store import AccessStore
from skerry.trust.people import FAILURES_FREE, WAIT_S_MAX, Failures, People
from skerry.trust.tokens import TOKENS_MAX, Tokens, parse_token

NOW = 1_800_000_000.0
WORDS = "correct horse battery"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AccessStore]:
    one = AccessStore(tmp_path / "access.db")
    yield one
    one.close()


@pytest.fixture
def people(store: AccessStore, monkeypatch: pytest.MonkeyPatch) -> People:
    """A store with one person; the hash is made cheap, as its strength is not what is tested."""
    import argon2

    one = People(store)
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(one, "_hashing", cheap)
    one.put("ann", one.hashed(WORDS), ("operator",), NOW)
    return one


def test_a_password_lets_its_person_in_with_their_roles(people: People) -> None:
    assert people.login("ann", WORDS, "::1", NOW) == ("operator",)
    people.put("ann", "", ("viewer", "auditor"), NOW)
    assert people.login("ann", WORDS, "::1", NOW) == ("viewer", "auditor")
    people.set_password("ann", "another four words", NOW)
    assert people.login("ann", "another four words", "::1", NOW) == ("viewer", "auditor")
    with pytest.raises(LoginRefusedError):
        people.login("ann", WORDS, "::1", NOW)


def test_the_file_is_private_and_holds_an_argon2id_hash(tmp_path: Path, people: People) -> None:
    path = tmp_path / "access.db"
    assert path.stat().st_mode & 0o777 == 0o600
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("access.db*"))
    assert b"$argon2id$" in kept
    assert WORDS.encode() not in kept


def test_an_unknown_name_is_told_the_same_and_costs_the_same(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    matches = People._matches

    def counted(self: People, hashed: str, password: str) -> bool:
        hashes.append(hashed)
        return matches(self, hashed, password)

    monkeypatch.setattr(People, "_matches", counted)
    texts = set()
    for name in ("ann", "nobody", "x" * 4000, ""):
        with pytest.raises(LoginRefusedError) as refused:
            people.login(name, "wrong password", f"10.0.0.{len(texts)}", NOW)
        texts.add(str(refused.value))
    assert len(texts) == 1
    assert len(hashes) == 4


def test_failures_make_a_name_wait_longer_and_longer_and_a_success_ends_it(people: People) -> None:
    for _ in range(FAILURES_FREE):
        with pytest.raises(LoginRefusedError):
            people.login("ann", "wrong password", "10.0.0.1", NOW)
    with pytest.raises(LoginTooOftenError):
        people.login("ann", WORDS, "10.0.0.2", NOW)
    assert people.login("ann", WORDS, "10.0.0.2", NOW + 3) == ("operator",)
    with pytest.raises(LoginRefusedError):
        people.login("ann", "wrong password", "10.0.0.2", NOW + 3)


def test_an_address_that_tries_many_names_waits_too(people: People) -> None:
    for number in range(FAILURES_FREE):
        with pytest.raises(LoginRefusedError):
            people.login(f"name-{number}", "wrong password", "10.0.0.9", NOW)
    with pytest.raises(LoginTooOftenError):
        people.login("ann", WORDS, "10.0.0.9", NOW)


@given(st.integers(0, 200), st.floats(0, 1e6))
def test_a_wait_is_bounded_and_runs_out(count: int, later_s: float) -> None:
    failures = Failures()
    for _ in range(count):
        failures.add("x", NOW)
    assert 0 <= failures.wait_s("x", NOW + later_s) <= WAIT_S_MAX
    assert failures.wait_s("x", NOW + WAIT_S_MAX) == 0


def test_what_is_remembered_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_module, "NAMES_COUNTED", 10)
    failures = Failures()
    for number in range(1000):
        failures.add(f"{number}", NOW)
    assert len(failures._seen) == 10


@pytest.mark.parametrize("name", ["", "Ann", "a b", "../x", "a" * 129, "-a", "a\n"])
def test_odd_names_are_refused(people: People, name: str) -> None:
    with pytest.raises(PeopleError):
        people.put(name, "hash", (), NOW)


def test_short_passwords_and_unknown_roles_are_refused(people: People) -> None:
    with pytest.raises(PeopleError, match="9 characters"):
        people.hashed("too short")
    with pytest.raises(PeopleError, match="emperor"):
        people.put("ann", "", ("emperor",), NOW)
    with pytest.raises(PeopleError, match="no person"):
        people.put("bo", "", ("viewer",), NOW)
    with pytest.raises(PeopleError, match="no person"):
        people.remove("bo")


def test_a_token_speaks_for_its_person_until_it_ends(store: AccessStore) -> None:
    tokens = Tokens(store)
    text, row = tokens.issue(
        "ann", Door.PASSWORD, label="watch", life_s=60, now_unix_s=NOW, scope=(Action.LOOK,)
    )
    found = tokens.find(text, NOW + 59)
    assert (found.who, found.scope, found.door) == ("ann", {"look"}, Door.PASSWORD)
    with pytest.raises(TokenRefusedError):
        tokens.find(text, NOW + 60)
    assert row.id in text
    assert text not in str(store.rows("SELECT * FROM tokens"))


def test_a_token_that_is_taken_back_is_refused_and_so_is_a_near_miss(store: AccessStore) -> None:
    tokens = Tokens(store)
    text, row = tokens.issue("ann", Door.CERTIFICATE, label="x", life_s=60, now_unix_s=NOW)
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    with pytest.raises(TokenRefusedError):
        tokens.find(wrong, NOW)
    tokens.revoke(row.id)
    with pytest.raises(TokenRefusedError):
        tokens.find(text, NOW)


def test_tokens_of_one_person_are_bounded_in_number_time_and_scope(store: AccessStore) -> None:
    tokens = Tokens(store)
    for _ in range(TOKENS_MAX):
        tokens.issue("ann", Door.PASSWORD, label="x", life_s=60, now_unix_s=NOW)
    with pytest.raises(PeopleError, match="tokens"):
        tokens.issue("ann", Door.PASSWORD, label="x", life_s=60, now_unix_s=NOW)
    for life_s in (0.0, -1.0, float("nan"), 1e12):
        with pytest.raises(PeopleError):
            tokens.issue("bo", Door.PASSWORD, label="x", life_s=life_s, now_unix_s=NOW)
    with pytest.raises(PeopleError, match="conquer"):
        tokens.issue("bo", Door.PASSWORD, label="x", life_s=60, now_unix_s=NOW, scope=("conquer",))
    assert tokens.revoke_all("ann") == TOKENS_MAX


@given(st.text(max_size=300) | st.from_regex(r"skerry_[a-z2-7]{10}_[A-Za-z0-9_-]{40,46}"))
@example("skerry_aaaaaaaaaa_" + "A" * 43 + "\n")
@example("skerry_" + "a" * 100_000)
@example("skerry_aaaaaaaaaa_" + "é" * 43)
def test_any_text_is_a_token_or_refused_at_once(text: str) -> None:
    began_s = time.thread_time()
    try:
        token_id, secret = parse_token(text)
    except TokenRefusedError:
        pass
    else:
        assert text == f"skerry_{token_id}_{secret}"
    assert time.thread_time() - began_s < 0.1
