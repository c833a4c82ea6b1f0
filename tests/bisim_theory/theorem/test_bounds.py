import numpy as np
from bisim_theory import Lipschitz, Representation, distance_bounds, empirical_bisimulation
from bisim_theory.theorem.residuals import auxiliary_residual, transition_residual
from support.oracles import random_dataset


def lipschitz_model(data, rng, noise):
    """Draw embeddings, and T and P with known constants: clipped affine maps, different for every action."""
    dimensions, values = 3, 1
    embedding = rng.normal(size=(data.frames, dimensions))
    actions = int(data.action.max()) + 1
    maps = rng.normal(size=(actions, dimensions, dimensions))
    head = rng.normal(size=(values, dimensions))
    shift = rng.normal(size=(actions, dimensions))

    def dynamics(z, action):
        return np.clip(np.einsum("nij,nj->ni", maps[action], z) + shift[action], -2, 2)

    constants = Lipschitz(
        max(np.linalg.norm(each, 2) for each in maps), float(np.linalg.norm(head, 2))
    )  # clipping has constant 1
    predicted = dynamics(embedding[data.source], data.action)
    if noise is not None:  # nearly well-trained: successors are put where the dynamics leads
        order = rng.permutation(len(data))
        for _ in range(20):
            embedding[data.successor[order]] = dynamics(
                embedding[data.source[order]], data.action[order]
            ) + noise * rng.normal(size=(len(data), dimensions))
        predicted = dynamics(embedding[data.source], data.action)
    return Representation(embedding, predicted, embedding[data.source] @ head[0]), constants


def test_no_random_lipschitz_model_is_below_its_bound():
    positive = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = random_dataset(rng, frames=8, actions=2, coverage=0.7, values=4)
        model, constants = lipschitz_model(data, rng, noise=[None, 0.01][seed % 2])
        x, y = (ids.ravel() for ids in np.meshgrid(empirical_bisimulation(data).sources, np.unique(data.source)))
        e_d, e_p = transition_residual(data, model), auxiliary_residual(data, model)
        bounds = distance_bounds(data, x, y, e_d, e_p[data.source], constants)
        apart = np.linalg.norm(model.embedding[x] - model.embedding[y], axis=1)
        assert (bounds <= apart + 1e-9).all()
        positive += (bounds > 0).sum()
    assert positive > 300  # it says something


def test_without_residuals_the_bound_is_positive_exactly_on_the_relation():
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = random_dataset(rng, frames=7, actions=2, coverage=0.7)
        relation = empirical_bisimulation(data)
        x, y = (ids.ravel() for ids in np.meshgrid(relation.sources, relation.sources))
        bounds = distance_bounds(data, x, y, np.zeros(len(data)), np.zeros(len(data)), Lipschitz(1.5, 2.0))
        level = relation.level(x, y).astype(int)
        assert ((bounds > 0) == (level > 0)).all()
        # One unit of p over L_P, and a factor L_T for every step of the shortest witness: no other path promises more.
        assert np.allclose(bounds[level > 0], 0.5 / 1.5 ** (level[level > 0] - 1))


def test_the_bound_of_a_chain_by_hand():
    from bisim_theory import TransitionDataset

    data = TransitionDataset([0, 1, 2, 3], [0, 0, 0, 0], [1, 2, 3, 3], [0, 0, 0, 1])
    e_d, e_p = np.array([0.1, 0.2, 0.0, 0.0]), np.array([0.0, 0.0, 0.1, 0.2])
    # b(2, 3) = (1 - 0.3) / 2; b(1, 2) = (b(2, 3) - 0.2) / 0.5; b(0, 1) = (b(1, 2) - 0.3) / 0.5
    bounds = distance_bounds(data, np.array([2, 1, 0]), np.array([3, 2, 1]), e_d, e_p, Lipschitz(0.5, 2.0))
    assert np.allclose(bounds, [0.35, 0.3, 0.0])
    bounds = distance_bounds(data, np.array([0]), np.array([1]), 0 * e_d, e_p, Lipschitz(0.5, 2.0))
    assert np.allclose(bounds, [0.35 / 0.25])
