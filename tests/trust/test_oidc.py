"""OIDC: a provider in this process, logins that work, and each way in which a token is wrong."""

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from skerry.schema.access import OidcSettings
from skerry.trust import oidc
from skerry.trust.access_errors import OidcError
from skerry.trust.oidc import OidcProvider, check_url
from skerry.trust.oidc_flow import log_in

NOW = 1_800_000_000.0
CLIENT = "skerry"


class Issuer:
    """A provider on loopback: discovery, keys, a login that always agrees, and a token endpoint."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
        self.codes: dict[str, dict[str, str]] = {}
        self.claims: dict[str, Any] = {}
        self.asked: list[str] = []
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                parts = urllib.parse.urlsplit(self.path)
                if parts.path.endswith("openid-configuration"):
                    self._json(issuer.description())
                elif parts.path == "/keys":
                    self._json({"keys": [issuer.key.as_dict(private=False)]})
                elif parts.path == "/login":
                    query = dict(urllib.parse.parse_qsl(parts.query))
                    code = secrets.token_hex(8)
                    issuer.codes[code] = query
                    back = urllib.parse.urlencode({"code": code, "state": query["state"]})
                    self.send_response(302)
                    self.send_header("Location", f"{query['redirect_uri']}?{back}")
                    self.end_headers()
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = dict(urllib.parse.parse_qsl(body))
                asked = issuer.codes.pop(form.get("code", ""), None)
                digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
                challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
                if asked is None or asked["code_challenge"] != challenge:
                    self.send_error(400)
                    return
                self._json({"id_token": issuer.token(nonce=asked["nonce"], **issuer.claims)})

            def _json(self, document: object) -> None:
                data = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def description(self) -> dict[str, str]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/login",
            "token_endpoint": f"{self.url}/token",
        }

    def token(self, *, key: Any = None, alg: str = "ES256", kid: str = "one", **claims: Any) -> str:
        told = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "1",
            "exp": NOW + 300,
            "iat": NOW,
            "nonce": "n",
            "preferred_username": "Ann",
            "groups": ["ops", "other"],
        } | claims
        told = {name: value for name, value in told.items() if value is not None}
        made = jwt.encode({"alg": alg, "kid": kid}, told, key or self.key, algorithms=[alg])
        return str(made)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    one = Issuer()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def provider(issuer: Issuer) -> OidcProvider:
    return OidcProvider(
        OidcSettings(issuer=issuer.url, client_id=CLIENT, roles={"ops": ("operator", "viewer")})
    )


def test_a_good_token_names_a_person_with_the_roles_of_their_groups(
    issuer: Issuer, provider: OidcProvider
) -> None:
    person = provider.person(issuer.token(), "n", NOW)
    assert (person.name, person.roles) == ("ann", ("operator", "viewer"))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example"}, "issuer"),
        ({"aud": "someone-else"}, "another client"),
        ({"aud": [CLIENT, "someone-else"]}, "several clients"),
        ({"exp": NOW - 120}, "ended"),
        ({"exp": None}, "no time"),
        ({"exp": "soon"}, "no time"),
        ({"iat": NOW + 3600}, "future"),
        ({"nbf": NOW + 3600}, "future"),
        ({"nonce": "other"}, "another login"),
        ({"nonce": None}, "another login"),
        ({"preferred_username": None}, "no usable name"),
        ({"preferred_username": "../../x y"}, "no usable name"),
        ({"groups": ["other"]}, "no group"),
        ({"groups": None}, "no group"),
    ],
)
def test_a_signed_token_that_is_wrong_is_refused_by_name(
    issuer: Issuer, provider: OidcProvider, claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(OidcError, match=why):
        provider.person(issuer.token(**claims), "n", NOW)


def test_no_nonce_is_no_login(issuer: Issuer, provider: OidcProvider) -> None:
    with pytest.raises(OidcError, match="another login"):
        provider.person(issuer.token(nonce=""), "", NOW)


def test_a_token_that_nobody_signed_or_somebody_else_is_refused(
    issuer: Issuer, provider: OidcProvider
) -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "one"})
    public = json.dumps(issuer.key.as_dict(private=False)).encode()
    body = issuer.token().split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
    for forged in (
        issuer.token(key=stranger),
        issuer.token(key=OctKey.import_key(public), alg="HS256"),
        f"{none}.{body}.",
        issuer.token()[:-6] + "AAAAAA",
    ):
        with pytest.raises(OidcError):
            provider.person(forged, "n", NOW)


def test_a_new_key_of_the_provider_is_fetched_once_it_is_seen(
    issuer: Issuer, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.person(issuer.token(), "n", NOW)
    monkeypatch.setattr(issuer, "key", ECKey.generate_key("P-256", {"kid": "two", "use": "sig"}))
    with pytest.raises(OidcError, match="no key"):
        provider.person(issuer.token(kid="two"), "n", NOW)  # asked a moment ago: not again yet
    monkeypatch.setattr(oidc, "KEYS_AGAIN_S", 0.0)
    assert provider.person(issuer.token(kid="two"), "n", NOW).name == "ann"


def test_a_flood_of_unknown_keys_does_not_flood_the_provider(
    issuer: Issuer, provider: OidcProvider
) -> None:
    provider.person(issuer.token(), "n", NOW)
    before = len(issuer.asked)
    for _ in range(20):
        with pytest.raises(OidcError):
            provider.person(issuer.token(kid="unknown"), "n", NOW)
    assert len(issuer.asked) == before


@pytest.mark.parametrize(
    "url", ["http://login.example", "ftp://127.0.0.1", "file:///etc/passwd", "", "https:"]
)
def test_a_provider_is_reached_over_tls(url: str) -> None:
    with pytest.raises(OidcError):
        check_url(url)


def test_a_provider_that_calls_itself_otherwise_is_refused(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = OidcProvider(OidcSettings(issuer=issuer.url + "/", client_id=CLIENT))
    with pytest.raises(OidcError, match="another name"):
        other.person(issuer.token(), "n", NOW)


FETCH: dict[str, Any] = {
    "https://id.example/.well-known/openid-configuration": {
        "issuer": "https://id.example",
        "jwks_uri": "https://id.example/keys",
    },
    "https://id.example/keys": {
        "keys": [ECKey.generate_key("P-256", {"kid": "one"}).as_dict(private=False)]
    },
}
OFFLINE = OidcProvider(
    OidcSettings(issuer="https://id.example", client_id=CLIENT), fetch=FETCH.__getitem__
)
part = st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="))
header = st.dictionaries(
    st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "x5u", "zip", "enc"]),
    st.sampled_from(["ES256", "none", "HS256", "one", "", "DEF", 0, None, [], {}, ["b64"], False]),
).map(lambda told: base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("="))


@given(st.text(max_size=200) | st.builds("{}.{}.{}".format, header | part, part, part))
@settings(max_examples=300)
def test_whatever_comes_as_a_token_is_refused_at_once(text: str) -> None:
    began_s = time.thread_time()
    with pytest.raises(OidcError):
        OFFLINE.person(text, "n", NOW)
    assert time.thread_time() - began_s < 0.1


@pytest.mark.parametrize("text", ["a" * 100_000, "[" * 30_000, "." * 30_000, "\ud800.a.b"])
def test_large_and_broken_tokens_are_refused_at_once(text: str) -> None:
    began_s = time.thread_time()
    with pytest.raises(OidcError):
        OFFLINE.person(text, "n", NOW)
    assert time.thread_time() - began_s < 0.1


def browser(url: str, change: Callable[[str], str] = lambda where: where) -> None:
    """Follow a login as a browser does; `change` may tamper with the way back."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    def go() -> None:
        try:
            urllib.request.build_opener(Stay).open(url, timeout=5)
        except urllib.error.HTTPError as redirect:
            back = redirect.headers["Location"]
            for where in dict.fromkeys((change(back), back)):
                urllib.request.urlopen(where, timeout=5).read()

    threading.Thread(target=go, daemon=True).start()


def test_a_person_logs_in_through_a_browser_and_a_loopback_page(
    issuer: Issuer, provider: OidcProvider
) -> None:
    answer = log_in(provider.facts, browser, wait_s=10)
    assert provider.person(answer.id_token, answer.nonce, NOW).name == "ann"


def test_a_way_back_that_is_not_ours_is_passed_over(issuer: Issuer, provider: OidcProvider) -> None:
    """Another page on this machine could send a code of its own: the state tells them apart."""

    def forged(url: str) -> str:
        return url.replace("state=", "state=x").replace("code=", "code=forged")

    answer = log_in(provider.facts, lambda url: browser(url, forged), wait_s=10)
    assert provider.person(answer.id_token, answer.nonce, NOW).name == "ann"


def test_nobody_who_comes_back_is_an_error_in_time(provider: OidcProvider) -> None:
    with pytest.raises(OidcError, match="nobody came back"):
        log_in(provider.facts, lambda url: None, wait_s=0.2)
