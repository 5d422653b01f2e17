"""Logging in at an OIDC provider from a terminal: a browser, which returns to a loopback page.

    authorization request (PKCE S256, state, nonce) -> browser -> 127.0.0.1 -> code -> ID token

Units:   seconds.
Errors:  OidcError.
Source:  RFC 8252, 7.3 (loopback redirect); RFC 7636 (PKCE); OpenID Connect Core 1.0, 3.1.
"""

import base64
import hashlib
import hmac
import http.server
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from skerry.schema.access_api import OidcFacts
from skerry.trust.access_errors import OidcError
from skerry.trust.oidc import check_url, discover, fetch_document

LOGIN_S_MAX = 300.0
"""How long a person may take at the provider."""
_PAGE = b"<!doctype html><title>skerry</title><p>Close this page and go back to the terminal."


@dataclass(frozen=True, slots=True)
class OidcAnswer:
    """What the provider signed, and the nonce it was asked with."""

    id_token: str
    nonce: str


def log_in(
    facts: OidcFacts, open_page: Callable[[str], object], *, wait_s: float = LOGIN_S_MAX
) -> OidcAnswer:
    """Send a person to the provider and return what it says; `open_page` gets the address."""
    if not facts.issuer:
        raise OidcError("central has no provider")
    found = discover(facts.issuer, fetch_document)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    with _Return(("127.0.0.1", 0), _Handler) as page:
        redirect = f"http://127.0.0.1:{page.server_address[1]}/"
        query = {
            "response_type": "code",
            "client_id": facts.client_id,
            "redirect_uri": redirect,
            "scope": facts.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        where = _endpoint(found, "authorization_endpoint")
        open_page(f"{where}{'&' if '?' in where else '?'}{urlencode(query)}")
        code = page.code(state, wait_s)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect,
        "client_id": facts.client_id,
        "code_verifier": verifier,
    }
    reply = fetch_document(_endpoint(found, "token_endpoint"), urlencode(form).encode())
    token = reply.get("id_token")
    if not isinstance(token, str):
        raise OidcError("the provider gave no ID token")
    return OidcAnswer(token, nonce)


def challenge_of(verifier: str) -> str:
    """Return what is shown first of a secret that is shown later."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _endpoint(found: dict[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str):
        raise OidcError(f"the provider does not say its {name}")
    check_url(url)
    return url


class _Return(http.server.HTTPServer):
    """Waits for the browser to come back."""

    answer: dict[str, list[str]] | None = None

    def code(self, state: str, wait_s: float) -> str:
        """Return the code that came back with our state."""
        until_s = time.monotonic() + wait_s
        while True:
            self.timeout = until_s - time.monotonic()
            if self.timeout <= 0:
                raise OidcError(f"nobody came back from the provider within {wait_s:g} s")
            self.handle_request()
            if self.answer is None:  # a favicon, or somebody else
                continue
            if not hmac.compare_digest(self.answer.get("state", [""])[0], state):
                self.answer = None
                continue
            if "code" in self.answer:
                return self.answer["code"][0]
            raise OidcError(f"the provider says {self.answer.get('error', ['nothing'])[0][:80]}")


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Take what the provider sends along, and say thanks."""
        parts = urlsplit(self.path)
        if parts.path == "/" and parts.query and isinstance(self.server, _Return):
            self.server.answer = parse_qs(parts.query)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing: the address holds the code."""
