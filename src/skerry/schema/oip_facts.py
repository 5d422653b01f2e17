"""Skerry's own facts on a request and an answer: headers, metadata keys and OIP parameters.

A request may carry `skerry-data-class`, `skerry-deadline-ms`, `skerry-hops`,
`skerry-origin`, `skerry-explain-route` and `traceparent` as HTTP headers, as gRPC metadata
or as OIP request parameters; a header wins over a parameter. Triton's parameter `timeout`
(microseconds) is read as a deadline too. An answer carries `skerry-served-by`.

Units:   milliseconds on the wire, seconds inside.
Errors:  OipError, for a fact that cannot be what it should be.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping

from skerry.schema.oip import (
    HEADER_DATA_CLASS,
    HEADER_DEADLINE_MS,
    HEADER_EXPLAIN_ROUTE,
    HEADER_HOPS,
    HEADER_ORIGIN,
    HEADER_TRACEPARENT,
    InferRequest,
    Parameter,
    ServedBy,
)
from skerry.schema.oip_errors import OipError, shown

FACTS = (
    HEADER_DATA_CLASS,
    HEADER_DEADLINE_MS,
    HEADER_EXPLAIN_ROUTE,
    HEADER_HOPS,
    HEADER_ORIGIN,
    HEADER_TRACEPARENT,
    HEADER_EXPLAIN_ROUTE,
)
HOPS_MAX = 16
SERVED_BY_KEPT_CHARS_MAX = 512
DEADLINE_MS_MAX = 24 * 3600 * 1000.0

_TOKEN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_FIELDS = ("site", "node", "tier", "model", "version", "reason")


def read_facts(
    request: InferRequest, fact: Callable[[str], str | None], *, peer_site: str | None = None
) -> None:
    """Put the facts of a request into its fields; `fact` looks a header or metadata key up.

    `peer_site` is the site of the node that forwarded it, as its certificate says. What a
    client says of hops and origin is checked and then passed over: whoever could name
    another origin could talk data out of its site.
    """
    parameters = request.parameters
    if "timeout" in parameters:
        timeout_us = parameters["timeout"]
        request.deadline_s = _deadline_s("timeout", timeout_us, per_second=1_000_000)
    for name in FACTS:
        value: Parameter | None = fact(name)
        if value is None:
            value = parameters.get(name)
        if value is not None:
            _READERS[name](request, value)
    if peer_site is None:
        request.hops, request.origin_site = 0, None
    else:
        request.hops, request.origin_site = max(1, request.hops), peer_site


def write_facts(request: InferRequest, deadline_left_s: float | None) -> dict[str, str]:
    """Return the facts of a request as headers, with the deadline that is left of it."""
    facts: dict[str, str] = {}
    if request.data_class is not None:
        facts[HEADER_DATA_CLASS] = request.data_class
    if deadline_left_s is not None:
        facts[HEADER_DEADLINE_MS] = f"{max(deadline_left_s, 0.001) * 1000:.3f}"
    if request.hops:
        facts[HEADER_HOPS] = str(request.hops)
    if request.origin_site is not None:
        facts[HEADER_ORIGIN] = request.origin_site
    if request.traceparent is not None:
        facts[HEADER_TRACEPARENT] = request.traceparent
    return facts


def parse_served_by(text: str) -> ServedBy:
    """Read the text of a `ServedBy`; unknown fields are passed over."""
    # A client hears the same words again and again; what is long is not worth keeping.
    return (_parsed_before if len(text) <= SERVED_BY_KEPT_CHARS_MAX else _parsed)(text)


def _parsed(text: str) -> ServedBy:
    found: Mapping[str, str] = {
        name: value for name, _, value in (part.partition("=") for part in text.split(";"))
    }
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise OipError("skerry-served-by", f"without {missing[0]}", f"all of {', '.join(_FIELDS)}")
    return ServedBy(**{name: found[name] for name in _FIELDS})


_parsed_before = functools.lru_cache(maxsize=256)(_parsed)


def _deadline_s(name: str, value: Parameter, *, per_second: float) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 < number <= DEADLINE_MS_MAX * per_second / 1000:
        raise OipError(name, shown(value), "a positive number, at most a day")
    return number / per_second


def _read_data_class(request: InferRequest, value: Parameter) -> None:
    request.data_class = _token(HEADER_DATA_CLASS, value)


def _read_deadline(request: InferRequest, value: Parameter) -> None:
    request.deadline_s = _deadline_s(HEADER_DEADLINE_MS, value, per_second=1000)


def _read_hops(request: InferRequest, value: Parameter) -> None:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= HOPS_MAX):
        raise OipError(HEADER_HOPS, shown(value), f"0 to {HOPS_MAX}")
    request.hops = int(text)


def _read_origin(request: InferRequest, value: Parameter) -> None:
    request.origin_site = _token(HEADER_ORIGIN, value)


def _read_traceparent(request: InferRequest, value: Parameter) -> None:
    # W3C Trace Context: one that cannot be read is dropped, and never fails a request.
    if isinstance(value, str) and _TRACEPARENT.fullmatch(value):
        request.traceparent = value


def _read_explain_route(request: InferRequest, value: Parameter) -> None:
    if value not in (True, False, "true", "false"):
        raise OipError(HEADER_EXPLAIN_ROUTE, shown(value), "true or false")
    wish = {HEADER_EXPLAIN_ROUTE: value in (True, "true")}
    request.parameters = {**request.parameters, **wish}  # the dict may be shared


def _token(name: str, value: Parameter) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise OipError(name, shown(value), "1 to 63 of a-z, 0-9 and '-'")
    return value


_READERS: dict[str, Callable[[InferRequest, Parameter], None]] = {
    HEADER_DATA_CLASS: _read_data_class,
    HEADER_DEADLINE_MS: _read_deadline,
    HEADER_HOPS: _read_hops,
    HEADER_ORIGIN: _read_origin,
    HEADER_TRACEPARENT: _read_traceparent,
    HEADER_EXPLAIN_ROUTE: _read_explain_route,
}
