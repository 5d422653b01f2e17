"""Custody: a whole chain says where a machine is; a broken one names the step that broke it."""

import base64
import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.custody import SignedEntry, Step
from skerry.testing.papers import (
    KEYS,
    MACHINE,
    NODE,
    POLICY,
    SIGNERS,
    START_UNIX_S,
    Papers,
    delivered,
    installed,
)
from skerry.trust.custody import (
    GRAPH,
    Custody,
    GapKind,
    Where,
    check_next,
    is_window,
    judge,
    missing_steps,
    quarantine_reason,
)
from skerry.trust.custody_errors import (
    CustodyConflictError,
    CustodyError,
    CustodyFileError,
    SignerError,
)
from skerry.trust.custody_sign import (
    entry_of,
    from_line,
    from_lines,
    new_signing_key,
    read_chain,
    read_signing_key,
    signed_by,
    to_line,
    to_lines,
)
from skerry.trust.errors import KeyFileError


def judged(papers: Papers) -> Custody:
    return judge(papers.chain, SIGNERS)


def test_a_whole_chain_says_where_the_machine_is_and_under_which_seals() -> None:
    custody = judged(installed())
    assert custody.whole
    assert (custody.where, custody.place) == (Where.IN_SERVICE, NODE)
    assert (custody.holder, custody.seals) == ("site", ("S1", "S2"))
    assert quarantine_reason(custody, POLICY, node=NODE, ek_sha256="AB" * 32) is None


def test_a_life_from_factory_to_scrap_has_no_gap() -> None:
    papers = (
        installed()
        .window(START_UNIX_S + 20_000, START_UNIX_S + 30_000)
        .add(Step.BADGE, "site", "anna", badge="17", place=NODE)
        .add(Step.OPENED, "site", "anna", seals_left=("S2",), place=NODE)
        .add(Step.REPAIRED, "anna", "site", seals_left=("S2", "S3"), place=NODE)
        .add(Step.VISIT, "site", "anna", starts_unix_s=START_UNIX_S, ends_unix_s=START_UNIX_S + 60)
        .add(Step.SHIPPED, "site", "carrier")
        .add(Step.RECEIVED, "carrier", "store")
        .add(Step.OPENED, "store", "anna", seals_left=())
        .add(Step.REPAIRED, "anna", "store", seals_left=("S4",))
        .add(Step.SCRAPPED, "site", "anna", seals_left=())
    )
    custody = judged(papers)
    assert custody.gaps == ()
    assert custody.where is Where.SCRAPPED


@pytest.mark.parametrize(
    ("papers", "kind", "text"),
    [
        (
            Papers()
            .add(Step.MADE, "maker", "maker")
            .add(Step.SHIPPED, "maker", "carrier")
            .add(Step.INSTALLED, "store", "site", place=NODE),
            GapKind.STEP,
            "received is missing before it",
        ),
        (
            Papers().add(Step.MADE, "maker", "maker").add(Step.OPENED, "site", "anna"),
            GapKind.STEP,
            "shipped, received are missing",
        ),
        (
            delivered().add(Step.INSTALLED, "store", "site", seals_found=("S1", "S9")),
            GapKind.SEAL,
            "found seals S1, S9, wanted S1, S2",
        ),
        (
            delivered().add(Step.INSTALLED, "store", "site", seals_left=("S1",)),
            GapKind.SEAL,
            "leaves seals S1",
        ),
        (installed().add(Step.OPENED, "site", "anna"), GapKind.SEAL, "every seal still on"),
        (
            installed().add(Step.SEAL, "site", "anna", seals_left=("S5", "S5")),
            GapKind.SEAL,
            "one seal number twice",
        ),
        (delivered().add(Step.INSTALLED, "store", "ghost"), GapKind.SIGNATURE, "ghost is nobody"),
        (delivered().add(Step.INSTALLED, "store", "carrier"), GapKind.SIGNATURE, "may not sign"),
        (delivered().add(Step.INSTALLED, "site", "site"), GapKind.SIGNATURE, "two people"),
        (delivered().add(Step.INSTALLED, "store", "site", previous="0" * 64), GapKind.LINK, ""),
        (delivered().add(Step.INSTALLED, "store", "site", number=7), GapKind.LINK, "entry 7"),
        (delivered().add(Step.INSTALLED, "store", "site", machine="SN-1"), GapKind.LINK, "SN-1"),
        (
            delivered().add(Step.INSTALLED, "store", "site", at_unix_s=START_UNIX_S),
            GapKind.TIME,
            "earlier than the entry before",
        ),
        (installed().window(20, 10), GapKind.TIME, "ends before it starts"),
    ],
)
def test_one_wrong_thing_is_one_gap_named_by_its_step(
    papers: Papers, kind: GapKind, text: str
) -> None:
    (gap,) = judged(papers).gaps
    assert gap.kind is kind
    assert gap.step == entry_of(papers.chain[-1]).step
    assert text in gap.text


