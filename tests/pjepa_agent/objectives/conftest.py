import pytest
from pjepa_agent import model
from pjepa_agent.objectives import (
    base,
    dbc,
    deepmdp,
    ema,
    inverse,
    losses,
    pjepa,
    pldm,
    readouts,
    regularizers,
    sigreg,
    tdmpc2,
    vicreg,
)  # fmt: skip
from support.shapes import check_shapes


@pytest.fixture(autouse=True)
def _checked_shapes(monkeypatch):
    check_shapes(monkeypatch, model, base, losses, pjepa, readouts, regularizers)
    check_shapes(monkeypatch, dbc, deepmdp, ema, inverse, pldm, sigreg, tdmpc2, vicreg)
