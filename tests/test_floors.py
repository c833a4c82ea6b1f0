"""Who may import whom: packages stand on two floors, their folders on several, and nothing points up or in circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the top down. A folder may import those on the floors below it, and none beside it.
FLOORS = {
    "counting_env": [],  # flat
    "bisim_theory": [
        ["__main__"],
        ["cli", "integrations"],
        ["monitor"],
        ["report"],
        ["analysis", "stored"],
        ["outcome"],
        ["theorem", "formats"],
        ["relation"],
        ["data"],
        ["files", "progress", "console", "_aliases"],
    ],
    "pjepa_agent": [
        ["__main__"],
        ["cli", "fitting", "integrations"],
        ["run"],
        ["figures", "training"],
        ["planning"],
        ["evaluation"],
        ["collection", "runs", "objectives"],
        ["auxiliary", "model"],
        ["compute", "networks"],
        ["envs"],
        ["config", "_aliases"],
    ],
}
PACKAGES_BELOW = {"counting_env": set(), "bisim_theory": set(), "pjepa_agent": {"bisim_theory", "counting_env"}}


def modules(package):
    folder = ROOT / "packages" / package.replace("_", "-") / "src" / package
    return {path.relative_to(folder.parent): path for path in sorted(folder.rglob("*.py"))}


def name_of(path):
    """The dotted name of a module, as imports have it."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path, known, at_once):
    """Modules of this repository that a file imports, anywhere or only as it is imported itself."""
    tree = ast.parse(path.read_text())
    nodes = _at_once(tree) if at_once else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {node.module}
    return {name for name in found if name.split(".")[0] in FLOORS}


def _at_once(tree):
    """Statements that run on import: not those in functions, nor those for type checkers alone."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("package", FLOORS)
def test_nothing_points_up(package):
    known = {name_of(path) for each in FLOORS for path in modules(each)}
    floor = {name: number for number, names in enumerate(FLOORS[package]) for name in names}
    for path, file in modules(package).items():
        room = path.with_suffix("").parts[1]
        assert room in floor or room == "__init__" or not floor, f"{path}: stands on no floor"
        for name in imported(file, known, at_once=False):
            other, *rooms = name.split(".")
            if other != package:
                assert other in PACKAGES_BELOW[package], f"{path} imports {name}"
            elif floor and room in floor and rooms and rooms[0] != room:
                assert floor[rooms[0]] > floor[room], f"{path} imports {name}"


def test_planners_know_a_rollout_and_a_cost_and_no_model():
    known = {name_of(path) for path in modules("pjepa_agent")}
    planners = ("base", "noise", "spaces", "costs", "prefixes", "sampling", "cem", "icem", "mppi", "exhaustive")
    files = {path: file for path, file in modules("pjepa_agent").items() if path.parts[1:2] == ("planning",)}
    for path, file in files.items():
        if path.stem in planners:
            for name in imported(file, known, at_once=False):
                room = name.split(".")[1]
                assert room in ("planning", "config"), f"{path} imports {name}"
                assert room == "config" or name.split(".")[2] in planners, f"{path} imports {name}"


@pytest.mark.parametrize("package", FLOORS)
def test_nothing_goes_in_circles(package):
    files = {name_of(path): file for path, file in modules(package).items()}
    graph = {name: imported(file, set(files), at_once=True) & set(files) for name, file in files.items()}
    for name, below in graph.items():  # a folder's door hands out its rooms, which therefore need not wait for it
        below -= {each for each in below if name.startswith(each + ".")}
    assert len(list(TopologicalSorter(graph).static_order())) == len(files)


@pytest.mark.parametrize("package", FLOORS)
def test_few_modules_stand_at_the_top(package):
    top = [path for path in modules(package) if len(path.parts) == 2]
    assert len(top) <= (9 if FLOORS[package] else 11)
