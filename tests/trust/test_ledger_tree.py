"""The tree: its roots are RFC 6962's, and its proofs prove exactly what is so."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.trust.ledger_tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    consistent,
    included,
    inclusion_proof,
    leaf_hash,
    subtree_root,
)


class Kept:
    """Leaves and tiles in memory."""

    def __init__(self, size: int) -> None:
        self.all = [hashlib.sha256(b"%d" % n).digest() for n in range(size)]
        self.edge, self.tiles = Frontier(), {}
        for leaf in self.all:
            for level, index, root in self.edge.append(leaf):
                self.tiles[level, index] = root

    def leaves(self, low: int, high: int) -> list[bytes]:
        return self.all[low:high]

    def tile(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]


TREE = Kept(1400)


def by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, written as it stands there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_the_book(leaves[:k]) + by_the_book(leaves[k:])).digest()


def test_the_roots_are_those_of_the_standard() -> None:
    edge = Frontier()
    assert edge.root() == EMPTY_ROOT
    for size, leaf in enumerate(TREE.all[:300], 1):
        edge.append(leaf)
        assert edge.root() == by_the_book(TREE.all[:size])


def test_a_leaf_of_nothing_is_the_published_one() -> None:
    """The leaf hash of an empty entry, from RFC 6962's own test vectors."""
    known = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"", b"").hex() == known


@settings(deadline=None)
@given(st.integers(1, 1400), st.data())
def test_every_leaf_is_proved_where_it_is_and_nowhere_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = by_the_book(TREE.all[:size]), inclusion_proof(TREE, index, size)
    leaf = TREE.all[index]
    assert included(leaf, index, size, root, proof)
    assert not included(TREE.all[index - 1] if size > 1 else bytes(32), index, size, root, proof)
    assert not included(leaf, index, size, bytes(32), proof)
    assert not included(leaf, index + size, size, root, proof)
    assert not included(leaf, index, size, root, [*proof, leaf])


@settings(deadline=None)
@given(st.integers(0, 1400), st.integers(0, 1400))
def test_one_tree_is_proved_to_continue_another(one: int, two: int) -> None:
    old, new = sorted((one, two))
    before, after = by_the_book(TREE.all[:old]), by_the_book(TREE.all[:new])
    proof = consistency_proof(TREE, old, new)
    assert consistent(old, before, new, after, proof)
    if old > 0:
        assert not consistent(old, bytes(32), new, after, proof)
    if 0 < old < new:
        assert not consistent(old, before, new, bytes(32), proof)
        assert not consistent(old, before, new, after, proof[:-1])
    if old < new:
        assert not consistent(new, after, old, before, proof)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 1400])
def test_a_kept_tree_goes_on_where_it_ended(size: int) -> None:
    edge = Frontier.of(TREE, size)
    assert edge.root() == by_the_book(TREE.all[:size])
    for leaf in TREE.all[size : size + 3]:
        edge.append(leaf)
    assert edge.root() == by_the_book(TREE.all[: size + 3])


def test_a_tile_stands_for_its_leaves() -> None:
    assert subtree_root(TREE, 256, 512) == by_the_book(TREE.all[256:512])


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=8), st.integers(), st.integers())
def test_a_made_up_proof_proves_nothing(proof: list[bytes], old: int, size: int) -> None:
    assert not consistent(old, b"a" * 32, size, b"b" * 32, proof) or old == 0
    assert not included(b"a" * 32, old, size, b"b" * 32, proof)