def test_after_scrap_nothing_follows() -> None:
    papers = installed().add(Step.SCRAPPED, "site", "anna").add(Step.SHIPPED, "site", "anna")
    (gap,) = judged(papers).gaps
    assert "nothing of the kind follows where the machine is scrapped" in gap.text


def test_the_walk_goes_on_behind_a_gap_and_finds_the_next() -> None:
    papers = (
        Papers()
        .add(Step.MADE, "maker", "maker", seals_left=("S1",))
        .add(Step.RECEIVED, "carrier", "store")
        .add(Step.INSTALLED, "store", "site", seals_found=("S7",), seals_left=("S7",))
    )
    assert [(gap.number, gap.kind) for gap in judged(papers).gaps] == [
        (1, GapKind.STEP),
        (2, GapKind.SEAL),
    ]


def test_a_changed_byte_breaks_the_signature_and_the_link_behind_it() -> None:
    papers = installed()
    forged = papers.chain[1].payload.replace(b"carrier", b"courier")
    papers.chain[1] = msgspec.structs.replace(papers.chain[1], payload=forged)
    assert [gap.number for gap in judged(papers).gaps] == [1, 2]


def test_a_signature_by_another_key_does_not_count() -> None:
    papers = installed()
    papers.chain[3] = signed_by(papers.chain[3], "site", Ed25519PrivateKey.generate())
    (gap,) = judged(papers).gaps
    assert "not signed by site" in gap.text


def test_a_removed_entry_is_noticed() -> None:
    papers = installed()
    del papers.chain[2]
    assert judged(papers).gaps


@pytest.mark.parametrize(
    ("papers", "ek", "text"),
    [
        (Papers(), "", "no chain of custody"),
        (delivered(), "", "in-store at oslo"),
        (installed(), "cd" * 32, "another TPM"),
        (delivered().add(Step.INSTALLED, "store", "site", place="bergen/2"), "", "bergen/2"),
        (delivered().add(Step.INSTALLED, "store", "ghost", place=NODE), "", "entry 3 (installed)"),
    ],
)
def test_papers_out_of_order_mean_quarantine(papers: Papers, ek: str, text: str) -> None:
    refusal = quarantine_reason(judged(papers), POLICY, node=NODE, ek_sha256=ek)
    assert refusal is not None
    assert refusal.rule == "CUSTODY_BROKEN"
    assert text in refusal.text


def test_without_papers_a_fleet_that_wants_none_lets_a_machine_in() -> None:
    lenient = msgspec.structs.replace(POLICY, required=False)
    assert quarantine_reason(None, lenient, node=NODE) is None
    assert quarantine_reason(judged(delivered()), lenient, node=NODE) is not None


def test_every_step_but_the_first_leads_somewhere_and_missing_steps_are_the_fewest() -> None:
    assert missing_steps(Where.UNKNOWN, Step.OPENED)[0].startswith("made, shipped, received are")
    for where in Where:
        for step in Step:
            text, after = missing_steps(where, step)
            assert (not text) == (step in GRAPH[where])
            assert after in Where


def test_a_window_opens_and_shuts_by_its_times_for_its_node_only() -> None:
    signed = installed().window(1000, 2000).chain[-1]
    assert is_window(signed, SIGNERS, node=NODE, unix_s=1000)
    assert not is_window(signed, SIGNERS, node=NODE, unix_s=2000)
    assert not is_window(signed, SIGNERS, node=NODE, unix_s=999)
    assert not is_window(signed, SIGNERS, node="oslo/2", unix_s=1500)
    assert not is_window(installed().chain[-1], SIGNERS, node=NODE, unix_s=1500)
    alone = msgspec.structs.replace(signed, signatures=signed.signatures[:1])
    assert not is_window(alone, SIGNERS, node=NODE, unix_s=1500)


def test_what_is_kept_on_top_of_a_chain_follows_it_and_is_signed() -> None:
    papers = installed()
    *chain, last = papers.chain
    assert check_next(last, MACHINE, chain, SIGNERS).step is Step.INSTALLED
    with pytest.raises(CustodyConflictError, match="wanted entry 2"):
        check_next(last, MACHINE, chain[:2], SIGNERS)
    with pytest.raises(CustodyFileError, match="wanted 'SN-1'"):
        check_next(last, "SN-1", chain, SIGNERS)
    alone = msgspec.structs.replace(last, signatures=last.signatures[:1])
    with pytest.raises(SignerError, match="not signed by site"):
        check_next(alone, MACHINE, chain, SIGNERS)
    assert check_next(alone, MACHINE, chain, None)


