"""What is observed of a Gymnasium environment, and which environments are refused."""

import copy
import re

import gymnasium
import numpy as np
import pytest
from bisim_theory import DatasetError
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.envs.gymnasium_domain import GymnasiumDomain
from pjepa_agent.envs.observations import resize
from support import toy_worlds
from support.toy_worlds import LADDER, config, domain

MAKE = "support.toy_worlds:make"


@pytest.mark.parametrize(
    ("environment", "observes", "asked", "kind", "shape"),
    [
        (LADDER, "image", "auto", "image", (6, 4, 3)),
        (LADDER, "flat", "auto", "image", (6, 4, 1)),
        (LADDER, "four", "auto", "image", (6, 4, 4)),
        (LADDER, "image", "vector", "vector", (72,)),
        (LADDER, "image", "render", "render", (6, 4, 3)),
        (LADDER, "vector", "auto", "render", (6, 4, 3)),
        (LADDER, "dict", "auto", "render", (6, 4, 3)),
        (LADDER, "tuple", "render", "render", (6, 4, 3)),
        (LADDER, "floats", "auto", "render", (6, 4, 3)),
        (LADDER, "floats", "vector", "vector", (72,)),
        (LADDER, "dict", "vector", "vector", (4 + 72,)),
        (LADDER, "number", "vector", "vector", (4,)),
        (MAKE, "vector", "auto", "vector", (3,)),
        (MAKE, "number", "auto", "vector", (4,)),
        ("support.toy_worlds:make_humans", "vector", "auto", "vector", (3,)),
        ("support.toy_worlds:make_long", "vector", "auto", "render", (6, 4, 3)),
    ],
)
def test_what_is_observed(environment, observes, asked, kind, shape):
    made = domain(environment, arguments={"observes": observes}, observation=asked)
    data = made.collect(0)
    assert data.metadata["observed"] == kind
    assert made.spec.observation_shape == data.observation.shape[1:] == shape
    assert str(data.observation.dtype) == made.spec.observation_dtype == ("float32" if kind == "vector" else "uint8")


def test_a_discrete_observation_is_one_hot():
    data = domain(arguments={"observes": "number"}, observation="vector").collect(0)
    np.testing.assert_array_equal(data.observation, np.eye(4)[data.labels["place"]])
    np.testing.assert_array_equal(data.labels["state"], data.labels["place"])


def test_a_world_that_cannot_be_rendered_is_observed_as_a_vector_and_that_is_said(caplog):
    data = domain(arguments={"observes": "vector", "fault": "display"}).collect(0)
    assert data.observation.shape[1:] == (3,)
    assert data.metadata["not_rendered"] == "RuntimeError: no display"
    assert "cannot be rendered (RuntimeError: no display), so its vector is observed" in caplog.text


