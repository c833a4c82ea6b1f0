"""Trainers of Lightning, under both of its names, watched by the callback."""

import csv
import importlib
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from bisim_theory import TheoremMonitor
from support.corridor import walks
from torch.nn.functional import mse_loss, one_hot

STEPS = 30
README = Path(__file__).parents[2] / "packages" / "bisim-theory" / "README.md"


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request):
    """The package, and our callback for it."""
    ours = f"bisim_theory.integrations.{request.param.split('.')[0]}"
    return importlib.import_module(request.param), importlib.import_module(ours).TheoremCallback


def batches(data, size=32):
    rows = torch.utils.data.TensorDataset(
        torch.as_tensor(data.observation[data.source]), torch.as_tensor(data.action),
        torch.as_tensor(data.observation[data.successor]),
    )  # fmt: skip
    return torch.utils.data.DataLoader(rows, size, shuffle=True, generator=torch.Generator().manual_seed(0))


def make_module(lightning):
    class Collapsing(lightning.LightningModule):
        """A joint-embedding model of somebody else, with nothing against a collapse."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(720, 16), torch.nn.Dropout(0.1))
            self.dynamics = torch.nn.Linear(16 + 2, 16)

        def encode(self, observations):
            return self.encoder(observations.float() / 255)

        def predict(self, z, actions):
            return self.dynamics(torch.cat([z, one_hot(actions[:, 0], 2)], 1))

        def training_step(self, batch, _):
            source, action, successor = batch
            loss = mse_loss(self.predict(self.encode(source), action[:, None]), self.encode(successor))
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, _):
            self.log("validation", self.training_step(batch, 0))

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 3e-2, weight_decay=1.0)

    return Collapsing()


def make_callback(callback, every):
    monitor = TheoremMonitor(walks(), "reward")
    return callback(
        monitor, lambda module, observations: module.encode(observations),
        lambda module, z, actions: module.predict(z, actions), every_n_train_steps=every,
    )  # fmt: skip


def fit(package, tmp_path, callbacks, validation=False, **arguments):
    trainer = package.Trainer(
        max_steps=STEPS, accelerator="cpu", logger=package.loggers.CSVLogger(tmp_path, name="log"),
        callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=7, **arguments,
    )  # fmt: skip
    module, data = make_module(package), walks()
    trainer.fit(module, batches(data), batches(data) if validation else None)
    with open(tmp_path / "log" / "version_0" / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("theorem/collapsed_pairs")]
    return trainer, module, rows


def test_measures_are_logged_at_their_steps_and_a_collapse_is_warned_of(lightning, tmp_path, caplog):
    package, callback = lightning
    watch = make_callback(callback, 10)
    assert isinstance(watch, package.Callback)
    trainer, module, rows = fit(package, tmp_path, [watch], enable_checkpointing=False)
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30]
    last = {name: float(value) for name, value in rows[-1].items() if name.startswith(("theorem/", "eval/")) and value}
    assert last == pytest.approx(watch.measures.numbers, nan_ok=True)
    assert {"theorem/explained_share_2", "theorem/least_explained_share", "eval/rankme"} <= last.keys()
    module.eval()
    with torch.no_grad():
        z = module.encode(torch.as_tensor(watch.monitor.observations))
        again = watch.monitor(z, module.predict(z[watch.monitor.sources], torch.as_tensor(watch.monitor.actions)))
    assert again.numbers == watch.measures.numbers
    assert trainer.callback_metrics["theorem/collapsed_pairs"] == again.collapsed_pairs


def test_a_collapse_is_named(lightning, tmp_path, caplog):
    package, callback = lightning
    watch = make_callback(callback, 10)

    class Merge(package.Callback):
        """Break the encoder in the middle of the training."""

        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step == 15:
                module.encoder[1].weight.data.zero_()
                module.encoder[1].weight.requires_grad = False

    fit(package, tmp_path, [Merge(), watch], enable_checkpointing=False)
    (line,) = [message for message in caplog.messages if "collapsed" in message]
    assert line.startswith("step 20: 10 of 10 distinguished pairs have collapsed, such as observations ")
    assert "p (reward) is " in line


def test_states_can_be_kept_by_a_measure(lightning, tmp_path):
    package, callback = lightning
    best = package.callbacks.ModelCheckpoint(
        tmp_path / "kept", monitor="theorem/closest_over_median", mode="max", every_n_train_steps=10, save_top_k=1
    )
    watch = make_callback(callback, 10)
    seen = []

    class Record(package.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step % 10 == 0:
                seen.append(float(watch.measures.numbers["theorem/closest_over_median"]))

    fit(package, tmp_path, [watch, Record(), best])
    assert float(best.best_model_score) == pytest.approx(max(seen))
    assert best.best_model_path


def test_measures_at_every_validation_and_gradients_of_several_batches(lightning, tmp_path):
    package, callback = lightning
    watch = make_callback(callback, None)
    trainer, _, rows = fit(package, tmp_path, [watch], validation=True, enable_checkpointing=False)
    batches_of_an_epoch = trainer.num_training_batches
    assert [int(row["step"]) for row in rows] == [*range(batches_of_an_epoch, STEPS + 1, batches_of_an_epoch)]
    assert "theorem/least_explained_share" in trainer.callback_metrics
    watch = make_callback(callback, 10)
    _, _, rows = fit(package, tmp_path / "more", [watch], accumulate_grad_batches=3, enable_checkpointing=False)
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30]


def test_the_readme_shows_how(lightning, tmp_path):
    package, callback = lightning
    (code,) = re.findall(r"^```py\n(.*?)^```", README.read_text(), re.S | re.M)
    names = {
        "monitor": TheoremMonitor(walks(), "reward"),
        "Trainer": partial(package.Trainer, max_steps=1, logger=False, enable_checkpointing=False),
    }
    exec(compile(code.replace("theory.integrations.lightning", callback.__module__[6:]), "<snippet>", "exec"), names)
    names["trainer"].fit(make_module(package), batches(walks()))
    assert isinstance(names["watch"], callback)
    assert names["watch"].measures is not None


def test_the_class_can_be_pickled(lightning):
    _, callback = lightning
    assert pickle.loads(pickle.dumps(callback)) is callback


def test_every_process_measures_and_one_logs(tmp_path):
    import lightning.pytorch as package
    from bisim_theory.integrations.lightning import TheoremCallback

    watch = make_callback(TheoremCallback, 10)
    _, _, rows = fit(
        package, tmp_path, [watch], enable_checkpointing=False, devices=2, strategy="ddp_fork",
    )  # fmt: skip
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30]
    assert all(np.isfinite(float(row["eval/rankme"])) for row in rows)
