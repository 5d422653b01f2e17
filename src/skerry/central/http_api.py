"""Central's HTTPS API: who may call what, and the few lines between a call and its answer.

`docs/reference/api.md` is its reference; `skerry.schema.api` its documents.

Errors:  those of the parts it calls; each leaves as an `ErrorReply`.
"""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from anyio import from_thread, to_thread

from skerry.base.clock import Clock
from skerry.base.ids import token
from skerry.central.errors import UnknownFleetError
from skerry.central.notary import Notary
from skerry.central.publishing import (
    access_in,
    action_of,
    check_publishing,
    check_signed,
    residency_of,
)
from skerry.central.reports import Reports
from skerry.central.rollout import NO_ROLLOUT, Conductor
from skerry.central.settings import CentralSettings
from skerry.central.store import Store, off_loop
from skerry.fleet.desired import nodes_of
from skerry.fleet.place import misplaced
from skerry.schema import api
from skerry.schema.access import Action
from skerry.schema.attestation import Stands
from skerry.schema.audit import Note
from skerry.schema.audit_api import CheckpointPush
from skerry.schema.desired import Desired
from skerry.schema.drill import DrillRecord
from skerry.schema.expiry import Alarm
from skerry.schema.observed import State
from skerry.spine.blobs import BlobStore
from skerry.spine.files_api import (
    blob_name,
    blob_route,
    metadata_name,
    repository_file,
    target_name,
)
from skerry.spine.https_server import (
    Call,
    CallInvalidError,
    CallRefusedError,
    File,
    NotHereError,
    Reply,
    Route,
)
from skerry.trust.access_errors import AccessDeniedError
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.anchors import AnchorStore
from skerry.trust.ledger_desk import Desk
from skerry.trust.spiffe import Role, SpiffeId

BLOB_BYTES_MAX = 16 * 1024**3
OPERATOR = frozenset({Role.OPERATOR})
REGION = frozenset({Role.REGION})
READERS = frozenset({Role.REGION, Role.NODE, Role.OPERATOR})


