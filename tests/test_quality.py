"""What holds for the whole repository: style, types, and which package may know which."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "packages").rglob("src/**/*.py"))

# What each package may import besides the standard library and itself; the ground floor knows nothing of torch.
MAY_IMPORT = {
    "counting_env": {"gymnasium", "numpy"},
    "bisim_theory": {"numpy", "tqdm"},
    "pjepa_agent": {
        "PIL", "bisim_theory", "counting_env", "filelock", "gymnasium", "jaxtyping", "matplotlib", "numpy", "sklearn",
        "tensordict", "threadpoolctl", "torch", "torchrl", "tqdm", "tyro", "wandb",
    },
}  # fmt: skip


IMPORTED_AS = {"pillow": "PIL", "scikit_learn": "sklearn"}  # packages that are imported under another name

# Imported only when needed.
EXTRAS = {
    "bisim_theory": {
        "PIL",
        "daft",
        "duckdb",
        "h5py",
        "hdf5plugin",
        "jinja2",
        "lance",
        "matplotlib",
        "pyarrow",
        "ray",
        "torch",
    },
    "counting_env": {"pygame"},
}  # fmt: skip


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)


def test_style():
    for command in (("ruff", "check", "."), ("ruff", "format", "--check", ".")):
        done = run(*command)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_types():
    done = run("mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_package_imports_only_what_it_declares(path):
    package = path.relative_to(ROOT / "packages").parts[2]
    tree = ast.parse(path.read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module}
    outside = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {package}
    assert outside <= MAY_IMPORT[package] | EXTRAS.get(package, set())
    at_once = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    assert not at_once & EXTRAS.get(package, set())


def test_declared_dependencies_are_the_imported_ones():
    for folder in (ROOT / "packages").iterdir():
        package = folder.name.replace("-", "_")
        text = (folder / "pyproject.toml").read_text()
        declared = re.search(r"^dependencies = \[(.*?)\]", text, re.S | re.M).group(1)
        names = {n.replace("-", "_") for n in re.findall(r'"([\w-]+)', declared)}
        assert {IMPORTED_AS.get(name, name) for name in names} == MAY_IMPORT[package]


def test_no_file_is_ever_executed_on_loading():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            call = ast.unparse(node)
            assert "pickle" not in call.replace("allow_pickle=False", ""), path
            if ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in call, path
            if ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert "allow_pickle=False" in call, path


@pytest.mark.parametrize("package", ["counting_env", "bisim_theory"])
def test_the_ground_floor_imports_without_torch(package):
    code = f"import sys, {package}; print(sorted({{'torch', 'matplotlib', 'wandb'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
