"""Check other people's worlds in other people's files, and compare the answers with a brute force.

Command: ``uv run --group worlds python -m benchmarks.worlds``. Each world is played with fixed seeds, written with the
library of its format, checked by `bisim-check` in a process of its own, and recorded in ``records/worlds.json``; one
that has a record is measured again only with ``--again``.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bisim_theory.files import write_json

from benchmarks.tables import markdown
from benchmarks.worlds.brute_force import Answer, answer
from benchmarks.worlds.worlds import WORLDS
from benchmarks.worlds.writers import Writer

RECORD = Path(__file__).parents[1] / "records" / "worlds.json"
ROUNDS = 3
VERSIONS = ("numpy", "gymnasium", "minari", "torchrl", "stable-worldmodel", "minigrid", "ale-py", "crafter")


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help="worlds to measure (default: all)")
    parser.add_argument("--again", action="store_true", help="measure them though they have a record")
    parser.add_argument("--out", type=Path, help="folder to keep the files in (default: a temporary one)")
    return parser


def check(path: Path, options: str) -> tuple[dict[str, Any], float, float]:
    """Run `bisim-check` in a fresh process; return its JSON, and seconds from command to exit, of clock and of CPU."""
    command = Path(sys.executable).with_name("bisim-check")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [command, path, *options.split(), "--json", out], capture_output=True, text=True, check=False
        )
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 4):
            raise SystemExit(f"{path} {options}: {done.stderr.strip()}")
        found = json.loads(out.read_text())
    return found, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def differences(found: dict[str, Any], expected: Answer) -> list[str]:
    """Name what `bisim-check` and the brute force say differently."""
    said = {
        "identity": found["identity"],
        "conflicts": found["conflicts_by_content"],
        "model": found["verdict"] != "no-well-trained-model",
    }
    if expected.model and said["model"]:
        said |= {
            "sources": found["sources"],
            "leaves": found["leaves"],
            "levels": found["distinguished_pairs_per_level"],
            "bisimilar": found["bisimilar_pairs"],
            "classes": found["bisimulation_classes"],
        }
    if said["identity"] == "occurrence" and said["conflicts"] is None:  # contents are not compared
        del said["conflicts"]
    return [name for name, value in said.items() if value != getattr(expected, name)]


def measure(name: str, out: Path) -> dict[str, Any]:
    """Write a world, check it, and compare it with the brute force."""
    world = WORLDS[name]
    writer = world.writer()
    path = fresh(writer, out / name, world.episodes)
    runs = [check(path, world.options) for _ in range(ROUNDS)]
    found = runs[0][0]
    small = path if world.part is None else fresh(writer, out / f"{name}-part", world.part)
    said = found if world.part is None else check(small, world.options)[0]
    episodes = writer.read(small)
    wrong = differences(said, answer(episodes, world.question()))
    if world.classes is not None and found["bisimulation_classes"] != world.classes:
        wrong.append(f"classes: {found['bisimulation_classes']}, known {world.classes}")
    keys = ("transitions", "identity", "conflicts_by_content", "signature_classes", "bisimulation_classes")
    keys += ("distinguished_pairs_per_level", "bisimilar_pairs", "codes_forced", "codes_constructed", "verdict")
    return {
        "title": world.title,
        "writer": writer.name,
        "options": world.options,
        **{key: found[key] for key in keys},
        "contradiction": found["no_well_trained_model"],
        "seconds": round(statistics.median(run[1] for run in runs), 2),
        "cpu_seconds": round(statistics.median(run[2] for run in runs), 2),
        "load": round(os.getloadavg()[0], 1),
        "compared_transitions": sum(len(each.actions) for each in episodes),
        "compared_observations": sum(len(each.contents) for each in episodes),
        "compared_apart": world.part is not None,
        "compared_episodes": len(episodes),
        "differs": wrong,
    }


def describe_machine() -> dict[str, Any]:
    """Return what the measures depend on; exit where the environments and writers are not installed."""
    try:
        versions = {each: importlib.metadata.version(each) for each in VERSIONS}
    except importlib.metadata.PackageNotFoundError as error:
        command = "uv run --group worlds python -m benchmarks.worlds"
        raise SystemExit(f"{error.name} is not installed, and measuring needs it: {command}") from error
    return {"python": platform.python_version(), "cores": os.cpu_count(), **versions}


def fresh(writer: Writer, folder: Path, episodes: int) -> Path:
    """Write a file into an empty folder."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return writer.write(folder, episodes)


def read_records() -> dict[str, Any]:
    """Read the record of every world that has one."""
    return json.loads(RECORD.read_text()) if RECORD.is_file() else {}


def result(record: dict[str, Any]) -> str:
    """Format what came out: classes, or why there are none."""
    if record["verdict"] == "no-well-trained-model":
        contradiction = record["contradiction"]
        values = " and ".join(f"{value:g}" for value in contradiction["values"])
        joined = f"are joined in {len(contradiction['chain'])} steps" if contradiction["chain"] else "are equal"
        return f"no well-trained model exists: observations of p = {values} {joined}"
    classes = record["bisimulation_classes"]
    return "not transitive" if classes is None else f"{classes:,}"


def embeddings(record: dict[str, Any]) -> str:
    """Format how many embeddings are needed."""
    forced = record["codes_forced"]
    if forced is None or record["verdict"] == "no-well-trained-model":
        return "-"
    return f"{forced['at_least']:,}" if forced["exact"] else f"at least {forced['at_least']:,}"


def agreement(record: dict[str, Any]) -> str:
    """Format whether the brute force agrees, and on how much."""
    if record["differs"]:
        return f"no: {', '.join(record['differs'])}"
    return f"yes, on {record['compared_transitions']:,} transitions" if record["compared_apart"] else "yes"


def table(records: dict[str, Any]) -> str:
    """Format the table of the page."""
    header = ("world", "writer", "transitions", "options", "identity", "classes", "embeddings", "levels", "s", "CPU s")
    rows = [
        (
            record["title"],
            record["writer"],
            f"{record['transitions']:,}",
            f"`{record['options']}`",
            record["identity"],
            result(record),
            embeddings(record),
            "-"
            if record["distinguished_pairs_per_level"] is None
            else str(len(record["distinguished_pairs_per_level"])),
            f"{record['seconds']:.1f}",
            f"{record['cpu_seconds']:.1f}",
            agreement(record),
        )
        for record in records.values()
    ]
    return markdown([*header, "brute force agrees"], rows)


def main() -> None:
    """Measure what has no record, and print the table."""
    parser = make_parser()
    arguments = parser.parse_args()
    records = read_records()
    unknown = [name for name in arguments.worlds if name not in WORLDS]
    if unknown:
        parser.error(f"no world {unknown[0]}; there are {', '.join(WORLDS)}")
    wanted = [name for name in arguments.worlds or WORLDS if arguments.again or name not in records]
    machine = describe_machine() if wanted else {}
    with contextlib.ExitStack() as stack:
        out = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in wanted:
            start = time.perf_counter()
            record = measure(name, out) | {"machine": machine}
            records = read_records() | {name: record}
            write_json(RECORD, {each: records[each] for each in WORLDS if each in records})
            print(f"{name}: {time.perf_counter() - start:.0f} s, differs: {record['differs']}", file=sys.stderr)
    print(table(read_records()))


if __name__ == "__main__":
    main()