class CentralApi:
    """Answers the calls of operators and regions."""

    def __init__(
        self,
        settings: CentralSettings,
        *,
        store: Store,
        notary: Notary,
        conductor: Conductor,
        reports: Reports,
        blobs: BlobStore,
        repository: Path,
        gate: Gate,
        clock: Clock,
        nats_ready: Callable[[], bool],
        account: Callable[[str, list[str]], Awaitable[str]],
        anchors: AnchorStore,
        alarms: Callable[[], tuple[Alarm, ...]],
        note: Note,
        issuers: Callable[[], tuple[str, ...]],
        desk: Desk,
    ) -> None:
        self._settings, self._store, self._notary = settings, store, notary
        self._conductor, self._reports, self._blobs = conductor, reports, blobs
        self._repository, self._clock, self._nats_ready = repository, clock, nats_ready
        self._gate, self._account = gate, account
        self._anchors, self._issuers, self._desk = anchors, issuers, desk
        self._alarms, self._note = alarms, note
        gate.performs("metadata", self._publish)
        gate.performs("apply", self._apply_fleet)

    def routes(self) -> list[Route]:
        """Return every call there is."""
        return [
            Route("GET", "/v1/health", self._health, None),
            Route("GET", "/tuf/metadata/{file}", self._metadata, READERS, Action.FETCH),
            Route("GET", "/tuf/targets/{path:.+}", self._target, READERS, Action.FETCH),
            Route("GET", "/blob/{sha256}", blob_route(self._blobs), READERS, Action.FETCH),
            Route("PUT", "/blob/{sha256}", self._put_blob, OPERATOR, Action.UPLOAD),
            Route("PUT", "/v1/registry", self._put_registry, REGION, Action.REGISTER),
            Route("POST", "/v1/metadata", self._take_metadata, OPERATOR, Action.PUBLISH),
            Route("POST", "/v1/stamp", self._stamp, OPERATOR, Action.UPLOAD),
            Route("POST", "/v1/keys/online", self._make_successors, OPERATOR, Action.KEYS),
            Route("POST", "/v1/apply", self._apply, OPERATOR, Action.APPLY),
            Route("POST", "/v1/audit/checkpoints", self._checkpoint, REGION, Action.FETCH),
            Route("GET", "/v1/fleet", self._fleet, OPERATOR, Action.LOOK),
            Route("GET", "/v1/desired/{site}", self._desired, OPERATOR, Action.LOOK),
            Route("GET", "/v1/status", self._status, OPERATOR, Action.LOOK),
            Route("GET", "/v1/events", self._events, OPERATOR, Action.LOOK),
            Route("GET", "/v1/records/summary", self._summaries, OPERATOR, Action.LOOK),
            Route("GET", "/v1/rollout", self._rollout, OPERATOR, Action.LOOK),
            Route("POST", "/v1/rollout/{verb}", self._steer, OPERATOR, Action.STEER),
            Route("GET", "/v1/drills", self._drills, OPERATOR, Action.LOOK),
            Route("POST", "/v1/drills", self._add_drill, OPERATOR, Action.DRILL),
        ]

    # --- signed state and blobs -------------------------------------------------------

    async def _metadata(self, call: Call) -> Reply:
        role = metadata_name(call).removesuffix(".json")
        if "." not in role and role != "timestamp":  # the newest of a role, for who extends it
            data = self._notary.role_bytes(role)
            version = msgspec.json.decode(data, type=dict[str, Any])["signed"]["version"]
            return File(self._repository / "metadata" / f"{version}.{role}.json")
        return repository_file(self._repository / "metadata", f"{role}.json")

    async def _target(self, call: Call) -> Reply:
        return repository_file(self._repository / "targets", target_name(call))

    async def _put_blob(self, call: Call) -> Reply:
        length = call.length_bytes
        if length is None or length > BLOB_BYTES_MAX:
            raise CallInvalidError(
                call.name, f"its length is {length}, wanted one up to {BLOB_BYTES_MAX} bytes"
            )
        body = call.chunks()

        async def next_piece() -> bytes | None:
            return await anext(body, None)

        def pieces() -> Iterator[bytes]:
            """Hand the body over to the thread that writes it, piece by piece."""
            while (piece := from_thread.run(next_piece)) is not None:
                yield piece

        sha256 = blob_name(call)
        await to_thread.run_sync(lambda: self._blobs.put(pieces(), sha256=sha256, length=length))
        return None

    async def _take_metadata(self, call: Call) -> Reply:
        upload = await call.document(api.MetadataUpload, bytes_max=api.JSON_BODY_BYTES_MAX)
        signed = _by_role(upload)
        await check_signed(self._notary, signed, upload.targets, call.admitted.actor, self._note)
        action = action_of(signed, upload.targets, self._notary, self._settings.fleet)
        check_publishing(access_in(upload.targets, self._settings.fleet), self._gate)
        what = ", ".join(sorted({*signed, *upload.targets}))[:400] or "nothing"
        body = msgspec.json.encode(upload)
        reply: Reply = await self._gate.act(call.admitted, action, what, "metadata", body)
        return reply

    async def _publish(self, body: bytes, asker: Caller) -> Reply:
        upload = msgspec.json.decode(body, type=api.MetadataUpload)
        access = access_in(upload.targets, self._settings.fleet)
        check_publishing(access, self._gate)  # it may have waited, and another come before it
        await self._notary.take(_by_role(upload), upload.targets)
        if access is not None:
            self._gate.adopt(access)
        return api.MetadataReply(versions=self._notary.versions())

    async def _stamp(self, call: Call) -> Reply:
        request = await call.document(api.StampRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        return api.StampReply(metadata=await self._notary.stamp(request.life_s))

    async def _make_successors(self, call: Call) -> Reply:
        request = await call.document(api.SuccessorsRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        return api.SuccessorsReply(keys=await self._notary.make_successors(request.roles))

    # --- changes ----------------------------------------------------------------------

    async def _apply(self, call: Call) -> Reply:
        request = await call.document(api.ApplyRequest, bytes_max=api.JSON_BODY_BYTES_MAX)
        fleet = request.fleet
        for what, found, wanted in (
            ("the fleet", fleet.name, self._settings.fleet),
            ("its domain", fleet.domain, self._settings.domain),
        ):
            if found != wanted:
                raise UnknownFleetError(what, found, wanted)
        self._notary.check_signed(fleet, request.policy_sha256)
        policy = residency_of(self._notary, fleet.name)
        wrong = misplaced(fleet, policy) if policy else "no residency policy is signed"
        if wrong:
            raise AccessDeniedError(call.admitted.name, Action.APPLY, wrong)
        what = f"{fleet.name} on top of generation {request.expected_generation}"
        body = msgspec.json.encode(request)
        reply: Reply = await self._gate.act(call.admitted, Action.APPLY, what, "apply", body)
        return reply

    async def _apply_fleet(self, body: bytes, asker: Caller) -> Reply:
        request = msgspec.json.decode(body, type=api.ApplyRequest)
        self._notary.check_signed(request.fleet, request.policy_sha256)
        state = await self._conductor.apply(
            request.fleet,
            expected_generation=request.expected_generation,
            policy_sha256=request.policy_sha256,
            applied_by=asker.name,
            reason=request.reason,
        )
        return api.ApplyReply(
            generation=state.progress.generation,
            rings=state.rollout.rings,
            ring_names=state.rollout.ring_names,
        )

    async def _steer(self, call: Call) -> Reply:
        request = await call.document(api.RolloutRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        conductor, by = self._conductor, call.admitted.name
        match call.part("verb"):
            case "pause":
                state = await conductor.pause(by, request.reason)
            case "resume":
                state = await conductor.resume(by, request.reason)
            case "approve":
                applied = await off_loop(self._store.applied)
                if applied is not None:
                    what = f"generation {applied.generation}"
                    await self._gate.check_second(call.admitted, what, applied.applied_by)
                state = await conductor.approve(by, request.reason, any_time=request.any_time)
            case "revert":
                state = await conductor.revert(by, request.reason)
            case _:
                raise NotHereError(call.name)
        return state.status()

    async def _put_registry(self, call: Call) -> Reply:
        push = await call.document(api.RegistryPush, bytes_max=api.JSON_BODY_BYTES_MAX)
        if not is_own_region(push, call.caller):
            raise CallRefusedError(
                f"register nodes of {push.region!r}", str(call.caller), "that region's own process"
            )
        if len(push.nodes) > api.REGISTRY_NODES_MAX:
            raise CallInvalidError(
                call.name, f"{len(push.nodes)} nodes, wanted at most {api.REGISTRY_NODES_MAX}"
            )
        region = api.RegionStatus(
            region=push.region,
            region_url=push.region_url,
            nats_url=push.nats_url,
            heard_unix_s=self._clock.unix_s(),
            anchors_version=push.anchors_version,
            issuers=push.issuers,
        )
        if await off_loop(self._store.put_registry, region, push.nodes):
            self._conductor.wake()
        account = await self._account(push.region, list(push.revoked_logins))
        newer = self._anchors.version > push.anchors_version
        return api.RegistryReply(
            account_jwt=account, anchors=self._anchors.chain_bytes if newer else b""
        )

    async def _add_drill(self, call: Call) -> Reply:
        record = await call.document(DrillRecord, bytes_max=api.JSON_BODY_BYTES_MAX)
        await off_loop(self._store.add_drill, record)
        return None

    # --- audit ------------------------------------------------------------------------

    async def _checkpoint(self, call: Call) -> Reply:
        push = await call.document(CheckpointPush, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        return await self._desk.push(str(call.caller).removeprefix("spiffe://"), push)

    # --- looking ----------------------------------------------------------------------

    async def _health(self, call: Call) -> Reply:
        ready = self._nats_ready()
        return api.Health(ready=ready, role="central", name=self._settings.domain, nats_ready=ready)

    async def _fleet(self, call: Call) -> Reply:
        applied = await off_loop(self._store.applied)
        if applied is None:
            return api.AppliedReply(generation=0, fleet=None)
        return api.AppliedReply(
            generation=applied.generation,
            fleet=applied.fleet,
            policy_sha256=applied.policy_sha256,
            applied_by=applied.applied_by,
            at_unix_s=applied.at_unix_s,
        )

    async def _desired(self, call: Call) -> Reply:
        sealed = (await off_loop(self._store.sealed)).get(token("site", call.part("site")))
        document = msgspec.json.decode(sealed.document, type=Desired) if sealed else None
        return api.DesiredReply(desired=document)

    async def _status(self, call: Call) -> Reply:
        applied = await off_loop(self._store.applied)
        sealed = await off_loop(self._store.sealed)
        registered = {node.node: node for node in await off_loop(self._store.nodes)}
        regions = await off_loop(self._store.regions)
        state = await self._conductor.state()
        now_unix_s = self._clock.unix_s()
        planned = {
            node: site
            for site in (applied.fleet.sites if applied else ())
            for node in nodes_of(site)
        }
        nodes = []
        for name in sorted({*planned, *registered}):
            site = name.partition("/")[0]
            node = registered.get(name)
            seen = self._reports.all().get(name)
            age_s = None if seen is None else max(0.0, now_unix_s - seen.received_unix_s)
            region = node.region if node else planned[name].region
            word = State.UNKNOWN if seen is None else seen.observed.state
            if age_s is not None and age_s > self._settings.stale_s:
                word = State.STALE
            document = sealed.get(site)
            nodes.append(
                api.NodeStatus(
                    node=name,
                    site=site,
                    region=region,
                    state=word,
                    in_sync=bool(
                        seen
                        and document
                        and seen.observed.in_sync
                        and seen.observed.generation == document.generation
                    ),
                    age_s=age_s,
                    desired_generation=document.generation if document else 0,
                    banned=bool(node and node.banned),
                    inference_url=node.inference_url if node else "",
                    observed=seen.observed if seen else None,
                    attestation=node.attestation if node else Stands(),
                )
            )
        return api.FleetStatus(
            fleet=self._settings.fleet,
            domain=self._settings.domain,
            generation=applied.generation if applied else 0,
            at_unix_s=now_unix_s,
            nodes=tuple(nodes),
            regions=tuple(regions),
            rollout=state.status() if state else None,
            records=await off_loop(self._store.record_count),
            marker=self._settings.marker,
            anchors_version=self._anchors.version,
            issuers=self._issuers(),
        )

    async def _events(self, call: Call) -> Reply:
        after = call.number("after", 0)
        events = await off_loop(
            self._store.events,
            after=after,
            site=call.text("site"),
            kind=call.text("kind"),
            limit=call.number("limit", 100, low=1, high=1000),
        )
        return api.EventPage(events=tuple(events), next=events[-1].n if events else after)

    async def _summaries(self, call: Call) -> Reply:
        found, last, more = await off_loop(
            self._store.summaries,
            from_unix_ms=call.number("from_unix_ms", 0),
            to_unix_ms=call.number("to_unix_ms", 2**53),
            after=call.number("after", 0),
            limit=call.number("limit", 5000, low=1, high=20_000),
        )
        return api.SummaryPage(summaries=tuple(found), next=last, more=more)

    async def _rollout(self, call: Call) -> Reply:
        state = await self._conductor.state()
        return state.status() if state else NO_ROLLOUT

    async def _drills(self, call: Call) -> Reply:
        return api.DrillPage(drills=tuple(await off_loop(self._store.drills)))


def _by_role(upload: api.MetadataUpload) -> dict[str, bytes]:
    """Return signed metadata by role: `3.models.json` is that of `models`."""
    return {
        name.removesuffix(".json").rpartition(".")[2]: data
        for name, data in upload.metadata.items()
    }


def is_own_region(push: api.RegistryPush, caller: SpiffeId) -> bool:
    """Say whether a region reports itself, and nodes of its own only."""
    return push.region == caller.region and all(node.region == push.region for node in push.nodes)
