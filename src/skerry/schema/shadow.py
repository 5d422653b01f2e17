"""Shadow mode: which traffic is copied to a candidate, and what the comparison found.

A rule is a setting that people write; a record is what a process leaves of one rule:
counts, sketches and a bounded sample of latencies, and nothing of what was asked or
answered. `skerry.proof.agreement` turns records into figures with intervals.
"""

import math

import msgspec

SHADOW_SCHEMA = "skerry.shadow/1"
HERE = "here"
PARAMETER_SHADOW = "skerry-shadow"
"""Request parameter of a copy, so that who gets it copies it no further."""

PAIRS_MAX = 5000
DIFFERENCE_EDGES: tuple[float, ...] = tuple(10.0 ** (step / 2) for step in range(-18, 13))
"""Upper edges of the sketch of differences: half decades from 1e-9 to 1e6."""

BOUNDS: dict[str, tuple[float, float, str]] = {
    "share": (0, 1, ""),
    "seed": (0, 2**31 - 1, ""),
    "tolerance": (0, math.inf, ""),
    "deadline_s": (0.001, 600, " s"),
    "queue_len_max": (1, 10_000, ""),
    "queue_bytes_max": (1024, 2**33, " bytes"),
    "keep_examples_max": (0, 10_000, ""),
    "keep_bytes_max": (0, 2**33, " bytes"),
}
"""Least and greatest value of each number of a rule, and its unit."""


class ShadowRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Copy a share of one model's requests to a candidate, whose answers nobody gets."""

    model: str
    """Whose requests are copied."""
    to: str = HERE
    """Where copies go: `here`, a node of the fleet (`oslo/1`), or for a client an address."""
    candidate: str = ""
    """The model that is tried there; empty for the same name."""
    version: str = ""
    """The version that is tried; empty for the one that serves."""
    share: float = 0.1
    """Share of the requests that is copied, 0 to 1."""
    seed: int = 0
    """Seed of the draw: which requests are copied repeats with it."""
    tolerance: float | None = None
    """Largest difference at which two numbers count as the same; the card's where left out."""
    deadline_s: float = 5.0
    """Longest time that a copy may take, in seconds."""
    queue_len_max: int = 64
    """Copies that may wait; the next one is dropped and counted."""
    queue_bytes_max: int = 64 * 1024 * 1024
    """Bytes of tensors that may wait."""
    keep_classes: tuple[str, ...] = ()
    """Data classes whose inputs may be kept as examples where the two disagree; none by default."""
    keep_examples_max: int = 20
    """Most examples kept on disk."""
    keep_bytes_max: int = 16 * 1024 * 1024
    """Most bytes of examples kept on disk."""

    @property
    def tried(self) -> str:
        """The name of the candidate."""
        return self.candidate or self.model


class Paired(msgspec.Struct, frozen=True, array_like=True):
    """How long both took for one request, in milliseconds; fields are only ever appended."""

    primary_ms: float
    candidate_ms: float


class ShadowRecord(msgspec.Struct, kw_only=True):
    """What came of one rule so far. Counts add up:

    sampled = compared + failed + dropped + paused + refused + skipped + those under way.
    """

    schema: str = SHADOW_SCHEMA
    model: str
    to: str
    candidate: str
    version: str = ""
    share: float
    seed: int
    started_unix_ms: int = 0
    updated_unix_ms: int = 0
    requests: int = 0
    """Answered requests of the model, copied or not."""
    sampled: int = 0
    """Drawn to be copied."""
    dropped: int = 0
    """Not copied because the queue was full."""
    paused: int = 0
    """Not copied because the candidate had stopped answering."""
    skipped: int = 0
    """Not copied: part of a sequence, which a share of would break, or answered as a stream."""
    refused: dict[str, int] = {}
    """Not copied because the data may not go there: by reason."""
    failed: dict[str, int] = {}
    """Copied and not answered: by error code."""
    compared: int = 0
    """Answered by both."""
    same: int = 0
    """Where both gave the same answer: class, label, text and whole numbers, else within."""
    within: int = 0
    """Where everything, scores too, was within the tolerance."""
    unlike: int = 0
    """Answers that could not be compared: other outputs, shapes or datatypes."""
    abs_difference_max: float = 0.0
    rel_difference_max: float = 0.0
    differences: list[int] = []
    """How many answers had their largest absolute difference up to each of `DIFFERENCE_EDGES`,
    the last entry above all of them."""
    pairs: list[Paired] = []
    """A fair sample of the latencies of both, at most `PAIRS_MAX`."""
    examples_kept: int = 0


def wrong_in(rule: ShadowRule) -> str:
    """Return what cannot be used in a rule, in words; empty where all can."""
    for name, (low, high, unit) in BOUNDS.items():
        value = getattr(rule, name)
        if value is not None and not low <= value <= high:
            return f"{name} is {value:.13g}, wanted {low:.13g} to {high:.13g}{unit}"
    if not rule.model:
        return "model is empty, wanted the name of a model"
    if rule.to == HERE and rule.tried == rule.model and not rule.version:
        return "it compares a model with itself: name a candidate, a version, or another node in to"
    return ""
