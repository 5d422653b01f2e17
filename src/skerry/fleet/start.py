"""A fleet folder from a template: the file, the schema for editors, what git should skip."""

import re
from importlib.resources import files
from pathlib import Path

import msgspec

from skerry.base.files import private_folder, write_atomic
from skerry.fleet.applied import STATE_FOLDER
from skerry.fleet.errors import TemplateError
from skerry.fleet.load import FLEET_FILE
from skerry.schema.fleet_file import editor_schema

SCHEMA_FILE = "fleet.schema.json"
TEMPLATES = ("clinic",)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def start_from(template: str, name: str, folder: Path) -> Path:
    """Write a template into a folder under a fleet name; return the fleet file's path.

    An existing fleet file is never touched; other files in the folder may be there.
    """
    if template not in TEMPLATES:
        raise TemplateError(f"no template `{template}`", f"templates are: {', '.join(TEMPLATES)}")
    if not _NAME.fullmatch(name):
        raise TemplateError(
            f"`{name}` cannot name a fleet", "wanted 1 to 63 of a-z, 0-9 and `-`, such as `clinic`"
        )
    target = folder / FLEET_FILE
    if target.exists():
        raise TemplateError(f"{target} is there already", "choose another folder: --folder DIR")
    text = template_text(template)
    text = text.replace(f"name: {template}\n", f"name: {name}\n", 1)
    text = text.replace(f"domain: {template}.example", f"domain: {name}.example", 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state = private_folder(folder / STATE_FOLDER)
        schema = msgspec.json.format(msgspec.json.encode(editor_schema()), indent=2)
        write_atomic(state / SCHEMA_FILE, schema + b"\n")
        write_atomic(target, text.encode())
        ignore = folder / ".gitignore"
        if not ignore.exists():
            write_atomic(ignore, f"{STATE_FOLDER}/*\n!{STATE_FOLDER}/{SCHEMA_FILE}\n".encode())
    except OSError as error:
        raise TemplateError(
            f"{folder} cannot be written: {error.strerror}", "choose another: --folder DIR"
        ) from error
    return target


def template_text(template: str) -> str:
    """Return a template's fleet file."""
    source = files("skerry.fleet").joinpath("templates", template, FLEET_FILE)
    return source.read_text("utf-8")
