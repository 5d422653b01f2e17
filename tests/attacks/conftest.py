"""Attacks: each test is a row of `docs/reference/attacks.md`, and says which defence refuses it.

    @pytest.mark.attack(row="U04", title="...", refused="RELEASE_BELOW_FLOOR",
                        off={"skerry.trust.floor.check": lambda *_: None})

`off` maps dotted names to what stands in their place when the defence is switched off.
`pytest tests/attacks --without U04` does so for a whole run: exactly the tests of that row must
then fail, which `tools/attacks.py` shows for every row, one after the other.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attacks")
    group.addoption("--without", metavar="ROW", default=None, help="switch a row's defence off")
    group.addoption("--told", metavar="FILE", default=None, help="write rows and failures there")


def rows(session: pytest.Session) -> dict[str, dict[str, Any]]:
    """Every attack of the session: row to its title, refusal, defences and tests."""
    found: dict[str, dict[str, Any]] = {}
    for item in session.items:
        mark = item.get_closest_marker("attack")
        if mark is None:
            continue
        row = found.setdefault(mark.kwargs["row"], {**mark.kwargs, "tests": []})
        row["off"] = row["off"] | mark.kwargs["off"]
        row["tests"].append(item.nodeid)
    return found


@pytest.fixture(scope="session", autouse=True)
def switched_off(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch off the defence that `--without` names, before anything is built."""
    named = request.config.getoption("--without", None)
    with pytest.MonkeyPatch.context() as patch:
        if named:
            for name, instead in rows(request.session)[named]["off"].items():
                patch.setattr(name, instead)
        yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = session.config.getoption("--told", None)
    if told:
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        seen = {
            kind: sorted({report.nodeid for report in reporter.stats.get(kind, [])})
            for kind in ("passed", "failed", "error", "skipped")
        }
        attacks = {
            row: {**facts, "off": sorted(facts["off"])} for row, facts in rows(session).items()
        }
        Path(told).write_text(json.dumps({"attacks": attacks, **seen}))