@pytest.mark.parametrize(
    ("environment", "arguments", "fields", "said"),
    [
        ("NoSuchWorld-v0", {}, {}, "is not registered (Environment `NoSuchWorld` doesn't exist); name its module too"),
        ("FrozenLake-v77", {}, {}, "collection.environment='FrozenLake-v77': is not registered"),
        ("support.toy_worlds:NoSuch-v0", {}, {}, "is not registered"),
        ("no_such_module:World-v0", {}, {}, "no_such_module:World-v0: cannot be imported (ModuleNotFoundError"),
        ("support.toy_worlds:no_such", {}, {}, "support.toy_worlds has no 'no_such', and no environment of that name"),
        ("support.toy_worlds:GOAL", {}, {}, "is a int, must be a function"),
        ("support.toy_worlds:make_nothing", {}, {}, "returned a Discrete, must return a gymnasium.Env"),
        (LADDER, {"no": 1}, {}, "cannot be made with collection.arguments={'no': 1} (TypeError"),
        (LADDER, {"render_mode": "human"}, {}, "collection.arguments: leave out render_mode"),
        (
            LADDER,
            {"observes": "floats"},
            {"observation": "image"},
            "has no image to observe but a Box space of (6, 4, 3)",
        ),
        (
            MAKE,
            {"observes": "floats"},
            {},
            "observes a Box space of (6, 4, 3) float32 and cannot be rendered (TypeError",
        ),
        (MAKE, {"observes": "dict"}, {}, "observes a Dict space and cannot be rendered"),
        (MAKE, {"observes": "tuple"}, {}, "choose collection.observation=vector, of 4 numbers, or name a module"),
        (LADDER, {"observes": "dict"}, {"observation": "image"}, "has no image to observe but a Dict space"),
        (LADDER, {"observes": "channels first"}, {}, "have 14 channels, at most 12 are allowed"),
        (LADDER, {}, {"stack": 5}, "images (6, 4, 3) in a stack of 5 have 15 channels, at most 12"),
        (LADDER, {"observes": "four"}, {"grayscale": True}, "collection.grayscale=True: needs images of 3 channels"),
        (LADDER, {"fault": "display"}, {"observation": "render"}, "(RuntimeError: no display); choose"),
        (MAKE, {}, {"observation": "render"}, "cannot be rendered (TypeError: render() returned NoneType"),
        (
            LADDER,
            {"fault": "float picture"},
            {"observation": "render"},
            "(observed (6, 4, 3) float64, and images must be",
        ),
        (
            "support.toy_worlds:make_humans",
            {},
            {"observation": "render"},
            "it has the render modes human, and rgb_array is needed",
        ),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_in_one_line(environment, arguments, fields, said):
    with pytest.raises(ConfigError) as caught:
        domain(environment, arguments=arguments, **fields).collect(0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        _ = domain(environment, arguments=arguments, **fields).spec


@pytest.mark.parametrize("asked", ["auto", "image", "render", "vector"])
@pytest.mark.parametrize("environment", [LADDER, MAKE, "support.toy_worlds:make_humans"])
@pytest.mark.parametrize("observes", ["dict", "tuple", "floats", "vector", "channels first", "image"])
def test_all_that_a_refusal_proposes_works(environment, observes, asked, monkeypatch):
    arguments = {"observes": observes}
    try:
        domain(environment, arguments=arguments, observation=asked).collect(0)
        return
    except ConfigError as error:
        said = str(error)
    settings = re.findall(r"choose collection\.observation=(\w+)", said)
    for setting in settings:
        domain(environment, arguments=arguments, observation=setting).collect(0)
    wrappers = re.findall(r"(gymnasium\.wrappers\.TransformObservation\(.*\))", said)
    assert settings or wrappers
    for wrapper in wrappers:
        inner = toy_worlds.Ladder(observes)
        made = lambda: eval(wrapper, {"env": copy.copy(inner), "gymnasium": gymnasium})  # noqa: B023, E731
        monkeypatch.setattr(toy_worlds, "mended", made, raising=False)
        data = GymnasiumDomain(config("support.toy_worlds:mended", observation="auto")).collect(0)
        expected = {"tuple": (4,), "channels first": (8, 14, 3)}.get(observes, toy_worlds.SHAPE)
        assert data.observation.shape[1:] == expected
        if observes in ("dict", "floats"):  # no pixel is lost but by rounding
            image = domain(LADDER, arguments={"observes": "image"}).collect(0).observation[0]
            np.testing.assert_allclose(data.observation[0].astype(int), image, atol=1)


def test_numbers_of_another_type_than_their_space_says_are_not_cut_off(monkeypatch):
    halves = lambda: gymnasium.wrappers.TransformObservation(  # noqa: E731
        toy_worlds.Ladder(), lambda image: image / 2, spaces.Box(0, 255, toy_worlds.SHAPE, np.uint8)
    )
    monkeypatch.setattr(toy_worlds, "halves", halves, raising=False)
    name = "support.toy_worlds:halves"
    data = GymnasiumDomain(config(name, observation="vector")).collect(0)
    whole = domain(LADDER, observation="vector").collect(0)
    np.testing.assert_array_equal(data.observation[0], whole.observation[0] / 2)
    with pytest.raises(DatasetError, match=r"float64, .*must be uint8 .*, as its observation_space says; name"):
        GymnasiumDomain(config(name, observation="image")).collect(0)


def test_a_picture_that_cannot_be_used_gives_way_to_a_vector(caplog):
    data = domain(arguments={"observes": "vector", "fault": "float picture"}).collect(0)
    assert data.observation.shape[1:] == (3,)
    assert "cannot be rendered (observed (6, 4, 3) float64, and images must be uint8" in caplog.text


@pytest.mark.parametrize(("stack", "said"), [(5, "stack=4, or collection.grayscale=true"), (13, "stack=4")])
def test_a_stack_of_too_many_channels_is_refused_with_one_that_fits(stack, said):
    with pytest.raises(ConfigError) as caught:
        domain(stack=stack).collect(0)
    assert str(caught.value).endswith(f"; choose collection.{said}")
    domain(stack=4).collect(0)


@pytest.mark.parametrize(("name", "value"), [("size", 32), ("grayscale", True)])
def test_what_only_images_have_is_not_asked_of_a_vector(name, value):
    with pytest.raises(ConfigError, match=f"collection.{name}={value}: is of images, and a vector of .* is observed"):
        domain(arguments={"observes": "vector"}, observation="vector", **{name: value}).collect(0)


def test_spaces_that_differ_each_time_are_refused_in_one_line():
    with pytest.raises(ConfigError) as caught:
        domain("support.toy_worlds:make_different").collect(0)
    assert "has other spaces each time it is made" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_vector_that_is_too_long_to_learn_is_refused():
    with pytest.raises(ConfigError, match=r"of \(65537,\) float32 has no vector of at most 65536 numbers; name"):
        _ = domain("support.toy_worlds:make_huge").spec


def test_that_a_vector_is_observed_is_said_once_for_each_environment(caplog):
    for _ in range(3):
        _ = domain(MAKE, arguments={"observes": "vector"}, max_episode_steps=7).spec
    assert caplog.text.count("so its vector is observed") <= 1


@pytest.mark.parametrize("name", ["toys/Ladder-v1", "support.toy_worlds:toys/Ladder-v1", "Ladder"])
def test_names_have_modules_namespaces_and_versions_as_in_gymnasium(name):
    np.testing.assert_array_equal(domain(name).collect(0).observation, domain().collect(0).observation)


def test_an_environment_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "world_of_the_user.py").write_text(
        "import gymnasium\nfrom support.toy_worlds import Ladder, make\ngymnasium.register('Mine-v3', Ladder)\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("world_of_the_user:Mine-v3", "world_of_the_user:make"):
        assert len(domain(name, max_episode_steps=9).collect(0)) == 300


@pytest.mark.parametrize("observes", ["image", "vector"])
@pytest.mark.parametrize("stack", [2, 4])
def test_a_stack_holds_the_latest_observations_of_the_episode_oldest_first(observes, stack):
    fields = {"arguments": {"observes": observes}, "observation": observes}
    single, stacked = domain(**fields).collect(0), domain(**fields, stack=stack).collect(0)
    start = 0
    for number in np.unique(single.episode):
        frames = single.observation[start : start + (single.episode == number).sum() + 1]
        for step in range(len(frames)):
            latest = [frames[max(step - ago, 0)] for ago in reversed(range(stack))]
            np.testing.assert_array_equal(stacked.observation[start + step], np.concatenate(latest, -1))
        start += len(frames)


def test_grayscale_is_gymnasiums():
    colored, gray = domain().collect(0).observation, domain(grayscale=True).collect(0).observation
    assert gray.shape == (*colored.shape[:3], 1)
    np.testing.assert_array_equal(gray[..., 0], (colored * [0.2125, 0.7154, 0.0721]).sum(-1).astype(np.uint8))
    flat = domain(arguments={"observes": "flat"}, grayscale=True).collect(0)
    assert flat.observation.shape[3] == 1


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 7]), st.integers(0, 99))
def test_a_smaller_image_has_the_mean_of_each_area(tall, wide, size, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (tall * size, wide * size, channels), np.uint8)
    means = image.reshape(size, tall, size, wide, channels).mean((1, 3))
    assert abs(resize(image, size) - means).max() <= 1


@given(st.integers(1, 5), st.integers(2, 4), st.sampled_from([1, 3, 5]), st.integers(0, 99))
def test_a_larger_image_repeats_each_pixel(side, times, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)
    np.testing.assert_array_equal(resize(image, side * times), image.repeat(times, 0).repeat(times, 1))
