"""The cache of what was used lately: what is in use stays, and floods stay within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.base.recent_cache import RecentCache


def test_what_is_in_use_survives_a_flood_of_keys_that_never_come_back() -> None:
    cache: RecentCache[str, int] = RecentCache(1000)
    cache.put("hot", 1, 10)
    for number in range(10_000):
        cache.put(f"cold {number}", number, 10)
        assert cache.get("hot") == 1
        assert len(cache) <= 101


def test_what_is_too_large_is_not_kept() -> None:
    cache: RecentCache[str, int] = RecentCache(1000)
    cache.put("small", 1, 10)
    cache.put("large", 2, 501)
    assert (cache.get("small"), cache.get("large")) == (1, None)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 300), st.booleans()), max_size=60))
def test_a_find_is_what_was_put_last_and_sizes_stay_within_the_bound(steps: list[object]) -> None:
    cache: RecentCache[int, int] = RecentCache(1000)
    put: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for value, (key, size, look) in enumerate(steps):  # type: ignore[misc]
        if look:
            assert cache.get(key) in (None, put.get(key))
        else:
            cache.put(key, value, size)
            put[key], sizes[key] = value, size
            assert cache.get(key) == value
        assert sum(cache._sizes.values()) <= 500
        assert sum(cache._old_sizes.values()) <= 500
