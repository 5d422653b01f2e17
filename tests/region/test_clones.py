"""One login on two connections: a dial that came again is none, two that both speak are."""

import pytest

from skerry.region.clones import cloned
from skerry.spine.nats_admin import LiveConnection


def connection(
    number: int, began_s: float, active_s: float, *, public: str = "U1"
) -> LiveConnection:
    return LiveConnection(id=number, public=public, began_unix_s=began_s, active_unix_s=active_s)


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ([connection(1, 0, 100)], set()),
        ([connection(1, 0, 50), connection(2, 51, 100)], set()),
        ([connection(1, 0, 90), connection(2, 51, 100)], {"U1"}),
        ([connection(2, 51, 100), connection(1, 0, 90)], {"U1"}),
        ([connection(1, 0, 90), connection(2, 51, 100, public="U2")], set()),
        ([connection(1, 0, 20), connection(2, 10, 90), connection(3, 50, 51)], {"U1"}),
    ],
)
def test_a_key_is_cloned_where_an_older_connection_still_speaks(
    held: list[LiveConnection], found: set[str]
) -> None:
    assert cloned(held) == found
