"""The `trust:` part of the fleet file, resolved: a value for every demand."""

from skerry.base.units import SECONDS_PER_DAY
from skerry.fleet.findings import Findings
from skerry.fleet.tables import machine_types
from skerry.schema.access import ROLES, TWO_PERSON_ABLE, Action
from skerry.schema.attestation import Mode
from skerry.schema.clients import ClientPolicy, Who, is_sha256
from skerry.schema.custody import CustodyPolicy, Signer, Step
from skerry.schema.fleet_file import FleetFile
from skerry.schema.tamper import Reaction, TamperPolicy
from skerry.schema.trust import Access, Attestation, Trust, Updates
from skerry.trust.custody_errors import SignerError
from skerry.trust.custody_sign import public_key

_FILES = {"makers": "TPM makers' certificates", "reference": "reference values"}
HOW_TO_LIST = "`skerry trust client-token NAME` makes a token and prints its hash"
SITE_LIFE_S_MAX = 730 * SECONDS_PER_DAY
"""A region's own authority lives for 800 days, and none outlives its issuer."""


def resolve_trust(file: FleetFile, notes: Findings) -> Trust:
    """Return what the fleet demands; what is wrong goes into `notes`."""
    return Trust(
        access=_access(file, notes),
        attestation=_attestation(file, notes),
        tamper=_tamper(file, notes),
        clients=_clients(file, notes),
        site_life_s=notes.quantity(
            file.trust.site_life,
            "s",
            ("trust", "site_life"),
            low=SECONDS_PER_DAY,
            high=SITE_LIFE_S_MAX,
        ),
        custody=_custody(file, notes),
        updates=_updates(file, notes),
        provenance_required=_provenance_required(file, notes),
        builders=_builders(file, notes),
    )


def _provenance_required(file: FleetFile, notes: Findings) -> bool:
    wish, known = file.trust.provenance, ("required", "optional")
    if wish not in known:
        notes.unknown(("trust", "provenance"), "demand for provenance", wish, known)
    return wish == "required"


def _builders(file: FleetFile, notes: Findings) -> tuple[str, ...]:
    if not file.trust.builders:
        return ()
    from skerry.trust.provenance import read_builder  # takes a while, and few name any

    for index, text in enumerate(file.trust.builders):
        try:
            read_builder(text)
        except ValueError:
            path = ("trust", "builders", index)
            advice = "openssl pkey -in KEY -pubout -outform DER | base64 -w0"
            notes.bad_value(path, "it is no public key in base64 of its DER form", advice)
    return tuple(file.trust.builders)


def _updates(file: FleetFile, notes: Findings) -> Updates:
    updates = file.trust.updates
    models = tuple(model.name for model in file.models)
    machines = (*machine_types(), *file.machines)
    for part, known, kind in (("hw", machines, "machine"), ("needs", models, "model")):
        for model, values in getattr(updates, part).items():
            path = ("trust", "updates", part, model)
            if model not in models:
                notes.unknown(path, "model", model, models)
            for index, value in enumerate(values):
                if value not in known:
                    notes.unknown((*path, index), kind, value, known)
    return Updates(
        min_release=updates.min_release,
        hw={model: tuple(sorted(set(kinds))) for model, kinds in updates.hw.items()},
        needs={model: tuple(sorted(set(others))) for model, others in updates.needs.items()},
    )


def _attestation(file: FleetFile, notes: Findings) -> Attestation:
    wanted, at = file.trust.attestation, ("trust", "attestation")
    modes = [mode.value for mode in Mode]
    if wanted.mode not in modes:
        notes.unknown((*at, "mode"), "mode", wanted.mode, modes)
        return Attestation()
    mode = Mode(wanted.mode)
    if mode is not Mode.OFF:
        for name in ("makers", "reference"):
            if not getattr(wanted, name):
                what = f"`mode: {mode}` needs a file of {_FILES[name]}"
                notes.bad_value((*at, "mode"), what, f"add `{name}: FILE`")
    return Attestation(
        mode=mode,
        makers=wanted.makers,
        reference=wanted.reference,
        secure_boot=wanted.secure_boot,
        report_s=notes.quantity(wanted.report, "s", (*at, "report"), low=10, high=86_400),
        holds_s=notes.quantity(wanted.holds, "s", (*at, "holds"), low=60),
    )


def _access(file: FleetFile, notes: Findings) -> Access:
    access = file.trust.access
    for name, roles in access.people.items():
        for index, role in enumerate(roles):
            if role not in ROLES:
                path = ("trust", "access", "people", name, index)
                notes.unknown(path, "role", role, ROLES)
    known = tuple(action.value for action in TWO_PERSON_ABLE)
    for index, action in enumerate(access.two_person):
        if action not in known:
            notes.unknown(("trust", "access", "two_person", index), "action", action, known)
    return Access(
        people={name: tuple(dict.fromkeys(roles)) for name, roles in access.people.items()},
        two_person=tuple(Action(one) for one in dict.fromkeys(access.two_person) if one in known),
        policies=access.policies,
    )


DEBOUNCE_S_MAX = 10.0


def _clients(file: FleetFile, notes: Findings) -> ClientPolicy:
    clients, path = file.trust.clients, ("trust", "clients")
    known = tuple(who.value for who in Who)
    if clients.who not in known:
        notes.unknown((*path, "who"), "kind of client", clients.who, known)
        return ClientPolicy()
    for name, text in clients.tokens.items():
        if not is_sha256(text):
            notes.bad_value((*path, "tokens", name), "is no SHA-256 in hex", HOW_TO_LIST)
    who = Who(clients.who)
    if who is Who.TOKEN and not clients.tokens:
        notes.bad_value((*path, "tokens"), "lists no token, so nobody could call", HOW_TO_LIST)
    return ClientPolicy(who=who, tokens=clients.tokens, roots_pem=clients.roots)


def _tamper(file: FleetFile, notes: Findings) -> TamperPolicy:
    tamper = file.trust.tamper
    known = tuple(reaction.value for reaction in Reaction)
    chosen = {}
    for name in ("on_open", "on_lost"):
        word = getattr(tamper, name)
        if word in known:
            chosen[name] = Reaction(word)
        else:
            notes.unknown(("trust", "tamper", name), "reaction", word, known)
    return TamperPolicy(
        **chosen,
        forget_enrolment=tamper.forget_enrolment,
        debounce_s=notes.quantity(
            tamper.debounce, "s", ("trust", "tamper", "debounce"), high=DEBOUNCE_S_MAX
        ),
    )


def _custody(file: FleetFile, notes: Findings) -> CustodyPolicy:
    custody, known = file.trust.custody, tuple(step.value for step in Step)
    signers = []
    for index, written in enumerate(custody.signers):
        path = ("trust", "custody", "signers", index)
        for at, step in enumerate(written.may):
            if step not in known:
                notes.unknown((*path, "may", at), "step", step, known)
        if [one.name for one in custody.signers].count(written.name) > 1:
            notes.duplicate((*path, "name"), f"there are two signers `{written.name}`")
        signer = Signer(
            name=written.name,
            key=written.key,
            may=tuple(Step(step) for step in dict.fromkeys(written.may) if step in known),
        )
        try:
            public_key(signer)
        except SignerError as error:
            notes.bad_value((*path, "key"), str(error), "skerry custody key FILE prints one")
        signers.append(signer)
    if custody.required and not signers:
        notes.contradiction(
            ("trust", "custody", "required"), "nobody's signature counts", "name the signers"
        )
    return CustodyPolicy(required=custody.required, signers=tuple(signers))
