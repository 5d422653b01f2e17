"""The `trust.updates` part: what models demand of machines and of each other, by known names."""

from collections.abc import Callable

import pytest

from skerry.fleet.diff import differences
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet import Fleet
from skerry.schema.trust import Updates

Load = Callable[..., Fleet]


def updates(text: str) -> tuple[str, str]:
    return ("links:", f"trust:\n  updates: {{{text}}}\nlinks:")


def test_nothing_is_demanded_unless_written(clinic: Fleet) -> None:
    assert clinic.trust.updates == Updates()


def test_what_is_written_is_sorted_and_kept(clinic_with: Load) -> None:
    fleet = clinic_with(updates("min_release: 4, hw: {magika: [mini-pc, mini-pc]}"))
    assert differences(clinic_with(), fleet).changes
    assert fleet.trust.updates == Updates(min_release=4, hw={"magika": ("mini-pc",)})


@pytest.mark.parametrize(
    "text",
    ["hw: {nobody: [mini-pc]}", "hw: {magika: [toaster]}", "needs: {magika: [nobody]}"],
)
def test_unknown_names_are_refused(clinic_with: Load, text: str) -> None:
    with pytest.raises(FleetFileError):
        clinic_with(updates(text))
