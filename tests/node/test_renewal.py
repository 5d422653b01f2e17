"""An identity outlives any absence: the region first, the site's own authority only late."""

import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from skerry.node import renewal
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles, issued_by_site
from skerry.node.renewal import RETRY_S_MAX, Renewal
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
HOUR_S = 3600.0


class Setting:
    """A node with a fresh certificate, and a region that answers or does not."""

    def __init__(self, folder: Path, fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        self.clock = ManualClock(time.time())
        self.files = IdentityFiles(folder)
        self.fleet = fleet
        fleet.identity(self.files, now_unix_s=self.clock.unix_s(), by=fleet.region)
        self.online, self.asked = True, 0
        self.renewed: list[str] = []
        self.failed: list[str] = []
        monkeypatch.setattr(renewal, "renew", self.ask_region)
        self.renewal = Renewal(
            self.files,
            region_url="https://region",
            region_host="region",
            inference_url="https://node",
            clock=self.clock,
            rng=random.Random(1),
            on_renewed=self.on_renewed,
            on_failed=self.failed.append,
        )

    def ask_region(self, files: IdentityFiles, **_: object) -> None:
        self.asked += 1
        if not self.online:
            raise RenewalError("https://region", "no route")
        self.fleet.identity(files, now_unix_s=self.clock.unix_s(), by=self.fleet.region)

    async def on_renewed(self, by: str) -> None:
        self.renewed.append(by)

    async def pass_time(self, duration_s: float, *, step_s: float = 30.0) -> None:
        """Let time pass in steps, each once everybody waits for it and no thread works."""
        await settled()
        for _ in range(int(duration_s / step_s)):
            self.clock.advance(step_s)
            await settled()


async def settled() -> None:
    threads = anyio.to_thread.current_default_thread_limiter()
    await anyio.wait_all_tasks_blocked()
    while threads.borrowed_tokens:
        await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
def setting(tmp_path: Path, fleet: Any, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, fleet, monkeypatch)


async def test_it_renews_at_half_life_at_the_region(setting: Setting) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(setting.renewal.run)
        await setting.pass_time(0.4 * HOUR_S, step_s=120)
        assert setting.asked == 0
        await setting.pass_time(0.2 * HOUR_S, step_s=120)
        assert setting.renewed == ["region"]
        tasks.cancel_scope.cancel()


async def test_cut_off_it_uses_the_sites_authority_only_late_and_never_expires(
    setting: Setting,
) -> None:
    setting.online = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(setting.renewal.run)
        await setting.pass_time(0.7 * HOUR_S, step_s=60)
        assert setting.asked > 0
        assert setting.renewed == []
        assert "no route" in setting.failed[0]
        for _ in range(4):
            await setting.pass_time(0.5 * HOUR_S, step_s=60)
            assert setting.files.load().ends_unix_s > setting.clock.unix_s()
        assert set(setting.renewed) == {"site"}
        assert issued_by_site(setting.files.load())
        setting.online = True
        await setting.pass_time(2 * RETRY_S_MAX + 60, step_s=60)
        assert setting.renewed[-1] == "region"
        assert not issued_by_site(setting.files.load())
        tasks.cancel_scope.cancel()


async def test_started_anew_with_the_sites_certificate_it_asks_the_region_soon(
    setting: Setting,
) -> None:
    """That certificate came without a NATS login, so half an hour would be too long."""
    setting.files.renew_alone(now_unix_s=setting.clock.unix_s())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(setting.renewal.run)
        await setting.pass_time(60)
        assert setting.renewed == ["region"]
        tasks.cancel_scope.cancel()


async def test_back_after_months_it_helps_itself_and_then_goes_to_the_region(
    setting: Setting,
) -> None:
    setting.clock.advance(180 * 24 * HOUR_S)
    setting.online = False
    assert await setting.renewal.once()
    assert setting.renewed == ["site"]
    setting.online = True
    assert await setting.renewal.once()
    assert setting.renewed == ["site", "region"]


async def test_when_both_authorities_have_ended_it_says_so_and_keeps_what_it_has(
    setting: Setting,
) -> None:
    before = setting.files.identity.read_bytes()
    setting.clock.advance(2 * 365 * 24 * HOUR_S)
    setting.online = False
    assert not await setting.renewal.once()
    assert any("expired itself" in said for said in setting.failed)
    assert setting.files.identity.read_bytes() == before


async def test_an_answer_that_makes_no_sense_is_a_failure_and_no_end(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(*_: object, **__: object) -> None:
        raise ValueError("not PEM")

    monkeypatch.setattr(renewal, "renew", nonsense)
    assert not await setting.renewal.once()
    assert setting.failed == ["not PEM"]
