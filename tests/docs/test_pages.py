"""The pages are complete: what the code has stands in them, and links lead somewhere."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from skerry.base.errors import Exit
from skerry.central.settings import CentralSettings
from skerry.cli.main import VERBS
from skerry.region.settings import RegionSettings
from skerry.spine import subjects
from skerry.spine.nats_server import BINARY_VARIABLE

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
NOT_IN_A_PAGE = re.compile(
    r"(?<![\w.])/(?:home|root|work|Users|tmp)/\w|\b(?:TODO|FIXME)\b|lorem", re.IGNORECASE
)


def tool(name: str) -> ModuleType:
    """Import one of `tools/`, which is no package."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def test_made_pages_are_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = tool("make_docs")
    assert page("errors.md") == made.errors_page()
    assert page("cli.md") == made.cli_page()
    assert page("process-settings.md") == made.settings_page()


def test_every_link_and_every_anchor_leads_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert tool("check_docs").dead_links() == []


def test_a_link_that_leads_nowhere_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Here\n[b](b.md) [c](#gone) [d](#here)\n")
    monkeypatch.chdir(tmp_path)
    found = tool("check_docs").dead_links()
    assert found == ["docs/a.md: b.md does not exist", "docs/a.md: #gone is no heading there"]


def test_every_error_class_has_a_meaning_that_helps() -> None:
    made = tool("make_docs")
    thin = [kind.__name__ for kind in made.error_classes() if len(kind.__doc__ or "") < 20]
    assert thin == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_its_place(verb: str) -> None:
    assert f"## skerry {verb}\n" in page("cli.md")


@pytest.mark.parametrize("document", [CentralSettings, RegionSettings])
def test_every_setting_has_its_sentence(document: type[msgspec.Struct]) -> None:
    says = tool("make_docs").sentences(document)
    assert [f.name for f in msgspec.structs.fields(document) if not says.get(f.name)] == []


def test_every_exit_code_is_explained() -> None:
    text = page("environment.md")
    assert [code for code in Exit if f"| {int(code)} |" not in text] == []


def test_every_environment_variable_is_explained() -> None:
    """A variable is read through a constant or a literal; both are looked for."""
    used = {BINARY_VARIABLE}
    for source in (ROOT / "src").rglob("*.py"):
        used |= set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source.read_text()))
    assert [name for name in used if f"`{name}`" not in page("environment.md")] == []


def test_every_subject_and_stream_is_listed() -> None:
    text = page("subjects.md")
    listed = {match.partition(".")[0] for match in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)}
    made = {
        subjects.telemetry_of("r").partition(".")[0],
        subjects.status_of("r").partition(".")[0],
        subjects.command("r", "s").partition(".")[0],
        subjects.UP_ALL.partition(".")[0],
        subjects.inbox_node("r", "s", 1).partition(".")[0],
    }
    assert made <= listed
    assert {subjects.TEL, subjects.UP} <= listed


def test_every_json_document_is_listed() -> None:
    text = page("json.md")
    names = set()
    for source in (ROOT / "src/skerry/cli").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "print_json"
                and isinstance(node.args[0], ast.Constant)
            ):
                names.add(node.args[0].value)
    assert len(names) > 10
    assert [name for name in names if f"`skerry.cli.{name}/1`" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_belongs_to_no_machine_and_is_finished(path: Path) -> None:
    text = path.read_text()
    assert NOT_IN_A_PAGE.findall(text) == []
    assert text.startswith("# ")


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    missing = [
        str(p)
        for p in pages
        if p.parent.name in ("tutorial", "how-to", "reference", "explanation")
        and f"({p})" not in index
    ]
    assert missing == []


def test_python_examples_name_only_what_exists() -> None:
    """Each example compiles, and each name that it imports from skerry is there."""
    examples = [code for path in PAGES for code in PYTHON.findall(path.read_text())]
    assert len(examples) >= 2
    for code in examples:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skerry"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name)
