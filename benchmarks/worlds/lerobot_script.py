"""Write arrays as a LeRobot dataset of version 3; run by a Python that has LeRobot, whose torch is an older one."""

import sys

import numpy as np

NUMBERS = {"dtype": "float32", "names": None}


def write(source: str, root: str) -> None:
    """Read the arrays of an npz file and write the dataset."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    with np.load(source) as file:
        columns = {name: file[name] for name in file.files}
    ends = np.cumsum(columns.pop("lengths")).tolist()
    features = {name: NUMBERS | {"shape": value.shape[1:]} for name, value in columns.items()}
    dataset = LeRobotDataset.create("world/recorded", fps=20, features=features, root=root, use_videos=False)
    for row in range(ends[-1]):
        dataset.add_frame({"task": "random actions", **{name: value[row] for name, value in columns.items()}})
        if row + 1 in ends:
            dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    write(*sys.argv[1:])
