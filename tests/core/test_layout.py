"""The layering of the design, read from the imports of every module, and the size of the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "appfwd"

#: Who may import what of the package: a name stands for its module and everything within.
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "model": ("errors", "model"),
    "core": ("errors", "model", "core"),
    "ports": ("model",),
    "turns": (),
    "stopwatch": (),
    "kernel": ("errors", "model", "core", "ports", "kernel", "stopwatch", "turns"),
    "booting": ("errors", "model", "core", "ports", "kernel", "turns"),
    "reconciler": ("errors", "model", "ports", "kernel", "stopwatch"),
    "keeping": ("errors", "core.keeping", "kernel", "reconciler"),
    "watcher": ("errors", "core.work", "kernel", "reconciler"),
    "listening": ("errors", "model", "core", "ports", "listening"),
    "asking": (
        *("errors", "model", "core", "ports"),
        *("kernel", "reconciler", "listening", "asking"),
    ),
    "manager": (
        *("errors", "model", "core", "ports", "kernel", "reconciler"),
        *("listening", "asking", "manager", "turns"),
    ),
    "adapters": ("errors", "model", "ports"),
    "bus": (
        *("errors", "model", "ports", "turns", "core.explain"),
        *("reconciler", "kernel", "listening", "manager", "bus"),
    ),
    "cli": ("errors", "model", "bus.asking", "bus.client", "cli"),
    "agent": ("errors", "model", "bus.asking", "bus.notifications", "agent"),
    "daemon": (
        *(
            "errors",
            "model",
            "core.module",
            "core.work",
            "ports",
            "turns",
            "kernel",
            "keeping",
            "reconciler",
            "manager",
        ),
        *("watcher", "listening", "asking", "adapters", "bus", "booting"),
    ),
}

#: What a pure module has no use for.
IMPURE = frozenset(
    {
        *("asyncio", "logging", "os", "io", "pathlib", "random", "secrets", "shutil", "signal"),
        *("socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "datetime"),
        *("concurrent", "multiprocessing", "selectors", "uuid", "setools", "nftables", "systemd"),
    }
)
#: Times of day as values: what they are is no question to a clock.
TIMES = {"model.document", "model.whole"}
CLOCK = frozenset({"now", "today", "utcnow"})
DBUS = frozenset({"dbus", "dbus_next", "dbus_fast", "dasbus", "gi", "jeepney", "sdbus", "pydbus"})

FILE_LINES, FUNCTION_LINES = 400, 50


def sources(folder: str) -> list[Path]:
    """Return the Python files below ``folder``, in order."""
    return sorted((ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """Return a file's module within the package: ``core.nft``, and empty for the package."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> Iterator[str]:
    """Yield what a file imports of the package, without the package's name."""
    for name in imports(path):
        if name.startswith(PACKAGE + "."):
            yield name.removeprefix(PACKAGE + ".")


MODULES = [path for path in sources(PACKAGE) if module_of(path)]


def _within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer = module_of(path).split(".")[0]
    own = ".".join(module_of(path).split(".")[:2])  # adapters do not know each other
    may = (*ALLOWED[layer], own, "__version__")
    for name in own_imports(path):
        assert any(_within(name, one) for one in may), f"{module_of(path)} imports {name}"


def test_every_layer_is_there() -> None:
    """A rule for a layer that is gone, or a layer without a rule, holds nothing."""
    assert {module_of(path).split(".")[0] for path in MODULES} == set(ALLOWED)


def test_adapters_are_named_by_the_daemon_alone() -> None:
    users = {module_of(p) for p in MODULES if any(_within(n, "adapters") for n in own_imports(p))}
    assert {name for name in users if not _within(name, "adapters")} == {"daemon"}


@pytest.mark.parametrize("layer", ["errors", "model", "core"])
def test_the_core_is_pure(layer: str) -> None:
    for path in MODULES:
        if _within(module_of(path), layer):
            found = {name.split(".")[0] for name in imports(path)} & (IMPURE | DBUS)
            found -= {"datetime"} if module_of(path) in TIMES else set()
            assert not found, f"{module_of(path)} imports {found}"


@pytest.mark.parametrize("layer", ["errors", "model", "core"])
def test_the_core_opens_no_file_and_awaits_nothing(layer: str) -> None:
    for path in MODULES:
        if _within(module_of(path), layer):
            for node in ast.walk(tree_of(path)):
                assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global)
                called = node.func if isinstance(node, ast.Call) else None
                assert not (isinstance(called, ast.Name) and called.id in ("open", "print", "exec"))
                assert not (isinstance(called, ast.Attribute) and called.attr in CLOCK)


def test_one_module_names_the_dbus_library() -> None:
    users = {module_of(p) for p in MODULES if {n.split(".")[0] for n in imports(p)} & DBUS}
    assert users == {"bus.lib"}


def test_the_reader_of_imports_sees_all_forms(tmp_path: Path) -> None:
    """Also those within functions, or every rule above would hold nothing."""
    path = tmp_path / "x.py"
    path.write_text(
        "import appfwd.core.nft\nfrom appfwd.bus import lib\n"
        "def f():\n    from appfwd.model.state import Grant, Guard\n    import os\n"
    )
    assert set(imports(path)) == {
        *("appfwd.core.nft", "appfwd.bus.lib", "os"),
        *("appfwd.model.state.Grant", "appfwd.model.state.Guard"),
    }


_MEASURED = [*sources(PACKAGE), *sources("tests")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", _MEASURED, ids=_name)
def test_files_and_functions_are_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= FILE_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"
