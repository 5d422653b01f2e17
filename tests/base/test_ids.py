"""Ids: a token can be a file name, a NATS subject token and a URI host at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.ids import IdError, node_name, token


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_every_rfc_1123_label_is_a_token(value: str) -> None:
    assert token("site", value) == value


@given(st.text(max_size=70))
def test_what_passes_holds_no_dot_no_slash_no_wildcard_and_no_capital(value: str) -> None:
    try:
        token("site", value)
    except IdError:
        return
    assert value.isascii()
    assert not set(value) & set("./*> _%\n")
    assert value == value.lower()


@pytest.mark.parametrize("bad", ["", "-a", "a-", "a.b", "a/b", "a*", "oslo\n", "å", "a" * 64])
def test_a_bad_id_is_named_with_its_kind(bad: str) -> None:
    with pytest.raises(IdError, match="cannot name a site"):
        node_name(bad, 1)
