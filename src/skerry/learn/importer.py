"""`skerry model add`: from what a trainer left to a checked model in the repository.

    read -> convert -> stage -> load -> run -> compare -> batch -> card -> rename -> pin

Nothing is in the repository until every check has passed; then all of it is.

Errors:  LearnError and its kinds; LockError, for a version pinned to other bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import SkerryError
from skerry.learn.checks import (
    Bench,
    Load,
    compare,
    made_inputs,
    read_arrays,
    read_check,
    samples,
)
from skerry.learn.declaration import Declaration
from skerry.learn.errors import DeclarationError, UnusableModelError
from skerry.learn.onnx_file import default_opset, has_free_first_axis, name_batch_axis
from skerry.learn.store import complete, put, refuse_other_bytes, staged, write_model
from skerry.learn.trained import Trained, read_trained
from skerry.schema.lock import read_lock, write_lock
from skerry.schema.model import MODEL_FILE, Card, Manifest, Origin

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added. `compared_with` is `trainer`, `expected outputs` or `itself`."""

    card: Card
    manifest: Manifest
    manifest_sha256: str
    folder: Path
    compared_with: str
    difference_max: float


def add_file(
    path: Path,
    declaration: Declaration,
    repository: Path,
    *,
    load: Load,
    trust_pickle: bool = False,
    check: Path | None = None,
    labels: Sequence[str] = (),
    check_card: Callable[[Card], object] | None = None,
    lock_folder: Path | None = None,
    origin: Origin | None = None,
) -> Added:
    """Read a model file and add it; `check_card` raises if the declared steps cannot work."""
    example = tuple(read_arrays(check).values()) if check and path.suffix in {".pt", ".pth"} else ()
    trained = read_trained(path, trust_pickle=trust_pickle, example=example)
    return add_trained(
        trained,
        declaration,
        repository,
        load=load,
        file=str(path),
        check=check if not example else None,
        labels=labels,
        check_card=check_card,
        lock_folder=lock_folder,
        origin=origin,
    )


def add_trained(
    trained: Trained,
    declaration: Declaration,
    repository: Path,
    *,
    load: Load,
    file: str = "the model",
    check: Path | None = None,
    labels: Sequence[str] = (),
    check_card: Callable[[Card], object] | None = None,
    lock_folder: Path | None = None,
    origin: Origin | None = None,
) -> Added:
    """Check a model that a trainer handed over, and add it."""
    tolerance = declaration.tolerance
    rows = has_free_first_axis(trained.model)
    if rows:
        name_batch_axis(trained.model)
    with staged(repository, declaration.name) as folder:
        bench, expected = _bench(trained, folder, file=file, load=load, check=check, rows=rows)
        outputs = bench.run()
        names = bench.loaded.output_names
        compare(names, bench.run(), outputs, tolerance=tolerance, reference="its own first run")
        wanted, reference = outputs, "itself"
        if expected is not None:
            wanted, reference = expected, "expected outputs"
        elif trained.predict is not None:
            wanted, reference = trained.predict(bench.inputs), "trainer"
        worst = compare(names, outputs, wanted, tolerance=tolerance, reference=f"the {reference}")
        max_batch = bench.max_batch(outputs, tolerance) if rows else 0
        card = Card(
            name=declaration.name,
            version=declaration.version,
            summary=declaration.summary,
            licence=declaration.licence,
            source=declaration.source,
            framework=trained.framework,
            opset=default_opset(trained.model),
            inputs=bench.loaded.inputs,
            outputs=bench.loaded.outputs,
            pre=declaration.steps(declaration.pre),
            post=declaration.steps(declaration.post),
            labels=tuple(labels or declaration.labels or trained.labels),
            data_class=declaration.data_class,
            metrics=declaration.metrics,
            state=declaration.state,
            samples=samples(bench.inputs, wanted_as(outputs, wanted), by_row=max_batch > 0),
            tolerance=tolerance,
            max_batch=max_batch,
        )
        if check_card is not None and (card.pre or card.post):
            check_card(card)
        return put_card(folder, repository, card, lock_folder, reference, worst, origin=origin)


def wanted_as(outputs: Sequence[Array], wanted: Sequence[Array]) -> list[Array]:
    """Return the trainer's outputs in the types that the exported model gives."""
    return [np.asarray(b).astype(a.dtype) for a, b in zip(outputs, wanted, strict=True)]


def _bench(
    trained: Trained, folder: Path, *, file: str, load: Load, check: Path | None, rows: bool
) -> tuple[Bench, list[Array] | None]:
    path = write_model(folder, trained.model.SerializeToString(deterministic=True))
    try:
        loaded = load(path)
    except SkerryError as error:
        reason = str(error).replace(str(path), "").strip(" :")
        raise UnusableModelError(
            file, f"does not load ({reason})", "a model that ONNX Runtime can serve"
        ) from error
    for spec in (*loaded.inputs, *loaded.outputs):
        if spec.datatype == "BYTES":
            raise UnusableModelError(file, f"{spec.name!r} is text", "numbers in and out")
    expected: list[Array] | None = None
    if check is not None:
        inputs, expected = read_check(check, loaded.inputs, loaded.outputs)
    else:
        inputs = trained.example or made_inputs(loaded.inputs, free_rows=rows)
    if rows and len({array.shape[:1] for array in inputs}) != 1:
        raise DeclarationError("--check", "inputs with unlike numbers of rows", "the same for all")
    if any(array.size == 0 for array in inputs):
        raise DeclarationError("--check", "an empty input", "at least one row")
    return Bench(file, loaded, inputs), expected


def put_card(
    folder: Path,
    repository: Path,
    card: Card,
    lock_folder: Path | None,
    reference: str,
    worst: float,
    files: Sequence[str] = (MODEL_FILE,),
    *,
    origin: Origin | None = None,
) -> Added:
    """Complete a staged model with its card, move it into its place, and pin it."""
    manifest, digest = complete(folder, card, files, origin)
    target = repository / card.name / str(card.version)
    refuse_other_bytes(target, manifest, digest)
    if lock_folder is None:
        put(folder, repository, manifest)
    else:
        lock = read_lock(lock_folder).with_model(card.name, card.version, digest)  # or refuse
        put(folder, repository, manifest)
        write_lock(lock_folder, lock)
    return Added(
        card=card,
        manifest=manifest,
        manifest_sha256=digest,
        folder=target,
        compared_with=reference,
        difference_max=worst,
    )
