"""Files whose kind is known without a model: the Python installation's own, by suffix.

Only suffixes that say one thing are used; `.h` may be C or C++, `.txt` may be anything,
so neither is here. The files are split in two by a hash of the folder they lie in (files
of one folder are often near copies): `train` is what the stand-in learns from, `test` is
what the story sends and every accuracy is taken on.

Source:  magika 1.0.3's content types, for the names of the labels.
"""

import hashlib
import os
import random
import stat
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

LABEL_OF_SUFFIX = {
    ".bat": "batch",
    ".bz2": "bzip",
    ".c": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cs": "cs",
    ".css": "css",
    ".csv": "csv",
    ".exe": "pebin",
    ".f90": "fortran",
    ".gif": "gif",
    ".go": "go",
    ".gz": "gzip",
    ".htm": "html",
    ".html": "html",
    ".ini": "ini",
    ".java": "java",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".js": "javascript",
    ".json": "json",
    ".md": "markdown",
    ".npy": "npy",
    ".npz": "npz",
    ".onnx": "onnx",
    ".pdf": "pdf",
    ".pem": "pem",
    ".pickle": "pickle",
    ".png": "png",
    ".proto": "proto",
    ".ps1": "powershell",
    ".py": "python",
    ".pyc": "pythonbytecode",
    ".pyi": "python",
    ".rst": "rst",
    ".sh": "shell",
    ".so": "elf",
    ".svg": "svg",
    ".tar": "tar",
    ".toml": "toml",
    ".ttf": "ttf",
    ".wav": "wav",
    ".whl": "zip",
    ".xml": "xml",
    ".xz": "xz",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".zip": "zip",
}
FILE_BYTES_MIN = 16
FILE_BYTES_MAX = 4 * 1024**2
_PER_KIND_MAX = 4000  # enough of each kind; a tree of wheels holds tens of thousands of .pyc

Part = Literal["train", "test"]


def truth_files(
    limit: int, seed: int, *, part: Part = "test", roots: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, str]]:
    """Yield up to `limit` files of one part with their true label, kinds mixed, in a seeded order.

    Kinds take turns, so rare ones are all there and the two most common (Python source
    and bytecode) fill the rest.
    """
    by_label: dict[str, list[Path]] = defaultdict(list)
    for path in _files(roots or default_roots(), part):
        label = LABEL_OF_SUFFIX[path.suffix]
        if len(by_label[label]) < _PER_KIND_MAX:
            by_label[label].append(path)
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    for paths in by_label.values():
        chance.shuffle(paths)
    chosen: list[tuple[Path, str]] = []
    while len(chosen) < limit and any(by_label.values()):
        for label in sorted(by_label):
            if by_label[label] and len(chosen) < limit:
                chosen.append((by_label[label].pop(), label))
    chance.shuffle(chosen)
    yield from chosen


def part_of(folder: str) -> Part:
    """Tell which part a folder's files belong to, whatever else is installed."""
    return "train" if hashlib.sha256(os.fsencode(folder)).digest()[0] % 2 else "test"


def default_roots() -> tuple[Path, ...]:
    """Return the standard library and the installed packages of this Python."""
    found = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    return tuple(sorted(path for path in found if path.is_dir()))


@cache
def _files(roots: tuple[Path, ...], part: Part) -> tuple[Path, ...]:
    """Walk the trees once per process: they hold tens of thousands of files."""
    found: list[Path] = []
    seen: set[str] = set()
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders.sort()
            if folder in seen:  # installed packages often lie inside the standard library
                folders.clear()
                continue
            seen.add(folder)
            if part_of(folder) == part:
                found.extend(Path(folder, name) for name in sorted(names) if _usable(folder, name))
    return tuple(found)


def _usable(folder: str, name: str) -> bool:
    if os.path.splitext(name)[1] not in LABEL_OF_SUFFIX:
        return False
    try:
        state = os.lstat(os.path.join(folder, name))
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and FILE_BYTES_MIN <= state.st_size <= FILE_BYTES_MAX


def describe_roots() -> str:
    """Say where the files come from, for reports."""
    return f"files of the Python {sys.version.split()[0]} installation and its packages, by suffix"
