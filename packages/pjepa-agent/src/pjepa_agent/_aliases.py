"""Names of the version before, each with a DeprecationWarning that says the new one. They go with the next version."""

MODULES = {
    "checkpoint": "runs.checkpoint",
    "decoder": "evaluation.reconstruction",
    "fields": "config.fields",
    "presets": "config.presets",
    "run_directory": "runs.directory",
}
"""Modules of this package that have moved, by their old names."""

NAMES = {
    "pjepa_agent.training": {
        "Training": "pjepa_agent.training.trainer.Trainer",
        "collect_dataset": "pjepa_agent.collection.dataset.collect_dataset",
    },
}
"""Attributes of modules that have moved or have another name."""
