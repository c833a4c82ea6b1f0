"""What a trained model makes of its transitions, written for `bisim-check`."""

from bisim_theory import TransitionDataset, write_representation

from pjepa_agent.model import PJEPA
from pjepa_agent.run_directory import RunDirectory


def write_run_representation(run: RunDirectory, data: TransitionDataset, model: PJEPA) -> None:
    """Apply E, T and P of a model to the run's transitions and write its ``representation.npz``."""
    write_representation(
        run.representation,
        data,
        encode=lambda images: model.encode(images).numpy(),
        predict=lambda embedding, action: model.predict(embedding, action).numpy(),
        auxiliary=lambda embedding: model.auxiliary(embedding).numpy(),
    )
