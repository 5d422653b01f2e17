"""Attacks: each test is a row of `docs/reference/attacks.md`, and says which defence refuses it.

    @pytest.mark.attack(row="U04", title="...", refused="RELEASE_BELOW_FLOOR",
                        off={"skerry.trust.floor.check": lambda *_: None})

`off` maps dotted names to what stands in their place when the defence is switched off.
`pytest tests/attacks --without U04` does so for a whole run: exactly the tests of that row must
then fail, which `tools/attacks.py` shows for every row, one after the other. So that it need not
run everything each time, `--told` also notes which tests reach which defence: no other can change.
"""

import functools
import inspect
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
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


reached: dict[str, set[str]] = defaultdict(set)
"""Defence to the tests that came to it; a module where a shared fixture did."""
unseen: set[str] = set()
"""Defences that are no functions, so nobody sees who comes to them."""
now_running = ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    global now_running
    now_running = item.nodeid.partition("::")[0]
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    global now_running
    now_running = item.nodeid
    yield


def watched(name: str, defence: Callable[..., Any]) -> Callable[..., Any]:
    """Return a defence that also notes who came to it."""

    @functools.wraps(defence)
    def watch(*args: Any, **kwargs: Any) -> Any:
        reached[name].add(now_running)
        return defence(*args, **kwargs)

    return watch


@pytest.fixture(scope="session", autouse=True)
def switched_off(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch off the defence that `--without` names, before anything is built."""
    named = request.config.getoption("--without", None)
    with pytest.MonkeyPatch.context() as patch:
        if named:
            for name, instead in rows(request.session)[named]["off"].items():
                patch.setattr(name, instead)
        elif request.config.getoption("--told", None):
            for facts in rows(request.session).values():
                for name in facts["off"]:
                    owner, _, last = name.rpartition(".")
                    defence = inspect.getattr_static(resolve_name(owner), last)
                    if not inspect.isfunction(defence):
                        unseen.add(name)
                    elif not hasattr(defence, "__wrapped__"):
                        patch.setattr(name, watched(name, defence))
        yield


def reaching(defences: dict[str, Any]) -> list[str]:
    """Return the tests, or whole modules, that come to a row's defences; empty if unknown."""
    if unseen & set(defences):
        return []
    return sorted(set().union(*(reached[name] for name in defences)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = session.config.getoption("--told", None)
    if told:
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        seen = {
            kind: sorted({report.nodeid for report in reporter.stats.get(kind, [])})
            for kind in ("passed", "failed", "error", "skipped")
        }
        attacks = {
            row: {**facts, "off": sorted(facts["off"]), "reached": reaching(facts["off"])}
            for row, facts in rows(session).items()
        }
        Path(told).write_text(json.dumps({"attacks": attacks, **seen}))
