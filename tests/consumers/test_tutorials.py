"""Tutorials that train as they show it, or on another framework's encoder, from their first block to their last."""

import pytest
from support.tutorials import follow, record_lake


@pytest.mark.parametrize("name", ["own-encoder", "plan"])
def test_a_tutorial_does_and_prints_what_it_shows(name, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    record_lake(tmp_path)
    follow(name, tmp_path, monkeypatch, capfd)
