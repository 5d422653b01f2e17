"""A fleet is upgraded in any order: documents between processes grow, and old ones still decode.

`documents.json` has the fields that each document needed when its version was cut. A document may
get more fields, with a default; what an older program sends then still decodes, and what a newer
one adds is passed over. `python tests/schema/test_mixed_versions.py` writes it for a new version.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

import skerry.schema
from skerry.schema.observed import ObservedModel

NEEDED = Path(__file__).with_name("documents.json")
WRITTEN_BY_PEOPLE = ("_file", "authored", "yaml_reader", "csv_sites", "runtime", "lock")
"""Modules of files that people write: there an unknown key is a slip, and is refused."""


def documents() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for module in pkgutil.iter_modules(skerry.schema.__path__):
        if module.name.endswith(("_pb2", *WRITTEN_BY_PEOPLE)):
            continue
        found = importlib.import_module(f"skerry.schema.{module.name}")
        for name, kind in vars(found).items():
            if (
                isinstance(kind, type)
                and issubclass(kind, msgspec.Struct)
                and kind.__module__ == found.__name__
                and not kind.__struct_config__.forbid_unknown_fields
                and not name.startswith("_")
            ):
                yield f"{module.name}.{name}", kind


def needed(kind: type[msgspec.Struct]) -> list[str]:
    return sorted(field.encode_name for field in msgspec.structs.fields(kind) if field.required)


def test_no_document_needs_more_than_it_did_in_the_version_before() -> None:
    now = dict(documents())
    for name, fields in json.loads(NEEDED.read_text()).items():
        assert name in now, f"{name} is gone: who still sends it?"
        more = set(needed(now[name])) - set(fields)
        assert not more, f"{name} needs {', '.join(sorted(more))}, which older programs do not send"


def test_what_a_newer_program_adds_is_passed_over() -> None:
    seen = ObservedModel(name="magika", version=3, ready=True)
    document = msgspec.json.decode(msgspec.json.encode(seen))
    document["of_a_later_version"] = {"deep": [1, 2]}
    assert msgspec.json.decode(msgspec.json.encode(document), type=ObservedModel) == seen


if __name__ == "__main__":
    found = {name: needed(kind) for name, kind in documents()}
    NEEDED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
