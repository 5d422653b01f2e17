"""The fair queue: loses nothing, keeps each client's order, and lets nobody wait for a crowd."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.fair_queue import FairQueue


@dataclass(frozen=True)
class Item:
    client: int
    priority: int
    number: int


sent = st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 0, 0, 1, 2])), max_size=40)


def filled(sent: list[tuple[int, int]]) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for number, (client, priority) in enumerate(sent):
        queue.push(Item(client, priority, number))
    return queue


def drained(queue: FairQueue[Item]) -> list[Item]:
    found = []
    while queue:
        first = queue.first()
        found.append(queue.pop())
        assert found[-1] is first
    return found


@given(sent)
def test_everything_comes_out_once_urgent_first_and_each_client_in_order(
    sent: list[tuple[int, int]],
) -> None:
    found = drained(filled(sent))
    assert sorted(item.number for item in found) == list(range(len(sent)))
    levels = [item.priority or 99 for item in found]
    assert levels == sorted(levels)
    for client in range(1, 5):
        for priority in range(3):
            own = [i.number for i in found if (i.client, i.priority) == (client, priority)]
            assert own == sorted(own)


@given(sent, st.integers(0, 30))
def test_it_works_while_it_is_filled(sent: list[tuple[int, int]], pops: int) -> None:
    queue = filled(sent)
    taken = [queue.pop() for _ in range(min(pops, len(queue)))]
    for number, (client, priority) in enumerate(sent, start=100):
        queue.push(Item(client, priority, number))
    assert len(queue) == 2 * len(sent) - len(taken)
    assert len({item.number for item in taken + drained(queue)}) == 2 * len(sent)


@given(st.integers(1, 50), st.integers(1, 10))
def test_one_request_waits_for_one_of_each_other_client(crowd: int, others: int) -> None:
    sent = [(client, 0) for client in range(1, others + 1) for _ in range(crowd)] + [(99, 0)]
    clients = [item.client for item in drained(filled(sent))]
    assert clients.index(99) == others
