"""Who gives way: the least recently used, never the pinned, and never more than needed."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.memory import Held, give_way


def held(memory_bytes: int, used_at_s: float, *, pinned: bool = False) -> Held:
    return Held(memory_bytes=memory_bytes, used_at_s=used_at_s, pinned=pinned)


def test_the_least_recently_used_goes_first_and_alone_where_that_is_enough() -> None:
    new, old, pinned = held(40, 9.0), held(40, 1.0), held(20, 0.0, pinned=True)
    assert give_way([new, old, pinned], 0, 100) == []
    assert give_way([new, old, pinned], 10, 100) == [1]
    assert give_way([new, old, pinned], 50, 100) == [1, 0]


def test_what_cannot_fit_moves_nobody() -> None:
    assert give_way([held(40, 1.0), held(70, 0.0, pinned=True)], 50, 110) is None
    assert give_way([], 101, 100) is None


versions = st.builds(held, st.integers(0, 100), st.floats(0, 50), pinned=st.booleans())


@given(st.lists(versions, max_size=8), st.integers(0, 300), st.integers(0, 500))
def test_there_is_room_afterwards_and_no_shorter_start_of_the_list_makes_it(
    all_held: list[Held], need_bytes: int, limit_bytes: int
) -> None:
    places = give_way(all_held, need_bytes, limit_bytes)
    total = sum(one.memory_bytes for one in all_held) + need_bytes
    if places is None:
        stays = sum(one.memory_bytes for one in all_held if one.pinned)
        assert stays + need_bytes > limit_bytes
        return
    going = [all_held[place] for place in places]
    assert not any(one.pinned for one in going)
    assert total - sum(one.memory_bytes for one in going) <= limit_bytes
    assert sorted(going, key=lambda one: one.used_at_s) == going
    if going:
        assert total - sum(one.memory_bytes for one in going[:-1]) > limit_bytes
