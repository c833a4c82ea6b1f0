"""An empty home and an empty Python environment, as who installs the packages has them."""

import os
import shlex
import subprocess
from pathlib import Path


def find_python(version):
    """Path of an interpreter of a version such as 3.12 on this machine, pyenv's too; None if it has none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(str, sorted(root.glob("versions/*/bin"))), os.environ["PATH"]]  # its shims start one version only
    command = ["uv", "python", "find", "--no-project", "--no-python-downloads", "--system", version]
    variables = os.environ | {"PATH": os.pathsep.join(folders)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    return done.stdout.strip() if done.returncode == 0 else None


def make_environment(folder, python=None):
    """Make an environment with pip in `folder`/venv, and return the variables of a shell in which it is active."""
    which = [] if python is None else ["--python", python]
    subprocess.run(["uv", "venv", "--quiet", "--seed", *which, str(folder / "venv")], cwd=folder, check=True)
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    (folder / "home").mkdir()
    return {
        **kept,
        "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "UV_CACHE_DIR": cache,
    }


def run(words, folder, variables, status=0):
    """Run a command and return what it printed; its exit status is asserted."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=variables)
    assert done.returncode == status, f"{shlex.join(map(str, words))}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def install(arguments, folder, variables):
    """Install into the environment, by uv, which takes from its cache what pip would download once more."""
    run(["uv", "pip", "install", "--quiet", "--python", folder / "venv", *arguments], folder, variables)
