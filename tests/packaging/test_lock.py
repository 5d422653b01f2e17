"""The lock pins everything by hash, names no address, and covers all of pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_LOCKED = {"torch", "onnxscript", "tpm2-pytss", "ray"}
"""PyTorch is several hundred MB and in no target of the Makefile: its own extra, unlocked.
tpm2-pytss is built from source against a system library: `requirements-tpm.lock` has it alone.
Ray is large and for sweeps over many machines: `requirements-sweeps.lock` has it."""


OTHER_LOCKS = {"tpm2-pytss": "requirements-tpm.lock", "ray": "requirements-sweeps.lock"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(lines: list[str]) -> set[str]:
    return {normal(re.split(r"[^A-Za-z0-9_.-]", line)[0]) for line in lines} - {"skerry"}


def entries() -> list[str]:
    """One text per locked package: its pin, its hashes, its reasons."""
    return re.findall(r"^[a-z0-9][^\n]*(?:\n[ \t]+[^\n]*)*", LOCK, re.MULTILINE)


def test_every_package_is_pinned_and_has_hashes() -> None:
    assert len(entries()) > 50
    for entry in entries():
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^\s;]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert set(re.findall(r"--hash=(\w+):", LOCK)) == {"sha256"}


def test_the_lock_names_no_address() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|file:", LOCK)


def test_everything_the_project_asks_for_is_locked() -> None:
    locked = {normal(entry.split("==")[0]) for entry in entries()}
    project = PROJECT["project"]
    asked = names(project["dependencies"]) | names(PROJECT["dependency-groups"]["dev"])
    for lines in project["optional-dependencies"].values():
        asked |= names(lines)
    assert asked - NOT_LOCKED - locked == set()
    assert not locked & NOT_LOCKED
    for package, name in OTHER_LOCKS.items():
        text = (ROOT / name).read_text()
        assert re.search(rf"^{package}==\S+ \\$", text, re.MULTILINE), name
        assert "--hash=sha256:" in text
        assert not re.search(r"://|--(extra-)?index-url|--find-links|file:", text)


def test_the_notices_list_what_is_locked() -> None:
    listed = set(re.findall(r"^\| ([a-z0-9._-]+) \|", (ROOT / "THIRD_PARTY.md").read_text(), re.M))
    assert listed - {"package"} == {entry.split("==")[0] for entry in entries()}


def test_every_extra_that_a_page_names_exists() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")]
    for page in pages:
        for named in re.findall(r"skerry\[([a-z, ]+)\]", page.read_text()):
            assert set(re.split(r",\s*", named)) <= extras, f"{page}: {named}"


def test_imports_go_down_only() -> None:
    found = subprocess.run(
        [sys.executable, "tools/floor_plan.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_package_imports_alone_and_says_its_version() -> None:
    code = "import sys, skerry; print(skerry.__version__, sum('skerry' in m for m in sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.split() == [PROJECT["project"]["version"], "1"]
