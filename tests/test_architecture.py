"""The walls of the house, held by reading the source. Each rule stands in CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from channels.providers import REGISTRY

ROOT = Path(__file__).parent.parent
APPS = ("channels", "incidents", "feedback")
# Who may import whom: feedback → incidents → channels.
MAY_IMPORT = {"channels": set(), "incidents": {"channels"}, "feedback": {"channels", "incidents"}}
SDKS = {"boto3", "botocore", "tweepy", "smtplib", "httpx", "apprise", "redis"}
SOURCES = sorted(p for app in (*APPS, "commsportal") for p in (ROOT / app).rglob("*.py") if "migrations" not in p.parts)
OUTSIDE_PROVIDERS = [p for p in SOURCES if (ROOT / "channels/providers") not in p.parents]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names of everything a file imports, inside functions as well, except for type checking only."""
    package = path.relative_to(ROOT).parts[:-1]
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def test_imports_go_one_way():
    wrong = {}
    for path in SOURCES:
        app = path.relative_to(ROOT).parts[0]
        found = {one.split(".")[0] for one in imports(path)} & set(APPS)
        if app in APPS and found - MAY_IMPORT[app] - {app}:
            wrong[name(path)] = found
    assert wrong == {}


def test_the_admin_base_imports_no_app():
    assert not {one.split(".")[0] for one in imports(ROOT / "commsportal/admin.py")} & set(APPS)


def test_only_a_provider_or_an_integration_imports_an_sdk():
    others = [
        p for p in SOURCES if not name(p).startswith(("channels/providers/", "channels/brokers/", "incidents/aws/"))
    ]
    assert [name(p) for p in others if {one.split(".")[0] for one in imports(p)} & SDKS] == []


def test_only_delivery_sends():
    """Others may ask a provider what it can do; the one caller of `Provider.send` is the engine."""
    wrong = []
    for path in OUTSIDE_PROVIDERS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.search(r"provider\w*(\(\))?\.send$", ast.unparse(node.func)):
                wrong.append(name(path))
    assert set(wrong) == {"channels/delivery.py"}


def test_nobody_outside_the_providers_names_one():
    """A provider's module is imported by the registry alone; others ask the registry, or the capabilities."""
    wrong = {}
    for path in OUTSIDE_PROVIDERS:
        modules = {one.split(".")[2] for one in imports(path) if one.startswith("channels.providers.")}
        # What the internal side shares with the providers on AWS: logging in, and what the SDK's failures mean.
        shared = {"aws"} if name(path).startswith("incidents/aws/") else set()
        if modules - {"base", "choices", "get", "REGISTRY"} - shared:
            wrong[name(path)] = modules
    assert wrong == {}


def test_code_asks_the_capability_and_never_which_provider_it_is():
    ladders = {}
    for path in OUTSIDE_PROVIDERS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(
                isinstance(c, ast.Constant) and c.value in REGISTRY for c in [node.left, *node.comparators]
            ):
                ladders[name(path)] = ast.unparse(node)
    assert ladders == {}


def test_there_is_no_drawer_for_everything():
    assert [name(p) for p in SOURCES if p.stem in ("utils", "services", "selectors", "helpers")] == []


PAGES = [p for p in (ROOT / "templates").rglob("*.html") if "messages" not in p.parts]
STATIC = [p for p in (ROOT / "static").rglob("*") if p.suffix in (".js", ".css", ".svg")]
FETCHES = re.compile(
    r"""(?:\bsrc|\bsrcset|\bdata|<link[^>]*\bhref)\s*=\s*["']?\s*(?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//|\b(?:fetch|import|WebSocket)\(\s*["'`](?:\w+:)?//""",
    re.I,
)


def test_no_page_loads_anything_from_another_host():
    assert [name(p) for p in PAGES + STATIC if FETCHES.search(p.read_text())] == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example.com/x.js">',
        "<link rel=stylesheet href='//fonts.example.com/css'>",
        "a { background: url(http://example.com/x.png) }",
        '@import "https://example.com/x.css";',
        'fetch("https://example.com")',
    ],
)
def test_the_rule_about_other_hosts_would_notice(text):
    assert FETCHES.search(text)


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", (ROOT / lock).read_text(), re.M))


def test_lock_files_name_no_registry():
    for lock in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / lock).read_text())


def test_a_development_environment_serves_the_demo_as_well():
    """./run demo accepts it: so it must hold the very same versions."""
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_every_setting_is_in_the_readme():
    calls = re.findall(r"""\benv(?:\.\w+)?\(\s*["']([A-Z_]+)["']""", (ROOT / "commsportal/settings.py").read_text())
    assert len(calls) > 20
    table = (ROOT / "README.md").read_text()
    assert [one for one in dict.fromkeys(calls) if f"`{one}`" not in table] == []


def test_settings_are_read_in_one_place_only():
    """A worker or a web process is configured by what settings.py reads, and by nothing else."""
    readers = [
        name(p) for p in SOURCES if re.search(r"\bos\.(environ|getenv)\b", p.read_text()) and p.name != "settings.py"
    ]
    assert set(readers) <= {"commsportal/wsgi.py", "channels/worker.py"}
