import pytest
from pjepa_agent import model
from pjepa_agent.objectives import base, pjepa, readouts, regularizers
from support.shapes import check_shapes


@pytest.fixture(autouse=True)
def _checked_shapes(monkeypatch):
    check_shapes(monkeypatch, model, base, pjepa, readouts, regularizers)
