"""Names that fields of the configuration had in version 0.1, which config.json files and scripts still use."""

from typing import Any

RENAMED = {
    "collection.initial": "collection.initial_transitions",
    "network.convolution_gain": "ablation.convolution_gain",
    "ablation.latent_normalization": "network.latent_normalization",
    "network.black": "ablation.pixel_offset",
    "network.pixel_scale": "ablation.pixel_scale",
    "ablation.latent_noise": "objective.latent_noise",
    "optimization.weight_decay": "ablation.weight_decay",
    "optimization.averaging": "optimization.averaging_age",
    "compute.channels_last": "compute.fast_paths",
    "compute.dense": "compute.fast_paths",
    "compute.fused": "compute.fast_paths",
    "compute.frames": "compute.frame_storage",
    "evaluation.statistics": "evaluation.batch_norm_samples",
}
"""Today's ``section.field`` by the old one. Old switches that are one today are on if all of them were."""


def rename_fields(values: Any) -> Any:
    """Copy a configuration of plain dictionaries with old names replaced by today's.

    An old name stays if today's is there too, and so does everything malformed: `fields.from_dict` refuses both.
    """
    if not isinstance(values, dict):
        return values
    fields = {
        (section, field): value
        for section, each in values.items()
        if isinstance(each, dict)
        for field, value in each.items()
    }
    renamed = {name: {} if isinstance(value, dict) else value for name, value in values.items()}
    for (section, field), value in fields.items():
        new_section, _, new_field = RENAMED.get(f"{section}.{field}", "").partition(".")
        if new_section and (new_section, new_field) not in fields:
            section, field = new_section, new_field
        target = renamed.setdefault(section, {})
        if isinstance(target, dict):
            all_on = target.get(field, True) is True
            target[field] = value if all_on else target[field]
    return renamed
