"""Log settings do what they say, for stock clients too, and leave no trace behind them."""

import io
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from skerry.schema.oip_errors import OipError, UnsupportedError
from skerry.serve.log_settings import LOGGER, LogSettings


@pytest.fixture
def logs() -> Iterator[LogSettings]:
    made = LogSettings()
    yield made
    made.close()
    assert (LOGGER.filters, LOGGER.propagate, LOGGER.level) == ([], True, logging.NOTSET)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        LOGGER.log(level, logging.getLevelName(level))
    return caplog.messages


def test_each_switch_turns_its_own_level_on_and_off(
    logs: LogSettings, caplog: pytest.LogCaptureFixture
) -> None:
    logs.change({"log_info": True, "log_warning": False, "log_verbose_level": 0})
    assert said(caplog) == ["INFO", "ERROR", "CRITICAL"]
    logs.change({"log_info": False, "log_error": False, "log_verbose_level": 1})
    assert said(caplog) == ["DEBUG", "CRITICAL"]
    logs.change({"log_verbose_level": 0})
    assert said(caplog) == ["CRITICAL"]


def test_the_iso_format_is_written_in_utc(
    logs: LogSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    logs.change({"log_format": "ISO8601"})
    now = datetime.now(UTC).replace(tzinfo=None)
    LOGGER.error("hello")
    monkeypatch.undo()
    time.tzset()
    assert abs(datetime.fromisoformat(text.getvalue()[:19]) - now) < timedelta(minutes=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR hello\n", text.getvalue())


def test_one_wrong_setting_changes_none(logs: LogSettings) -> None:
    before = logs.values()
    for wrong in (
        {"log_info": 1},
        {"log_verbose_level": True},
        {"log_verbose_level": 99},
        {"log_format": "xml"},
        {"nobody": 1},
    ):
        with pytest.raises(OipError):
            logs.change({"log_error": False, **wrong})
    with pytest.raises(UnsupportedError, match="log_file"):
        logs.change({"log_file": "/tmp/elsewhere"})
    assert logs.values() == before


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_a_stock_client_reads_and_changes_them(live: Any, module: Any) -> None:
    port = live.ports.http if module is triton_http else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.update_log_settings({"log_info": True, "log_verbose_level": 1})
        found = client.get_log_settings(**({"as_json": True} if module is triton_grpc else {}))
        if module is triton_grpc:
            found = {name: next(iter(value.values())) for name, value in found["settings"].items()}
        assert (found["log_info"], found["log_verbose_level"]) == (True, 1)
        assert LOGGER.level == logging.DEBUG
        with pytest.raises(InferenceServerException, match="log_format is 'xml'"):
            client.update_log_settings({"log_format": "xml"})
