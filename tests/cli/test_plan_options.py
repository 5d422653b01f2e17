"""Options of plan verbs: numbers are finite, shares are shares, and a page has a folder."""

from pathlib import Path

import pytest

from skerry.cli.main import run

EXAMPLES = Path(__file__).parents[2] / "examples"
CLINIC = str(EXAMPLES / "clinic" / "fleet.yaml")
BATCHING = ("batching", "--gpu", "H100")
PANELS = ("energy", "--place", "52.5,13.4", "--load-kw", "1")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((*BATCHING, "--inter-token-ms", "nan"), "--inter-token-ms"),
        ((*BATCHING, "--inter-token-ms", "12", "--pue", "inf"), "--pue"),
        (
            (*BATCHING, "--inter-token-ms", "12", "--tokens-per-request", "1e300"),
            "--tokens-per-request",
        ),
        ((*BATCHING, "--inter-token-ms", "12", "--requests-per-s", "1e300"), "--requests-per-s"),
        (("energy", "--place", "52.5,13.4", "--load-kw", "nan"), "--load-kw"),
        (("energy", "--place", "52.5,13.4", "--load-kw", "inf"), "--load-kw"),
        (("energy", "--place", "52.5,13.4", "--tilt", "nan"), "--tilt"),
        (("carbon", "--place", "DEU", "--load-kw", "1e300"), "--load-kw"),
        (("carbon", "--place", "DEU", "--load-kw", "nan"), "--load-kw"),
        (("cooling", "--it-kw", "nan", "--mean-c", "9"), "--it-kw"),
        (("consolidate", "--trace", "t.csv", "--service", "1", "--idle-w", "nan"), "--idle-w"),
        (("supply", "--loss-per-hour", "nan"), "--loss-per-hour"),
        (("shift", "--signal", "s.csv", "--threshold", "5"), "--threshold"),
        (("shift", "--signal", "s.csv", "--threshold", "nan"), "--threshold"),
        (("shift", "--signal", "s.csv", "--forecast-error", "5"), "--forecast-error"),
        ((*PANELS, "--battery-efficiency", "150%"), "--battery-efficiency"),
    ],
)
def test_a_number_that_is_none_is_refused_by_its_option(
    words: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", *words]) == 2
    said = capsys.readouterr().err
    assert "error[E0002]" in said
    assert f"'{option}'" in said


def test_loads_at_the_bounds_end_in_figures(capsys: pytest.CaptureFixture[str]) -> None:
    most = ("--inter-token-ms", "1e6", "--tokens-per-request", "1e7", "--requests-per-s", "1e9")
    assert run(["plan", *BATCHING, *most, "--json"]) == 0
    assert "accelerators" in capsys.readouterr().out


def test_a_share_above_one_is_written_with_a_percent_sign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["plan", "shift", "--signal", "s.csv", "--threshold", "5"]) == 2
    assert "5%" in capsys.readouterr().err
    assert run(["plan", "shift", "--signal", "s.csv", "--all", "--threshold", "500%"]) == 3


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc", "a-file"])
@pytest.mark.parametrize(
    "words",
    [
        ("plan", "-f", CLINIC, "--report"),
        ("plan", "site", "--instance", "none.json", "--report"),
        ("worth", "none.csv", "--report"),
        ("report", "tco", "-f", "none.yaml", "--out"),
        ("report", "story", "--from", "none.json", "--out"),
    ],
)
def test_a_page_without_a_folder_is_refused_before_anything_is_read(
    words: tuple[str, ...],
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert run([*words, f"{folder}/x.html"]) == 2
    said = capsys.readouterr().err
    assert f"{folder}/x.html" in said
    assert "error[E0002]" in said
    assert "= help: " in said


def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from skerry.base import files

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    page = tmp_path / "x.html"
    assert run(["plan", "cooling", "--it-kw", "5", "--mean-c", "9", "--report", str(page)]) == 2
    said = capsys.readouterr().err
    assert f"{page} cannot be written: No space left on device" in said
