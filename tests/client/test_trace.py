"""Which trace a request belongs to: the one given, else OpenTelemetry's current one, else none."""

import subprocess
import sys

import numpy as np
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from skerry.client import Client
from skerry.testing.endpoint import FakeEndpoint

X = {"x": np.ones(1, np.float32)}
TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GIVEN = "00-11111111111111111111111111111111-2222222222222222-00"


def span() -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, True, TraceFlags(TraceFlags.SAMPLED)))


def sent(**how: str) -> str | None:
    fake = FakeEndpoint({"m": {"y": [1.0]}})
    with Client(fake) as client:
        client.infer("m", X, **how)  # type: ignore[arg-type]
    return fake.seen[0].traceparent


def test_the_current_span_is_the_trace() -> None:
    with trace.use_span(span()):
        assert sent() == TRACEPARENT


def test_a_trace_that_is_given_wins() -> None:
    with trace.use_span(span()):
        assert sent(traceparent=GIVEN) == GIVEN


def test_where_no_span_is_current_none_is_sent() -> None:
    assert sent() is None


def test_opentelemetry_is_never_loaded_for_it() -> None:
    code = (
        "import sys; from skerry.client.trace import current_traceparent; "
        "assert current_traceparent() is None; sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
