"""The trace that a call belongs to, from OpenTelemetry where the program uses it.

Nothing is imported for it: where `opentelemetry.trace` is not loaded, no span of it can
be current.

Source:  W3C Trace Context, `traceparent` version 00.
"""

import sys


def current_traceparent() -> str | None:
    """Return the current span's `traceparent`; None where there is none."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags) & 0xFF:02x}"
