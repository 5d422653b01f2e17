"""The story: from an empty folder to a verdict, on this machine, with nobody at the keys.

    init -> models -> check -> plan -> up -> traffic -> drills -> change -> pilot -> verdict

`skerry demo` runs it. Every step uses what a person would use: the fleet runs as its own
process (`skerry up`), drills go through its control socket, changes through the
operator's API. What was seen lands in `story.json`, from which the page is made.

Units: seconds for times, milliseconds for latencies.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skerry import __version__
from skerry.base.files import write_atomic
from skerry.base.processes import is_alive
from skerry.client.operator import Operator
from skerry.fleet.load import load_fleet
from skerry.fleet.start import start_from
from skerry.learn.magika import add_magika
from skerry.learn.releases import add_calibrated, add_slow
from skerry.learn.standin import add_standin
from skerry.local import drills
from skerry.local.errors import ChildError
from skerry.local.folder import LocalFolder
from skerry.local.pilot import PilotOutcome, run_pilot
from skerry.local.range import PEOPLE, fleet_clients, known_files
from skerry.local.record_audit import RecordAudit
from skerry.local.release import send_release
from skerry.local.run_drill import keep_record, run_kind
from skerry.local.story_tables import first_s, latency_points, tier_rows
from skerry.local.traffic import Outcome, Traffic, TruthFile
from skerry.local.up import operator_of
from skerry.plan.predict import Prediction, predict
from skerry.plan.trace import story_trace
from skerry.proof.story_report import story_html
from skerry.schema.api import RolloutStatus
from skerry.schema.drill import DrillKind, DrillRecord
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.goal import Verdict
from skerry.schema.run_file import RunFile, read_run_file
from skerry.schema.story import Mark, ReleaseNote, StoryRecord, StoryStep
from skerry.serve.onnx_engine import OnnxModel

SEED = 7
MODEL = "magika"
OWN_CLASS, OPEN_CLASS = "health", "public"
DRILLS = tuple(kind for kind in DrillKind if kind is not DrillKind.BAD_RELEASE)
"""The bad release comes later, as a change of its own."""
HOLD = "3 s"
UP_S_MAX = 90.0
HEALTHY_S = 12.0
FAULT_S = 5.0
PILOT_PAIRS = 240
REQUESTS_MIN = 2000

Say = Callable[[str], None]


def load_model(path: Path) -> OnnxModel:
    """Open a model file with the runtime that serves it."""
    return OnnxModel(path.name, path)


@dataclass(slots=True)
class Story:
    """One telling. Fields fill as it goes."""

    root: Path
    say: Say
    requests_min: int = REQUESTS_MIN
    seed: int = SEED
    folder: LocalFolder = field(init=False)
    steps: list[StoryStep] = field(default_factory=list)
    graded: list[DrillRecord] = field(default_factory=list)
    releases: list[ReleaseNote] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Promises that did not hold, one sentence each."""
    pids: set[int] = field(default_factory=set)
    prediction: Prediction | None = None
    pilot: PilotOutcome | None = None
    began_unix_s: float = 0.0

    STEPS = 11

    def __post_init__(self) -> None:
        self.folder = LocalFolder(self.root.resolve())

    # --- the telling --------------------------------------------------------------------

    def tell(self) -> StoryRecord:
        """Tell the whole story and return its record; a broken promise does not stop it."""
        self.began_unix_s = time.time()
        with self._step("init", "a fleet folder from the template `clinic`"):
            self._init()
        with self._step("model add", "magika, and a stand-in trained on the spot"):
            self._add_models()
        fleet = load_fleet(self.folder.root)
        with self._step("check", f"{len(fleet.sites)} sites, {len(fleet.models)} models"):
            load_fleet(self.folder.root)
        with self._step("plan", "a day of requests through the production decisions"):
            self.prediction = predict(
                fleet,
                lambda seed: story_trace(fleet, requests=20_000, seed=seed),
                seeds=range(self.seed, self.seed + 5),
            )
        files = known_files(self.seed)
        with self._up() as run, Traffic(files, seed=self.seed) as traffic:
            central = operator_of(self.folder, run.domain, run.central_url)
            with self._step("traffic", f"{len(files)} files of known type, three kinds of client"):
                traffic.start(fleet_clients(run, fleet))
                time.sleep(HEALTHY_S)
            range_ = drills.Range(self.folder, traffic, central, RecordAudit(self.folder))
            self._drill(range_)
            self._change(range_, fleet, central)
            offered_per_s = traffic.offered_per_s
            while len(traffic.all()) < self.requests_min:
                time.sleep(0.2)
            traffic.stop()
            outcomes = traffic.all()
            with self._step("pilot", f"{PILOT_PAIRS} files to the fleet and to the cloud alone"):
                self._pilot(run, load_fleet(self.folder.root), files)
            self._weigh(central)
            self._count_bytes(central, run)
        return self._verdict(fleet, outcomes, offered_per_s)

    # --- before anything runs -------------------------------------------------------------

    def _init(self) -> None:
        start_from("clinic", "clinic", self.folder.root)
        text = self.folder.fleet_file.read_text()
        # A story has minutes where a fleet has days: the gate holds seconds, not longer.
        shortened = text.replace("hold: 20 s", f"hold: {HOLD}")
        if shortened == text:
            raise ValueError("the template's gate has changed; the story cannot shorten it")
        self.folder.fleet_file.write_text(shortened)

    def _add_models(self) -> None:
        models, lock = self.folder.models, self.folder.root
        add_magika(models, load=load_model, lock_folder=lock)
        add_standin(models, load=load_model, lock_folder=lock, seed=self.seed)
        # The two changes of later are made now, while nothing else wants the processor.
        add_calibrated(models, load=load_model, lock_folder=lock, number=2)
        add_slow(models, load=load_model, lock_folder=lock, number=3)

    # --- the running fleet ------------------------------------------------------------------

    @contextmanager
    def _up(self) -> Iterator[RunFile]:
        """Run `skerry up` as its own process, and see that nothing of it stays."""
        log = (self.folder.root / "up.log").open("wb")
        command = [
            sys.executable,
            "-m",
            "skerry",
            "up",
            "--json",
            "--with-parent",
            str(os.getpid()),
        ]
        command += ["--folder", str(self.folder.root)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            with self._step("up", "central, two regions, six nodes as processes"):
                self._wait_ready(process)
                run = read_run_file(self.folder.run_file)
                self.pids |= {process.pid}
            yield run
        finally:
            with self._step("down", "everything stops"):
                self.pids |= _pids(self.folder)
                process.terminate()
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    self.broken.append("the fleet did not stop within 30 s")
                log.close()

    def _wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None  # noqa: S101 - asked for
        os.set_blocking(process.stdout.fileno(), False)
        deadline_s = time.monotonic() + UP_S_MAX
        shown = b""
        while b'"ready": true' not in shown:
            shown += process.stdout.read() or b""
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = (self.folder.root / "up.log").read_text(errors="replace")[-2000:]
                raise ChildError("skerry up", "did not become ready", tail)
            time.sleep(0.05)

    def _drill(self, range_: drills.Range) -> None:
        with self._step("drills", f"{len(DRILLS)} faults on purpose, under traffic"):
            for kind in DRILLS:
                self._graded(run_kind(range_, kind, for_s=FAULT_S))

    def _graded(self, record: DrillRecord) -> None:
        self.graded.append(record)
        self.marks.append((record.started_unix_s, record.kind.value))
        keep_record(self.folder, record)
        word = "passed" if record.passed else "FAILED"
        self.say(f"    {record.kind.value:<14} {word}  {record.requests} requests")
        for promise in record.promises:
            if not promise.kept:
                seen = "not seen" if promise.seen is None else f"{promise.seen:g} {promise.unit}"
                self.broken.append(
                    f"drill {record.kind.value}: {promise.name} was {seen}, "
                    f"promised {promise.limit:g}"
                )

    def _change(self, range_: drills.Range, fleet: Fleet, central: Operator) -> None:
        """Send a good change, then, as a drill, a bad one that must take itself back."""
        with self._step("change", "magika v2, signed, ring by ring"):
            began_s = time.time()
            self.marks.append((began_s, "magika v2"))
            outcome = send_release(self.folder, central, MODEL, 2)
            self._note_release("magika v1 to v2", outcome, time.time() - began_s)
            if outcome.phase != "done":
                self.broken.append(f"the good change ended {outcome.phase}: {outcome.reason}")
        # What is good stays in the file; the bad one is only ever sent.
        text = self.folder.fleet_file.read_text()
        self.folder.fleet_file.write_text(text.replace("version: v1", "version: v2", 1))
        with self._step("bad release", "magika v3 is far too slow; nobody intervenes"):
            began_s = time.time()
            last: list[RolloutStatus] = []

            def send() -> RolloutStatus:
                last.append(send_release(self.folder, central, MODEL, 3))
                return last[0]

            rings = len(fleet.rollout.rings)
            self._graded(drills.bad_release(range_, "magika v3", send, rings))
            self._note_release("magika v2 to v3", last[0], time.time() - began_s)

    def _note_release(self, what: str, outcome: RolloutStatus, duration_s: float) -> None:
        self.releases.append(
            ReleaseNote(
                change=what,
                outcome=outcome.phase,
                duration_s=duration_s,
                text=outcome.reason,
                rings_reached=min(outcome.ring + 1, len(outcome.ring_names)),
            )
        )

    # --- looking back -----------------------------------------------------------------------

    def _pilot(self, run: RunFile, fleet: Fleet, files: Sequence[TruthFile]) -> None:
        assert self.prediction is not None  # noqa: S101 - the plan came before
        cloud = next(site.name for site in fleet.sites if site.kind is Kind.CLOUD)
        edges = [site.name for site in fleet.sites if site.kind in PEOPLE]
        self.pilot = run_pilot(
            run,
            fleet,
            self.prediction,
            files[:PILOT_PAIRS],
            sites=edges,
            cloud_site=cloud,
            model=MODEL,
            data_class=OPEN_CLASS,
            seed=self.seed,
        )
        if self.pilot.a_a.word != "no difference":
            self.broken.append(f"the A/A run said {self.pilot.a_a.word}")

    def _weigh(self, central: Operator) -> None:
        """Note what the processes weigh, as they report it themselves."""
        reports = [node.observed for node in central.status().nodes if node.observed is not None]
        agent = max(report.agent_rss_bytes for report in reports) / 2**20
        worker = max(report.worker_rss_bytes for report in reports) / 2**20
        self.facts["memory of the largest agent"] = f"{agent:.0f} MiB"
        self.facts["memory of the largest worker"] = f"{worker:.0f} MiB"
        self.facts["agent and worker together"] = f"{agent + worker:.0f} MiB"

    def _count_bytes(self, central: Operator, run: RunFile) -> None:
        """Count content that left a clinic: the promise of this story is none."""
        summaries = central.summaries(run.started_unix_s, time.time())
        own = [one for one in summaries if one.data_class == OWN_CLASS]
        raw_bytes = sum(one.bytes_upstream for one in own)
        self.facts["raw bytes upstream"] = f"{raw_bytes} B"
        self.facts["requests counted by the fleet"] = str(sum(one.count for one in summaries))
        if raw_bytes:
            self.broken.append(f"{raw_bytes} content bytes of class {OWN_CLASS} left their site")

    def _verdict(
        self, fleet: Fleet, outcomes: Sequence[Outcome], offered_per_s: float
    ) -> StoryRecord:
        left = self._processes_left()
        if left:
            self.broken.append(f"{left} processes were still there at the end")
        tiers = tuple(tier_rows(fleet, outcomes, offered_per_s))
        failed = sum(row.failed for row in tiers)
        if failed:
            self.broken.append(f"{failed} requests failed")
        sent = len(outcomes)
        if sent < self.requests_min:
            self.broken.append(f"{sent} files were sent, promised {self.requests_min}")
        assert self.pilot is not None  # noqa: S101 - told before the verdict
        record = self.pilot.record
        missed = [
            goal.name.value
            for goal in record.goals
            if goal.verdict in (Verdict.MISSED, Verdict.MISSED_EMULATED)
        ]
        if missed:
            self.broken.append(f"goals missed: {', '.join(missed)}")
        story = StoryRecord(
            fleet=fleet.name,
            at_unix_s=self.began_unix_s,
            duration_s=time.time() - self.began_unix_s,
            machine=_machine(),
            version=__version__,
            seed=self.seed,
            steps=tuple(self.steps),
            tiers=tiers,
            goals=record.goals,
            comparisons=record.comparisons,
            drills=tuple(self.graded),
            releases=tuple(self.releases),
            latency=tuple(latency_points(outcomes)),
            marks=tuple(
                Mark(at_s=at_s - first_s(outcomes), text=text) for at_s, text in self.marks
            ),
            facts={**self.facts, "A/A run": self.pilot.a_a.word},
            limits=(
                "Links between places are emulated: no verdict here is a measured one.",
                "Energy, carbon and cost are estimates from stated tables; nothing was metered.",
                "Keys were made on the spot and are marked THROWAWAY.",
                *record.limits,
            ),
            processes_left=left,
            verdict=record.verdict,
            exit_code=1 if self.broken else 0,
            exit_reason="; ".join(self.broken) or "every promise held",
        )
        write_atomic(
            self.root / "story.json", msgspec.json.format(msgspec.json.encode(story), indent=1)
        )
        write_atomic(self.root / "story.html", story_html(story).encode())
        return story

    def _processes_left(self) -> int:
        return sum(is_alive(pid) for pid in self.pids)

    @contextmanager
    def _step(self, name: str, text: str) -> Iterator[None]:
        number = len(self.steps) + 1
        self.say(f"[{number}/{self.STEPS}] {name}: {text}")
        began_s = time.monotonic()
        broken = len(self.broken)
        try:
            yield
        finally:
            duration_s = time.monotonic() - began_s
            self.steps.append(
                StoryStep(
                    name=name, duration_s=duration_s, text=text, ok=len(self.broken) == broken
                )
            )
            self.say(f"        {duration_s:.1f} s")


def _pids(folder: LocalFolder) -> set[int]:
    """Return every process that the fleet runs now, message servers included."""
    found: set[int] = set()
    marker = os.fsencode(str(folder.state))
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = f"Python {platform.python_version()}"
    return f"{cores} cores, {platform.machine()}, {platform.system()}, {python}"
