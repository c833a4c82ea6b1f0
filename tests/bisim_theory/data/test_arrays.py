"""Arrays of other libraries at the doors: converted without loss, or refused in one line that names the field."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from bisim_theory import DatasetError, Representation, TransitionDataset, read_representation, write_representation
from bisim_theory.data.arrays import to_numpy
from hypothesis import given
from hypothesis import strategies as st

FIELDS = {
    "source": np.array([0, 1, 2]),
    "action": np.array([0, 1, 0]),
    "successor": np.array([1, 2, 0]),
    "auxiliary": np.array([[0.5], [1.0], [1.5]], np.float32),
    "observation": np.arange(12, dtype=np.float32).reshape(3, 4),
    "action_value": np.array([[0.25], [-1.0], [2.0]], np.float32),
    "reward": np.array([0.0, 1.0, -2.0], np.float32),
    "terminated": np.array([False, False, True]),
    "truncated": np.array([False, True, False]),
    "episode": np.array([0, 0, 1]),
}
LABEL = np.array([3.0, 4.0, 0.5], np.float32)
FLOATS = [name for name, value in FIELDS.items() if value.dtype.kind == "f"]

MODEL = {
    "embedding": np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]], np.float32),
    "predicted_embedding": np.array([[2.0, 3.0], [4.0, 8.0], [0.0, 1.0]], np.float32),
    "predicted_auxiliary": np.array([[0.5], [1.0], [1.5]], np.float32),
    "predicted_embedding_canonical": np.array([[2.0, 3.0], [4.0, 8.0], [0.0, 1.0]], np.float32),
    "lipschitz_dynamics": np.float32(2.0),
    "lipschitz_auxiliary": np.float32(0.5),
}
"""Numbers that bfloat16 has."""

DOUBLE_IS_LONG = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
NOT_IN_DOUBLE = np.longdouble(1) + np.finfo(np.longdouble).eps

TENSORS = {
    "plain": torch.from_numpy,
    "with gradients": lambda array: torch.from_numpy(array).requires_grad_(array.dtype.kind == "f"),
    "parameters": lambda array: torch.nn.Parameter(torch.from_numpy(array), requires_grad=array.dtype.kind == "f"),
    "in bfloat16": lambda array: torch.from_numpy(array).bfloat16() if array.dtype.kind == "f" else array,
    "a list": lambda array: list(torch.from_numpy(array).requires_grad_(array.dtype.kind == "f")),
    "a list in bfloat16": lambda array: list(TENSORS["in bfloat16"](array)),
    "long doubles": lambda array: array.astype(np.longdouble) if array.dtype.kind == "f" else array,
}


def equal(first, second):
    return all(np.array_equal(first.labels[name], value) for name, value in second.labels.items()) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in FIELDS
    )


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_are_taken_in_every_field(kind):
    made = {name: TENSORS[kind](value) for name, value in FIELDS.items()}
    data = TransitionDataset(**made, labels={"count": TENSORS[kind](LABEL)})
    assert equal(data, TransitionDataset(**FIELDS, labels={"count": LABEL}))
    for name in (*FIELDS, "count"):
        value = data.labels[name] if name == "count" else getattr(data, name)
        assert type(value) is np.ndarray
        assert value.dtype.itemsize <= 8
    assert (data.content_ids() == np.arange(3)).all()
    model = Representation(**{name: TENSORS[kind](np.atleast_1d(value))[0] if np.ndim(value) == 0 else
                              TENSORS[kind](value) for name, value in MODEL.items()})  # fmt: skip
    for name, value in MODEL.items():
        assert np.array_equal(getattr(model, name), value)
    model.check_against(data)


@pytest.mark.parametrize("kind", ["with gradients", "in bfloat16", "long doubles"])
def test_a_model_may_return_tensors(tmp_path, kind):
    data = TransitionDataset(**FIELDS)

    def returning(value):
        return lambda *given: TENSORS[kind](value)

    names = ("embedding", "predicted_embedding", "predicted_auxiliary")
    encode, predict, auxiliary = (returning(MODEL[name]) for name in names)
    path = tmp_path / "representation.npz"
    write_representation(path, data, encode=encode, predict=predict, auxiliary=auxiliary)
    found = read_representation(path)
    for name in names:
        assert np.array_equal(getattr(found, name), MODEL[name])


@pytest.mark.parametrize("value", [
    torch.zeros(3, 2).to_sparse(), torch.zeros(3, 2, device="meta"), [[1.0, 2.0], [3.0], [4.0, 5.0]],
    np.ma.masked_array(np.zeros((3, 2)), [[0, 0], [0, 1], [0, 0]]), torch.zeros(3, 2, dtype=torch.complex64),
])  # fmt: skip
def test_what_is_no_array_is_refused_in_one_line_that_names_the_field(value):
    for name in ("observation", "auxiliary", "action_value"):
        with pytest.raises(DatasetError) as caught:
            TransitionDataset(**{**FIELDS, name: value})
        assert re.fullmatch(f"{name}: .+", str(caught.value))
    for name in ("embedding", "predicted_auxiliary"):
        with pytest.raises(DatasetError) as caught:
            Representation(**{**MODEL, name: value})
        assert re.fullmatch(f"{name}: .+", str(caught.value))
    functions = [lambda *given, name=name: MODEL[name] for name in list(MODEL)[:3]]
    for place, name in enumerate(("encode", "predict", "auxiliary")):
        with pytest.raises(DatasetError) as caught:
            Representation.of(
                TransitionDataset(**FIELDS), *functions[:place], lambda *_: value, *functions[place + 1 :]
            )
        assert re.fullmatch(f"{name}: .+", str(caught.value))


@pytest.mark.skipif(not DOUBLE_IS_LONG, reason="a long double is a double here")
def test_a_long_double_that_loses_digits_is_refused_by_field_and_row():
    def spoilt(value):
        array = np.array(value, np.longdouble)
        array.reshape(array.shape[0], -1)[1, -1] = NOT_IN_DOUBLE
        return array

    for name in FLOATS:
        with pytest.raises(DatasetError, match=f"^{name}: row 1 has more digits than float64; round it"):
            TransitionDataset(**{**FIELDS, name: spoilt(FIELDS[name])})
    with pytest.raises(DatasetError, match=r"^count: row 1 has more digits"):
        TransitionDataset(**FIELDS, labels={"count": spoilt(LABEL)})
    for name, value in MODEL.items():
        row, wrong = ("row 1", spoilt(value)) if value.ndim else ("its number", NOT_IN_DOUBLE)
        with pytest.raises(DatasetError, match=f"^{name}: {row} has more digits"):
            Representation(**{**MODEL, name: wrong})


@pytest.mark.skipif(not DOUBLE_IS_LONG, reason="a long double is a double here")
@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(-3, 3)), min_size=1, max_size=5))
def test_a_long_double_is_a_double_where_no_digit_is_lost_and_only_there(numbers):
    with np.errstate(all="ignore"):
        array = np.array([np.longdouble(x) * (1 + np.finfo(np.longdouble).eps * n) for x, n in numbers])
        exact = [bool(np.longdouble(np.float64(each)) == each) for each in array]
    if all(exact):
        assert to_numpy(array).dtype == np.float64
        assert (to_numpy(array) == array).all()
    else:
        with pytest.raises(ValueError, match=f"row {exact.index(False)} has more digits"):
            to_numpy(array)


def test_types_that_numpy_lacks_become_float32():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        found = to_numpy(np.array([0.5, -2.0], kind))
        assert (found.dtype, found.tolist()) == (np.float32, [0.5, -2.0])


@pytest.mark.parametrize("kind", list("bBhHiIlL?efd"))
def test_the_types_of_numpy_stay(kind):
    array = np.ones(3, kind)
    assert to_numpy(array) is array
    assert to_numpy(torch.from_numpy(array)).dtype == array.dtype


def test_an_array_is_not_copied():
    data = TransitionDataset(**FIELDS)
    tensor = torch.from_numpy(FIELDS["observation"])
    for same in (dataclasses.replace(data), TransitionDataset(**{**FIELDS, "observation": tensor})):
        assert np.shares_memory(same.observation, FIELDS["observation"])
