"""What the fleet file says about attestation: resolved, compared, and made into what is signed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.fleet.attestation import reference_of
from skerry.fleet.diff import differences
from skerry.schema.attestation import Mode
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet import Fleet
from skerry.testing.swtpm import TestMaker
from skerry.trust.attest.errors import ReferenceFileError

DIGEST = "ab" * 32


def stated(text: str) -> tuple[str, str]:
    return ("links:", f"trust:\n  attestation: {{{text}}}\nlinks:")


REQUIRED = stated("mode: required, makers: makers.pem, reference: reference.json, report: 1 min")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "makers.pem").write_text(TestMaker.create().root_pem)
    write_reference(tmp_path, {"components": {"4": [DIGEST]}, "revoked": ["cd" * 32]})
    return tmp_path


def write_reference(folder: Path, content: object) -> None:
    (folder / "reference.json").write_text(json.dumps(content))


def test_nothing_is_demanded_unless_it_is_stated(clinic: Fleet, tmp_path: Path) -> None:
    assert clinic.trust.attestation.mode is Mode.OFF
    assert reference_of(clinic, tmp_path, 1).mode is Mode.OFF


def test_what_is_signed_holds_makers_digests_and_times(
    clinic_with: Callable[..., Fleet], files: Path
) -> None:
    reference = reference_of(clinic_with(REQUIRED), files, 7)
    assert (reference.mode, reference.generation, reference.fleet) == (Mode.REQUIRED, 7, "clinic")
    assert reference.components == {4: (DIGEST,)}
    assert reference.revoked == ("cd" * 32,)
    assert reference.report_s == 60
    assert reference.roots_pem.startswith("-----BEGIN CERTIFICATE-----")


def test_another_digest_in_the_file_is_a_change_of_the_fleet(
    clinic_with: Callable[..., Fleet], files: Path
) -> None:
    before = clinic_with(REQUIRED)
    assert not differences(before, clinic_with(REQUIRED)).changes
    write_reference(files, {"components": {"4": [DIGEST, "ef" * 32]}})
    (change,) = differences(before, clinic_with(REQUIRED)).changes
    assert change.kind == "attestation"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mode: strict", "no mode `strict`"),
        ("mode: required, reference: reference.json", "needs a file of TPM makers"),
        ("mode: optional, makers: makers.pem", "needs a file of reference values"),
        ("mode: required, makers: m, reference: r, report: 1 s", "out of bounds"),
    ],
)
def test_half_a_demand_is_refused_by_name(
    clinic_with: Callable[..., Fleet], text: str, says: str
) -> None:
    with pytest.raises(FleetFileError, match=says):
        clinic_with(stated(text))


@pytest.mark.parametrize(
    "content", [None, {"components": {"4": ["short"]}}, {"components": {"4": ["AB" * 32]}}, []]
)
def test_a_file_that_holds_no_digests_is_refused(
    clinic_with: Callable[..., Fleet], files: Path, content: object
) -> None:
    if content is None:
        (files / "reference.json").unlink()
    else:
        write_reference(files, content)
    with pytest.raises(ReferenceFileError, match=r"reference\.json"):
        clinic_with(REQUIRED)
