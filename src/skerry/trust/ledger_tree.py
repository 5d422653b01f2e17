"""The Merkle tree over a ledger: one hash for all of it, short proofs about parts of it.

    leaf = SHA-256(0x00 || previous leaf || body)        node = SHA-256(0x01 || left || right)

Leaves are chained as well as treed: the chain finds a loss inside one ledger, the tree lets
somebody who keeps 32 bytes check a ledger of any size. Full subtrees of 256, 65,536, ... leaves
are kept as tiles, so that a proof reads a few hundred hashes at most.

Units:   sizes count leaves; index counts from 0, `seq` of an entry from 1.
Source:  RFC 6962 section 2.1; verification after RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

HASH_BYTES = 32
TILE_LEVEL = 8
TILE = 1 << TILE_LEVEL
EMPTY_ROOT = hashlib.sha256().digest()


class Hashes(Protocol):
    """Where the hashes of a tree are kept."""

    def leaves(self, low: int, high: int) -> list[bytes]:
        """Return the leaves from `low` up to, not including, `high`."""
        ...

    def tile(self, level: int, index: int) -> bytes:
        """Return the root of a full subtree of 2**level leaves; level is a multiple of 8."""
        ...


def leaf_hash(previous: bytes, body: bytes) -> bytes:
    """Return the hash of an entry, chained to the one before it."""
    return hashlib.sha256(b"\x00" + previous + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def chain_start(origin: str) -> bytes:
    """Return what stands before the first entry: no entry fits into another ledger."""
    return hashlib.sha256(b"skerry audit chain\n" + origin.encode()).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its full subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[tuple[int, bytes]] = []

    @classmethod
    def of(cls, hashes: Hashes, size: int) -> "Frontier":
        """Return the right edge of a tree that is kept."""
        edge = cls()
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                low = edge.size
                edge._roots.append((level, subtree_root(hashes, low, low + (1 << level))))
                edge.size += 1 << level
        return edge

    def copy(self) -> "Frontier":
        """Return an edge that grows apart from this one."""
        other = Frontier()
        other.size, other._roots = self.size, self._roots.copy()
        return other

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf; returns the tiles that it completes as (level, index, root)."""
        tiles = []
        level, root = 0, leaf
        while self._roots and self._roots[-1][0] == level:
            root = node_hash(self._roots.pop()[1], root)
            level += 1
            if level % TILE_LEVEL == 0:
                tiles.append((level, self.size >> level, root))
        self._roots.append((level, root))
        self.size += 1
        return tiles

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1][1]
        for _, left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << (size - 1).bit_length() - 1


def _fold(leaves: Sequence[bytes]) -> bytes:
    edge = Frontier()
    for leaf in leaves:
        edge.append(leaf)
    return edge.root()


def subtree_root(hashes: Hashes, low: int, high: int) -> bytes:
    """Return the root over the leaves from `low` up to, not including, `high`."""
    size = high - low
    if size < TILE:
        return _fold(hashes.leaves(low, high))
    level = size.bit_length() - 1
    if size == 1 << level and low % size == 0 and level % TILE_LEVEL == 0:
        return hashes.tile(level, low >> level)
    middle = low + _split(size)
    return node_hash(subtree_root(hashes, low, middle), subtree_root(hashes, middle, high))


def inclusion_proof(hashes: Hashes, index: int, size: int) -> list[bytes]:
    """Return what shows that the leaf at `index` is in the tree of `size` leaves."""
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(subtree_root(hashes, middle, high))
            high = middle
        else:
            proof.append(subtree_root(hashes, low, middle))
            low = middle
    return proof[::-1]


def included(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a proof shows that a leaf is in the tree with this root."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and found == root


def consistency_proof(hashes: Hashes, old_size: int, size: int) -> list[bytes]:
    """Return what shows that the tree of `size` leaves begins with that of `old_size`."""
    proof: list[bytes] = []
    low, high, whole = 0, size, True
    if not 0 < old_size < size:
        return proof
    while old_size < high:
        middle = low + _split(high - low)
        if old_size <= middle:
            proof.append(subtree_root(hashes, middle, high))
            high = middle
        else:
            proof.append(subtree_root(hashes, low, middle))
            low, whole = middle, False
    if not whole:
        proof.append(subtree_root(hashes, low, high))
    return proof[::-1]


def consistent(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether a proof shows that one tree is the beginning of another."""
    if not 0 <= old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    if old_size == 0:
        return not proof
    path = list(proof)
    if old_size & old_size - 1 == 0:
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old_size - 1, size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and old == old_root and new == root
