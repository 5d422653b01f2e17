"""`skerry trust rotate-ca` and `client-token`, against processes that run."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from skerry.cli.trust_client_token import command as client_token
from skerry.cli.trust_rotate_ca import command as rotate_ca
from skerry.local.hollow_fleet import DOMAIN, FLEET, HollowFleet
from skerry.schema.context import Context, write_context
from skerry.serve.client_gate import TokenGate

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
REGION = "region-eu"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[HollowFleet]:
    """The clinic's folder, with a context that leads to a hollow fleet."""
    (tmp_path / "fleet").mkdir()
    one = HollowFleet(tmp_path / "fleet", regions=(REGION,))
    shutil.copy(EXAMPLE, tmp_path / "fleet.yaml")
    write_context(
        tmp_path,
        Context(
            fleet=FLEET,
            domain=DOMAIN,
            central_url=one.urls["central"],
            region_urls={REGION: one.urls[REGION]},
            identity=str(one.trust.operator("local")),
            roots=str(one.trust.roots),
            offline=str(one.trust.offline),
        ),
    )
    try:
        yield one.start()
    finally:
        one.close()


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(rotate_ca, [*words, "--folder", str(folder)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return int(done.return_value or 0), done.output


def test_it_waits_for_whoever_is_missing_names_him_and_goes_on(
    fleet: HollowFleet, tmp_path: Path
) -> None:
    node = fleet.node("oslo", region=REGION)
    fleet.loop.run(node.report())
    code, said = run(tmp_path, REGION)
    assert code == 7
    assert "oslo/1" in said
    assert "again, once they have" in said
    for _ in range(50):
        node.hear()
        fleet.loop.run(node.report())
        code, said = run(tmp_path, REGION)
        if code == 0:
            break
    assert f"{REGION} is changed, and what was before is refused" in said


def test_slips_are_named_before_anything_is_done(fleet: HollowFleet, tmp_path: Path) -> None:
    for words, why in (
        (("nowhere",), "no region 'nowhere'"),
        (("root", "--stolen"), "for a region's authority"),
        (("add-root",), "go together"),
    ):
        with pytest.raises(Exception, match=why):
            run(tmp_path, *words)


def test_a_clients_token_is_let_in_by_the_hash_that_is_printed_with_it() -> None:
    done = CliRunner().invoke(client_token, ["till", "--json"], standalone_mode=False)
    made = json.loads(done.stdout)
    TokenGate({made["name"]: made["sha256"]}).check(f"Bearer {made['token']}")
