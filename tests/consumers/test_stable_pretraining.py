"""stable-pretraining trains a world model of stable-worldmodel, watched by the callback for Lightning."""

import os
from functools import partial

import lightning
import pytest
import torch
from bisim_theory import TheoremMonitor
from bisim_theory.integrations.lightning import TheoremCallback
from support.corridor import walks
from torch.nn.functional import interpolate, one_hot

STEPS, WIDTH = 6, 16


def pixels_of(observations):
    """Images (B, H, W, C) as the encoder takes them: (B, C, 16, 16), in [0, 1]."""
    return interpolate(observations.permute(0, 3, 1, 2).float() / 255, (16, 16))


@pytest.fixture
def pretraining(tmp_path, monkeypatch):
    monkeypatch.setenv("SPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    import stable_pretraining

    stable_pretraining.set(cache_dir=str(tmp_path / "cache"))
    return stable_pretraining


def make_world_model():
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import Embedder, Predictor
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    size = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = ViTModel(ViTConfig(image_size=16, patch_size=8, **size), add_pooling_layer=False)
    predictor = Predictor(
        num_frames=1, depth=1, heads=2, mlp_dim=32, input_dim=WIDTH, hidden_dim=WIDTH, output_dim=WIDTH, dim_head=8
    )
    return LeWM(encoder, predictor, Embedder(input_dim=2, emb_dim=WIDTH))


def lewm_forward(module, batch, stage, regularizer):
    """Train as the recipe of stable-worldmodel does: predict the next embedding, and regularise all of them."""
    embedding = module.model.encode({"pixels": batch["pixels"], "action": batch["action"]})
    predicted = module.model.predict(embedding["emb"][:, :1], embedding["act_emb"][:, :1])
    loss = (predicted - embedding["emb"][:, 1:]).square().mean()
    batch["loss"] = loss + 0.1 * regularizer(embedding["emb"].transpose(0, 1))
    return batch


def test_a_world_model_is_watched_while_it_is_pretrained(pretraining, tmp_path):
    from stable_worldmodel.wm.loss import SIGReg

    data = walks()
    frames = pixels_of(torch.as_tensor(data.observation))
    pairs = torch.stack([frames[data.source], frames[data.successor]], 1)
    actions = one_hot(torch.as_tensor(data.action), 2).float()[:, None].repeat(1, 2, 1)
    rows = [{"pixels": pixel, "action": action} for pixel, action in zip(pairs, actions, strict=True)]
    module = pretraining.Module(
        model=make_world_model(), forward=partial(lewm_forward, regularizer=SIGReg()),
        optim={"optimizer": {"type": "AdamW", "lr": 1e-3}, "interval": "step"},
    )  # fmt: skip
    monitor = TheoremMonitor(data, "reward")

    def encode(module, observations):
        return module.model.encode({"pixels": pixels_of(observations)[:, None]})["emb"][:, 0]

    def predict(module, z, actions):
        embedded = module.model.action_encoder(one_hot(actions, 2).float())
        return module.model.predict(z[:, None], embedded)[:, 0]

    watch = TheoremCallback(monitor, encode, predict, every_n_train_steps=2)
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path, name="log")
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", callbacks=[watch], logger=logger, enable_progress_bar=False,
        enable_checkpointing=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(rows, 16)
    pretraining.Manager(trainer=trainer, module=module, data=pretraining.data.DataModule(train=loader), seed=0)()
    lines = [line for path in tmp_path.rglob("metrics.csv") for line in path.read_text().splitlines()]
    assert sum("theorem/collapsed_pairs" in line for line in lines) == 1
    assert {"theorem/explained_share_2", "theorem/residual_ratio_1", "eval/rankme"} <= watch.measures.numbers.keys()
    assert trainer.callback_metrics["eval/rankme"] == pytest.approx(watch.measures.numbers["eval/rankme"], rel=1e-5)
    assert watch.measures.collapsed_pairs == 0
    assert os.environ["SPT_CACHE_DIR"].startswith(str(tmp_path))
