"""Tables in Markdown, and what stands in their cells."""

from benchmarks.tables import markdown, seed_range, spread


def test_cells_and_rows_are_formatted():
    assert seed_range("3") == [3]
    assert seed_range("0-2") == [0, 1, 2]
    assert spread([1.0, 3.0, None], ".1f") == "2.0 (1.0 to 3.0)"
    assert (spread([2.0, 2.0], ".1f"), spread([])) == ("2.0", "")
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
