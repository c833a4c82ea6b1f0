import math

from pjepa_agent.runs.metrics import MetricsFile


def test_metrics_file_keeps_rows_up_to_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    for update in (0, 10, 20):
        metrics.append({"update": update, "loss": math.nan if update == 0 else 0.5 * update})
    assert path.read_text() == "update,loss\n0,nan\n10,5\n20,10\n"
    again = MetricsFile(path, until=10)
    again.append({"update": 15, "loss": 1.25})
    assert again.column("update") == [0, 10, 15]
    assert path.read_text() == "update,loss\n0,nan\n10,5\n15,1.25\n"


def test_a_run_of_before_a_column_goes_on_with_it(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("update,loss,gone\n0,nan,3\n10,5,4\n")
    metrics = MetricsFile(path, until=10)
    metrics.append({"update": 20, "new": 1234567, "loss": 2.5})
    assert path.read_text() == "update,new,loss,gone\n0,nan,nan,3\n10,nan,5,4\n20,1234567,2.5,nan\n"
    again = MetricsFile(path, until=20)
    assert math.isnan(again.column("new")[0])
    assert again.column("new")[2] == 1234567
    assert [math.isnan(value) for value in metrics.column("gone")] == [False, False, True]


def test_the_best_row_is_of_any_column_and_of_the_latest_of_equals(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for update, share, error in [(0, 9, 0), (1, 0.5, 3), (2, math.nan, 1), (3, 0.5, math.nan), (4, 0.25, 1)]:
        metrics.append({"update": update, "theorem/share": share, "eval/error": error})
    assert metrics.best_row("theorem/share")["update"] == 3
    assert metrics.best_row("-eval/error")["update"] == 4
    assert metrics.best_row("eval/error")["update"] == 1
