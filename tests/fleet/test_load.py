"""Fleet files from disk: the example resolves, and broken ones print exactly their golden text."""

from pathlib import Path

import pytest

from skerry.base.errors import Exit
from skerry.fleet.load import load_checked, load_fleet
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet import Kind

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "clinic" / "fleet.yaml"
GOLDEN = ROOT / "tests" / "golden" / "fleet"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())

HEAD = "apiVersion: skerry/v1\nkind: {kind}\n"


def test_there_are_at_least_twenty_broken_files() -> None:
    assert len(CASES) >= 20


@pytest.mark.parametrize("case", CASES)
def test_a_broken_file_prints_its_golden_text(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN / case)
    with pytest.raises(FleetFileError) as caught:
        load_checked(Path("fleet.yaml"))
    assert str(caught.value) + "\n" == Path("expected.txt").read_text()
    assert caught.value.exit_code is Exit.FILE_INVALID
    assert all(problem.place is not None for problem in caught.value.problems)


def test_the_example_resolves_and_no_is_norway() -> None:
    fleet = load_fleet(EXAMPLE)
    assert {site.name: site.jurisdiction for site in fleet.sites} == {
        "oslo": "NO",
        "bergen": "NO",
        "hamburg": "DE",
        "region-eu": "DE",
        "cloud": "IE",
    }
    assert fleet.site("cloud").kind is Kind.CLOUD
    assert [site.name for site in fleet.regions()] == ["region-eu", "cloud"]


def test_the_template_is_the_example() -> None:
    template = ROOT / "src" / "skerry" / "fleet" / "templates" / "clinic" / "fleet.yaml"
    assert template.read_text() == EXAMPLE.read_text()


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(FleetFileError, match=r"cannot be read: No such file"):
        load_fleet(tmp_path / "fleet.yaml")


def test_a_folder_of_objects_is_one_fleet_and_errors_name_the_right_file(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    block = text[text.index("  - name: hamburg") : text.index("  - name: region-eu")]
    (tmp_path / "main.yaml").write_text(text.replace(block, ""))
    site = HEAD.format(kind="Site") + block.replace("  - name", "    name").replace("    ", "")
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "hamburg.yaml").write_text(site)
    fleet = load_fleet(tmp_path)
    assert sorted(s.name for s in fleet.sites) == sorted(s.name for s in load_fleet(EXAMPLE).sites)
    (tmp_path / "sites" / "hamburg.yaml").write_text(site.replace("tier:", "teir:"))
    with pytest.raises(FleetFileError, match=r"hamburg\.yaml:4:1"):
        load_fleet(tmp_path)


def test_a_folder_needs_exactly_one_fleet(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(EXAMPLE.read_text())
    (tmp_path / "b.yaml").write_text(EXAMPLE.read_text())
    with pytest.raises(FleetFileError, match="`Fleet` a second time"):
        load_fleet(tmp_path)
    (tmp_path / "a.yaml").write_text(HEAD.format(kind="Site"))
    (tmp_path / "b.yaml").unlink()
    with pytest.raises(FleetFileError, match=r"no file in .* says `kind: Fleet`"):
        load_fleet(tmp_path)


def test_sites_come_from_a_csv_file_with_quotes_and_labels(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    start, end = text.index("sites:"), text.index("data:      ")
    (tmp_path / "fleet.yaml").write_text(
        text[:start] + "sites: {from: sites.csv}\n" + text[end : text.index("links:")]
    )
    (tmp_path / "sites.csv").write_text(
        "name,tier,region,lat,lon,grid,nodes,label:ring,contact_name,contact_phone\n"
        'bergen,closet,region-eu,60.39,5.32,NO,2,pilot,"Desk, ""front""",+47 5\n'
        "region-eu,room,,50.11,8.68,DE,,,,\n"
    )
    fleet = load_fleet(tmp_path / "fleet.yaml")
    bergen = fleet.site("bergen")
    assert bergen.nodes == 2
    assert bergen.labels == {"ring": "pilot"}
    assert bergen.contact is not None
    assert bergen.contact.name == 'Desk, "front"'
    assert fleet.site("region-eu").contact is None


@pytest.mark.parametrize("target", ["../sites.csv", "/etc/passwd", "deeper/../../x.csv"])
def test_sites_are_never_read_from_outside_the_folder(tmp_path: Path, target: str) -> None:
    text = EXAMPLE.read_text()
    start, end = text.index("sites:"), text.index("data:      ")
    (tmp_path / "fleet.yaml").write_text(f"{text[:start]}sites: {{from: {target}}}\n{text[end:]}")
    with pytest.raises(FleetFileError, match="is not a file of this folder"):
        load_fleet(tmp_path / "fleet.yaml")
