"""Shapes of tensors are those that functions are annotated with, whatever the configuration."""

import subprocess
import sys

CODE = """
import itertools

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, install_import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
sys.modules["check_shapes"] = types.SimpleNamespace(check=check)
install_import_hook("pjepa_agent.networks", "check_shapes.check")

from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.envs.base import Spec
from pjepa_agent.networks.actions import ScaledActions
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder, make_decoder
from pjepa_agent.networks.encoder import BasicBlock, ResNetEncoder
from pjepa_agent.networks.encoders import make_encoder
from pjepa_agent.networks.heads import TwoHotHead, VectorHead

torch.set_num_threads(1)
config = make_config().override(["network.latent_dim=9", "network.width=4", "network.hidden_dim=16"])
images = torch.randint(256, (5, 64, 64, 3), dtype=torch.uint8)
for normalization, stem, fast in itertools.product(("batch", "group", "none"), ("pooled", "strided"), (True, False)):
    encoder = ResNetEncoder(9, 8, 1, normalization, stem=stem, fast_paths=fast)
    z = encoder(images)
    assert z.shape == (5, 9)
with torch.autocast("cpu", torch.bfloat16):
    encoder(images)
for shape in ((7, 9, 1), (20, 33, 12)):
    spec = Spec(shape, "uint8", 2)
    encoded = make_encoder(config, spec)(torch.zeros(5, *shape, dtype=torch.uint8))
    decoder = make_decoder(config, spec.observation_shape)
    decoder.observations(decoder(encoded))
    decoder.targets(torch.zeros(5, *shape, dtype=torch.uint8))
of_vectors, decoder = make_encoder(config, Spec((4,), "float32", 2)), make_decoder(config, (4,))
of_vectors.standardization.fit(torch.rand(6, 4))
decoder.observations(decoder(of_vectors(torch.rand(5, 4))))
decoder.targets(torch.rand(5, 4))
ScaledActions((-2.0, 0.0), (2.0, 1.0)).scaled(torch.rand(5, 2))

scalar, vector = TwoHotHead(9, 16, 11), VectorHead(9, 16, 3)
scalar.loss(scalar(z), torch.zeros(5))
scalar.loss(scalar(z), torch.zeros(5), torch.ones(5, dtype=torch.bool))
scalar.decode(scalar(z))
vector.loss(vector(z), torch.zeros(5, 3, dtype=torch.long))
vector.loss(vector(z), torch.zeros(5, 3), torch.ones(5, dtype=torch.bool))
vector.decode(vector(z))

for members in (1, 3):
    heads = ControlHeads(NetworkConfig(latent_dim=9, hidden_dim=16, bins=11, q_members=members), 2)
    action, _ = heads.act(z)
    heads.value(z, action)
    target = heads.td_target(torch.zeros(5), torch.zeros(5), z, 0.9)
    logits = heads.q(torch.cat([z, action], -1))
    heads.two_hot.loss(logits, target.expand(len(logits), -1))
Decoder(9)(z)

wrong = [
    lambda: encoder(images.permute(0, 3, 1, 2)),
    lambda: BasicBlock(3, 3, 1, "none")(images[0].float()),
    lambda: scalar.loss(scalar(z), torch.zeros(6)),
    lambda: vector.loss(vector(z), torch.zeros(5)),
    lambda: vector.loss(vector(z), torch.zeros(5, 3), torch.ones(4, dtype=torch.bool)),
    lambda: of_vectors(torch.rand(5)),
    lambda: heads.value(z, action[:4]),
    lambda: heads.td_target(torch.zeros(5, 1), torch.zeros(5), z, 0.9),
    lambda: heads.q(z[0]),
    lambda: Decoder(9)(z[0]),
]
for call in wrong:
    with pytest.raises(TypeCheckError):
        call()
"""


def test_networks_take_and_return_the_shapes_of_their_annotations():
    """In a process of its own, where the checks are there before the networks: compilers would take them for a part."""
    done = subprocess.run([sys.executable, "-c", "import sys, types\n" + CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
