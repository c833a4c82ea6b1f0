"""Text of what planning found."""

from typing import Any

ROWS = {
    "planner": "",
    "unrounded": "P as it is",
    "refitted": "T refitted",
    "random_policy": "random policy",
    "optimum": "optimum",
}


def describe(numbers: dict[str, Any]) -> list[str]:
    """Describe numbers of `control.Answer` in lines: what was asked, and a table."""
    first = f"{numbers['episodes']} episodes of {numbers['world']}, task {numbers['task']}"
    if numbers["goal"] is not None:
        first += f" {numbers['goal']}"
    lines = [
        f"{first}, {numbers['planner']} with horizon {numbers['horizon']}",
        f"cost: {numbers['cost']}, discount {numbers['discount']:g}",
    ]
    if numbers["trivial_left_out"]:
        lines[0] += f"; {numbers['trivial_left_out']} starts at the goal left out"
    if numbers["optimum"]["from"] is None:
        lines.append("the fewest steps are not known in this world")
    elif numbers["with_optimum"] < numbers["episodes"] and numbers["success"] is not None:
        lines.append(f"the fewest steps are known of {numbers['with_optimum']} episodes")
    lines += ["", *_table(numbers), ""]
    return lines


def _table(numbers: dict[str, Any]) -> list[str]:
    named = numbers["planner"] + (f", P rounded to {numbers['rounded_to']:g}" if numbers["rounded_to"] else "")
    rows = [["", "success", "optimal", "excess steps", "return", "T calls", "ms a decision"]]
    for name, title in ROWS.items():
        found = numbers if name == "planner" else numbers[name]
        if found is None:
            continue
        rows.append([
            title or named,
            _share(found, "success"),
            _share(found, "optimal"),
            _number(found, "excess_steps", 2),
            _number(found, "return", 2),
            _number(found, "model_calls", 0),
            _number(found, "milliseconds", 1),
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _share(found: dict[str, Any], name: str) -> str:
    value, interval = found.get(name), found.get(f"{name}_interval")
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _number(found: dict[str, Any], name: str, digits: int) -> str:
    value = found.get(name)
    return "-" if value is None else f"{value:.{digits}f}"
