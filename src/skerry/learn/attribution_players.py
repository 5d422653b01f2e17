"""Who plays: the parts of a model's inputs that an explanation gives shares to.

Each element is a player of its own up to `ELEMENTS_MAX` per input. Above it an image is
cut into a grid of patches, all channels of a patch together, and anything else into
runs of neighbours. Elements that equal the baseline change nothing whoever takes part:
they play in no coalition, cost no run, and get exactly 0.

Shapes:  an input here is one row, without the batch axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ELEMENTS_MAX = 256
PATCHES_PER_AXIS = 8
RUNS_MAX = 64
_CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Players:
    """Which player each element of each input belongs to; -1 for those that play no part."""

    count: int
    of: tuple[NDArray[np.int64], ...]
    grid: bool
    """Whether some input was cut into patches, as an image is."""

    def blend(
        self, coalitions: NDArray[np.bool_], rows: Sequence[Array], baselines: Sequence[Array]
    ) -> list[Array]:
        """Return each input of each coalition, (runs, *shape): x where its player is in."""
        seen = np.concatenate([coalitions, np.ones((len(coalitions), 1), np.bool_)], axis=1)
        return [
            np.where(seen[:, of], row, baseline)  # player -1 reads the last column
            for of, row, baseline in zip(self.of, rows, baselines, strict=True)
        ]

    def spread(self, shares: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        """Return an array like each input; a player's elements sum to the player's share."""
        # Player -1 counts as number `count`, whose share is 0.
        flat = np.concatenate([of.reshape(-1) for of in self.of]) % (self.count + 1)
        sizes = np.bincount(flat, minlength=self.count + 1)[:-1]
        each = np.append(shares / sizes, 0.0)
        return [np.asarray(each[of], dtype=np.float32) for of in self.of]


def players_of(rows: Sequence[Array], baselines: Sequence[Array]) -> Players:
    """Cut the inputs of one request into players, numbered from 0 across all inputs."""
    groups, grids, first = [], [], 0
    for row in rows:
        group, grid = _groups(row.shape)
        groups.append(group + first)
        grids.append(grid)
        first += int(group.max(initial=-1)) + 1
    differs = [_differs(row, baseline) for row, baseline in zip(rows, baselines, strict=True)]
    playing = np.unique(
        np.concatenate([group[mask] for group, mask in zip(groups, differs, strict=True)])
    )
    number = np.full(first, -1, dtype=np.int64)
    number[playing] = np.arange(len(playing))
    of = tuple(
        np.where(mask, number[group], -1) for group, mask in zip(groups, differs, strict=True)
    )
    return Players(len(playing), of, any(grids))


def _differs(row: Array, baseline: Array) -> NDArray[np.bool_]:
    """NaN differs from nothing but a number; an input that is not a number is left to the model."""
    both_nan = (row != row) & (baseline != baseline)
    different: NDArray[np.bool_] = np.asarray((row != baseline) & ~both_nan)
    return different


def _groups(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], bool]:
    """Return each element's group, from 0, and whether the groups are patches of an image."""
    size = int(np.prod(shape, dtype=np.int64))
    if size <= ELEMENTS_MAX:
        return np.arange(size).reshape(shape), False
    axes = _image_axes(shape)
    if axes is None:
        return (np.arange(size) * RUNS_MAX // size).reshape(shape), False
    group = np.zeros(shape, dtype=np.int64)
    for axis in axes:
        length = shape[axis]
        steps = min(PATCHES_PER_AXIS, length)
        along = np.arange(length) * steps // length
        group = group * steps + along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return group, True


def _image_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the axes of height and width, by the place of a short channel axis."""
    match len(shape):
        case 2 if min(shape) > 1:
            return 0, 1
        case 3 if shape[0] in _CHANNELS or shape[2] not in _CHANNELS:
            return 1, 2
        case 3:
            return 0, 1
        case 4:  # a fixed leading axis of 1, as models without a free batch axis have it
            inner = _image_axes(shape[1:])
            return None if inner is None else (inner[0] + 1, inner[1] + 1)
    return None
