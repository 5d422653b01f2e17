"""What a fleet demands of hands on its machines: from the file to every node's desired state."""

from collections.abc import Callable

import pytest

from skerry.fleet.desired import desired_documents
from skerry.fleet.diff import differences
from skerry.schema.custody import Step
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet import Fleet
from skerry.schema.tamper import Reaction, TamperPolicy
from skerry.testing.papers import SIGNERS

Load = Callable[..., Fleet]
KEY = SIGNERS["anna"].key


def trust(text: str) -> tuple[str, str]:
    return ("links:", f"trust:\n{text}\nlinks:")


STATED = trust(
    f"""
  tamper: {{on_open: quarantine, on_lost: alarm, forget_enrolment: true, debounce: 1 s}}
  custody:
    required: true
    signers:
      - {{name: anna, key: "{KEY}", may: [window, visit, window]}}"""
)


def test_every_site_is_told_how_to_react_and_whose_signature_counts(clinic_with: Load) -> None:
    fleet = clinic_with(STATED)
    (signer,) = fleet.trust.custody.signers
    assert (signer.name, signer.key, signer.may) == ("anna", KEY, (Step.WINDOW, Step.VISIT))
    for desired in desired_documents(fleet, 1, {}, "p").values():
        assert desired.tamper == TamperPolicy(
            on_open=Reaction.QUARANTINE,
            on_lost=Reaction.ALARM,
            forget_enrolment=True,
            debounce_s=1.0,
        )
        assert desired.custody == fleet.trust.custody


def test_what_is_left_out_is_the_hardest_reaction(clinic: Fleet) -> None:
    assert clinic.trust.tamper == TamperPolicy()
    assert clinic.trust.tamper.on_open is Reaction.ZERO


def test_a_change_is_shown(clinic: Fleet, clinic_with: Load) -> None:
    kinds = {change.kind for change in differences(clinic, clinic_with(STATED)).changes}
    assert {"tamper", "custody"} <= kinds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  tamper: {on_open: explode}", "no reaction `explode`"),
        ("  tamper: {debounce: 1 h}", "out of bounds"),
        ("  custody: {required: true}", "nobody's signature counts"),
        ("  custody: {signers: [{name: a, key: AAAA, may: [visit]}]}", "wanted 32"),
        ("  custody: {signers: [{name: a, key: '!', may: [visit]}]}", "no base64"),
        ("  custody: {signers: [{name: a, key: A-KEY, may: [eat]}]}", "no step `eat`"),
        (
            "  custody: {signers: [{name: a, key: A-KEY, may: [visit]},"
            " {name: a, key: A-KEY, may: [visit]}]}",
            "two signers `a`",
        ),
    ],
)
def test_what_cannot_be_is_named(clinic_with: Load, text: str, words: str) -> None:
    with pytest.raises(FleetFileError, match=words):
        clinic_with(trust(text.replace("A-KEY", f"'{KEY}'")))
