"""Access at real central and region processes: roles, tokens, two people, a policy that travels."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.region.conftest import CLOCK, DOMAIN, REGION, House

from skerry.central.bootstrap import create_trust
from skerry.cli.main import run
from skerry.schema import access_api, api
from skerry.schema.access import AccessPolicy, Action, access_target
from skerry.schema.context import Context, write_context
from skerry.trust.identity import Identity

PEOPLE = {
    "ann": ("security", "releaser"),
    "bo": ("security", "operator"),
    "eve": ("viewer",),
}
WORDS = "correct horse battery"


class People(House):
    """A fleet whose file names three people."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in PEOPLE:
            create_trust(
                folder / "keys",
                fleet="clinic",
                domain=DOMAIN,
                regions=[REGION],
                clock=CLOCK,
                operator=name,
            )
        self.generation = 0

    def who(self, name: str) -> Identity:
        return Identity.load(self.trust.operator(name))

    def publish(self, who: str = "ann", **changes: Any) -> Any:
        """Sign an access policy as the holder of the offline key, and offer it as somebody."""
        self.generation += 1
        document = msgspec.structs.replace(
            AccessPolicy(fleet="clinic", generation=self.generation, people=PEOPLE), **changes
        )
        return self.offer({access_target("clinic"): msgspec.json.encode(document)}, who)

    def offer(self, add: dict[str, bytes], who: str) -> Any:
        upload = self.upload(add)
        return self.call("central", "POST", "/v1/metadata", upload, identity=self.who(who))

    def upload(self, add: dict[str, bytes]) -> api.MetadataUpload:
        from skerry.trust.roles import OfflineKeys

        current = self.call("central", "GET", "/tuf/metadata/models.json", identity=self.who("ann"))
        assert current.status == 200, current.body
        signed = OfflineKeys.load(self.trust.offline).sign_models(
            current.body, add, now_unix_s=CLOCK.unix_s()
        )
        return api.MetadataUpload(metadata={"models": signed}, targets=add)

    def as_(self, who: str, method: str, path: str, body: object = None) -> Any:
        return self.call("central", method, path, body, identity=self.who(who))

    def bearer(self, token: str, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return self.call("central", method, path, body, headers=headers)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    one = People(tmp_path_factory.mktemp("people"))
    try:
        one.central.start()
        one.region.start()
        assert one.publish("ann").status == 200  # nobody was named before: one person may
        yield one
    finally:
        one.region.end()
        one.central.end()


def request_of(error: api.ApiError) -> str:
    assert error.code == "E0243", error
    return error.hint.rsplit(" ", 1)[1]


def test_a_certificate_has_the_roles_that_the_policy_names(fleet: People) -> None:
    told = msgspec.json.decode(fleet.as_("bo", "GET", "/v1/whoami").body, type=access_api.WhoReply)
    assert (told.name, told.roles, told.policy_generation) == ("bo", ("operator", "security"), 1)
    assert fleet.as_("eve", "GET", "/v1/status").status == 200
    refused = fleet.as_("eve", "POST", "/v1/rollout/pause", api.RolloutRequest())
    assert (refused.status, fleet.refusal(refused).code) == (403, "E0241")


def test_who_is_not_named_may_do_nothing(fleet: People) -> None:
    assert fleet.refusal(fleet.as_("local", "GET", "/v1/status")).code == "E0241"


def test_a_policy_waits_for_a_second_person_and_then_reaches_the_region(
    fleet: People, wait_until: Callable[..., Any]
) -> None:
    more = {**PEOPLE, "local": ("viewer",)}
    request = request_of(fleet.refusal(fleet.publish("ann", people=more)))
    assert fleet.as_("local", "GET", "/v1/status").status == 403
    mine = fleet.as_("ann", "POST", f"/v1/requests/{request}/approve")
    assert fleet.refusal(mine).code == "E0244"
    assert (
        fleet.refusal(fleet.as_("eve", "POST", f"/v1/requests/{request}/approve")).code == "E0241"
    )
    done = fleet.as_("bo", "POST", f"/v1/requests/{request}/approve")
    assert done.status == 200, done.body
    assert fleet.as_("local", "GET", "/v1/status").status == 200
    again = fleet.as_("bo", "POST", f"/v1/requests/{request}/approve")
    assert fleet.refusal(again).code == "E0249"

    def known() -> bool:
        reply = fleet.call("region", "GET", "/v1/whoami", identity=fleet.who("local"))
        return reply.status == 200

    wait_until(known, what="the region takes the new policy")


def test_a_refused_policy_leaves_the_old_one(fleet: People) -> None:
    fleet.generation = 10
    wrong = fleet.publish("ann", policies="forbid (principal, action, resource);")
    assert (wrong.status, fleet.refusal(wrong).code) == (400, "E0242")
    assert fleet.as_("eve", "GET", "/v1/status").status == 200


def test_a_ban_is_lifted_by_two(fleet: People, wait_until: Callable[..., Any]) -> None:
    def region(who: str, method: str, path: str, body: object = None) -> Any:
        return fleet.call("region", method, path, body, identity=fleet.who(who))

    wait_until(lambda: region("bo", "GET", "/v1/whoami").status == 200, what="people at the region")
    ticket = region("bo", "POST", "/v1/tokens", api.TokenRequest(site="oslo", number=1))
    assert ticket.status == 200, ticket.body
    made = msgspec.json.decode(ticket.body, type=api.JoinTicket)
    request, _, _ = fleet.request(made.spiffe_id, fleet.enrolment("oslo"), token=made.token)
    assert fleet.call("region", "POST", "/v1/join", request).status == 200
    ban = api.BanRequest(node="oslo/1", banned=True, reason="lost")
    assert region("eve", "POST", "/v1/bans", ban).status == 403
    assert region("bo", "POST", "/v1/bans", ban).status == 200
    lift = api.BanRequest(node="oslo/1", banned=False, reason="found")
    waits = request_of(fleet.refusal(region("bo", "POST", "/v1/bans", lift)))
    assert fleet.renew("oslo").status == 403
    assert fleet.refusal(region("bo", "POST", f"/v1/requests/{waits}/approve")).code == "E0244"
    assert region("ann", "POST", f"/v1/requests/{waits}/approve").status == 200
    assert fleet.renew("oslo").status == 200


def test_a_person_logs_in_makes_a_token_and_loses_it(fleet: People) -> None:
    change = access_api.PersonChange(name="", password=WORDS, roles=("operator",))
    waits = request_of(fleet.refusal(fleet.as_("ann", "PUT", "/v1/people/kim", change)))
    assert fleet.as_("bo", "POST", f"/v1/requests/{waits}/approve").status == 200
    login = access_api.LoginRequest(name="kim", password=WORDS)
    reply = fleet.call("central", "POST", "/v1/login", login)
    assert reply.status == 200, reply.body
    session = msgspec.json.decode(reply.body, type=access_api.LoginReply)
    assert session.roles == ("operator",)
    assert fleet.bearer(session.token, "GET", "/v1/status").status == 200
    wish = access_api.TokenWish(label="watch", life_s=3600.0, scope=(Action.LOOK,))
    made = fleet.bearer(session.token, "POST", "/v1/access-tokens", wish)
    token = msgspec.json.decode(made.body, type=access_api.TokenReply)
    assert fleet.bearer(token.token, "GET", "/v1/status").status == 200
    narrow = fleet.bearer(token.token, "POST", "/v1/rollout/pause", api.RolloutRequest())
    assert "token-scope" in fleet.refusal(narrow).text
    path = f"/v1/access-tokens/{token.row.id}"
    assert fleet.bearer(session.token, "DELETE", path).status == 204
    assert fleet.refusal(fleet.bearer(token.token, "GET", "/v1/status")).code == "E0247"
    assert fleet.bearer(session.token, "POST", "/v1/logout").status == 204
    assert fleet.bearer(session.token, "GET", "/v1/status").status == 403


def test_broken_glass_lifts_what_is_urgent_and_is_loud(fleet: People) -> None:
    short = fleet.as_("bo", "POST", "/v1/break-glass", access_api.GlassRequest(reason="x"))
    assert fleet.refusal(short).code == "E0249"
    assert (
        fleet.as_(
            "eve", "POST", "/v1/break-glass", access_api.GlassRequest(reason="i am curious")
        ).status
        == 403
    )
    reason = access_api.GlassRequest(reason="region-eu is on fire, everybody else is away")
    reply = fleet.as_("bo", "POST", "/v1/break-glass", reason)
    ends = msgspec.json.decode(reply.body, type=access_api.GlassReply).ends_unix_s
    assert 1790 < ends - CLOCK.unix_s() <= 1800
    told = msgspec.json.decode(fleet.as_("bo", "GET", "/v1/whoami").body, type=access_api.WhoReply)
    assert "break-glass" in told.roles


def test_the_ledger_forgets_a_person_once_two_agree(fleet: People) -> None:
    asked = access_api.EraseRequest(person="kim", reason="asked for it")
    waits = request_of(fleet.refusal(fleet.as_("ann", "POST", "/v1/erase", asked)))
    assert fleet.as_("eve", "POST", "/v1/erase", asked).status == 403
    assert fleet.as_("bo", "POST", f"/v1/requests/{waits}/approve").status == 200


def test_why_is_told_now_and_afterwards(fleet: People) -> None:
    asked = access_api.ExplainRequest(who="eve", action="apply")
    reply = fleet.as_("eve", "POST", "/v1/explain", asked)
    told = msgspec.json.decode(reply.body, type=access_api.Explanation)
    assert (told.allowed, told.text, told.roles) == (False, "no policy permits it", ("viewer",))
    asked = access_api.ExplainRequest(who="ann", action="lift-ban")
    told = msgspec.json.decode(
        fleet.as_("eve", "POST", "/v1/explain", asked).body, type=access_api.Explanation
    )
    assert (told.allowed, told.second_person, told.policies) == (False, True, ("two-person",))
    refused = fleet.refusal(fleet.as_("eve", "POST", "/v1/rollout/pause", api.RolloutRequest()))
    decision = refused.hint.rsplit(" ", 1)[1]
    reply = fleet.as_("eve", "GET", f"/v1/decisions/{decision}")
    past = msgspec.json.decode(reply.body, type=access_api.DecisionReply).decision
    assert (past.who, past.action, past.allowed) == ("eve", "steer", False)
    assert past.policy_generation >= 1
    assert len(past.policy_sha256) == 64


@pytest.fixture
def folder(fleet: People, tmp_path: Path) -> Path:
    """A fleet folder as Bo has it."""
    write_context(
        tmp_path,
        Context(
            fleet="clinic",
            domain=DOMAIN,
            central_url=fleet.central_url,
            region_urls={REGION: fleet.region_url},
            identity=str(fleet.trust.operator("bo")),
            roots=str(fleet.trust.roots),
            offline="",
        ),
    )
    return tmp_path


def test_people_tokens_and_requests_from_the_command_line(
    fleet: People,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def skerry(*words: str, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(["trust", *words, "--folder", str(folder)])
        told = capsys.readouterr()
        return code, told.out + told.err

    code, told = skerry("user", "add", "lee", "--password-stdin", stdin=WORDS)
    assert (code, "waits for a second person" in told) == (6, True), told
    code, told = skerry("requests")
    request = told.splitlines()[-1].split()[0]
    assert skerry("approve", request)[0] == 6
    assert fleet.as_("ann", "POST", f"/v1/requests/{request}/approve").status == 200
    assert "lee" in skerry("user", "list")[1]
    assert skerry("login", "--name", "lee", "--password-stdin", stdin=WORDS)[0] == 0
    code, told = skerry("token", "create", "watch", "--only", "look", "--json")
    made = msgspec.json.decode(told.encode())
    assert "watch" in skerry("token", "list")[1]
    assert skerry("token", "revoke", made["row"]["id"])[0] == 0
    code, told = skerry("explain", "lee", "apply")
    assert (code, "no policy permits it" in told) == (6, True)
    assert skerry("break-glass", "--reason", "just to see what it does")[0] == 6
    assert skerry("logout")[0] == 0
    code, told = skerry("explain", "bo", "publish-policy")
    assert "once a second person approves" in told