def test_a_gap_is_kept_as_evidence() -> None:
    papers = delivered().add(Step.INSTALLED, "store", "site", seals_found=("S9",))
    *chain, last = papers.chain
    assert check_next(last, MACHINE, chain, SIGNERS).seals_found == ("S9",)


def test_a_chain_is_the_same_after_its_way_through_a_file(tmp_path: Path) -> None:
    chain = installed().chain
    (tmp_path / "chain.jsonl").write_bytes(to_lines(chain))
    assert read_chain(tmp_path / "chain.jsonl") == chain
    assert set(msgspec.json.decode(to_line(chain[0]))) == {"payload", "payloadType", "signatures"}


def test_signatures_are_those_of_dsse() -> None:
    """The pre-authentication encoding of the DSSE protocol, written out by hand."""
    signed = installed().chain[0]
    kind = b"application/vnd.skerry.custody+json"
    said = b"DSSEv1 " + b" ".join(
        (str(len(kind)).encode(), kind, str(len(signed.payload)).encode(), signed.payload)
    )
    KEYS["maker"].public_key().verify(signed.signatures[0].sig, said)


def test_a_key_is_made_once_and_read_with_its_passphrase(tmp_path: Path) -> None:
    text = new_signing_key(tmp_path / "a.pem", "pass")
    assert len(base64.b64decode(text)) == 32
    with pytest.raises(KeyFileError, match="there already"):
        new_signing_key(tmp_path / "a.pem", "pass")
    with pytest.raises(KeyFileError):
        read_signing_key(tmp_path / "a.pem", "wrong")
    assert read_signing_key(tmp_path / "a.pem", "pass").public_key() is not None


def test_a_fleet_file_key_that_is_no_key_is_a_gap_not_a_crash() -> None:
    signers = {**SIGNERS, "maker": msgspec.structs.replace(SIGNERS["maker"], key="AAAA")}
    assert {gap.kind for gap in judge(installed().chain, signers).gaps} == {GapKind.SIGNATURE}


def test_a_file_that_is_too_long_names_itself(tmp_path: Path) -> None:
    with pytest.raises(CustodyFileError, match="8192"):
        from_line(b"x" * 9000)
    with pytest.raises(CustodyFileError, match="more than 4096 entries"):
        from_lines(to_line(installed().chain[0]) * 4097, "chain")
    with pytest.raises(CustodyFileError, match="chain:2"):
        from_lines(to_line(installed().chain[0]) + b"{}\n", "chain")


wild_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
fields = st.dictionaries(
    st.sampled_from(("machine", "number", "previous", "step", "at_unix_s", "giver", "taker")),
    wild_json,
)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_chain_or_a_named_error(data: bytes) -> None:
    started_s = time.perf_counter()
    try:
        judge(from_lines(data, "fuzz"), SIGNERS)
    except CustodyError:
        pass
    assert time.perf_counter() - started_s < 0.1


@given(wild_json | fields, st.lists(st.binary(max_size=70), max_size=3))
def test_any_payload_and_signatures_are_a_verdict(payload: object, signatures: list[bytes]) -> None:
    try:
        encoded = msgspec.json.encode(payload)
    except (UnicodeEncodeError, OverflowError):  # lone surrogates
        return
    line = msgspec.json.encode(
        {
            "payload": encoded,
            "payloadType": "application/vnd.skerry.custody+json",
            "signatures": [{"keyid": "maker", "sig": one} for one in signatures],
        }
    )
    if len(line) <= 8192:
        assert judge([from_line(line)], SIGNERS).gaps


@given(st.lists(st.sampled_from(list(Step)), max_size=12))
def test_any_order_of_steps_is_a_verdict_and_only_a_walk_of_the_graph_is_whole(
    steps: list[Step],
) -> None:
    papers = Papers()
    for step in steps:
        papers.add(step, "anna", "site", starts_unix_s=1, ends_unix_s=2)
    where, legal = Where.UNKNOWN, True
    for step in steps:
        legal = legal and step in GRAPH[where]
        where = GRAPH[where].get(step, where)
    steps_wrong = [gap for gap in judged(papers).gaps if gap.kind is GapKind.STEP]
    assert legal == (not steps_wrong)


def test_a_signed_entry_keeps_the_bytes_that_were_signed() -> None:
    signed: SignedEntry = installed().chain[2]
    assert from_line(to_line(signed)).payload == signed.payload
