"""Frames behave as one array does, whatever they are stored in."""

import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions, write_transitions
from bisim_theory.data.transitions import chunks
from bisim_theory.formats import frames as frames_module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.stores import STORES, chain, report_wrong_reads, wrong_reads


@pytest.fixture(scope="module", params=STORES, ids=lambda store: store.__name__)
def store(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return [store(tmp_path_factory.mktemp("stores")) for store in STORES]


def assert_equal(found, expected):
    assert type(found) is type(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)


def test_what_an_array_says_of_itself(store):
    frames, expected = store
    assert (len(frames), frames.shape, frames.ndim, frames.dtype) == (
        len(expected),
        expected.shape,
        expected.ndim,
        expected.dtype,
    )
    assert_equal(np.asarray(frames), expected)
    assert_equal(np.array(frames, np.float64), expected.astype(np.float64))
    assert_equal(np.stack(list(frames)), expected)
    with pytest.raises(ValueError, match="no memory to share"):
        np.array(frames, copy=False)
    assert str(expected.shape) in repr(frames)


INDICES = st.one_of(
    st.integers(-12, 11),
    st.integers(-12, 11).map(np.int16),
    st.slices(12),
    st.slices(40),
    st.lists(st.integers(-12, 11), max_size=9),
    hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=5), elements=st.integers(-12, 11)),
    hnp.arrays(np.uint8, st.integers(0, 9), elements=st.integers(0, 11)),
    st.integers(0, 11).map(lambda row: range(row, 12, 2)),
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=INDICES, data=st.data())
def test_an_index_gives_what_an_array_gives(store, index, data):
    frames, expected = store
    assert_equal(frames[index], expected[index])
    mask = data.draw(hnp.arrays(bool, len(expected)))
    assert_equal(frames[mask], expected[mask])
    assert_equal(frames[mask.tolist()], expected[mask.tolist()])


@pytest.mark.parametrize("index", [10**6, -(10**6), [0, 10**6], np.array([True])], ids=str)
def test_what_is_out_of_bounds_is_an_index_error_as_of_an_array(store, index):
    for each in store:
        with pytest.raises(IndexError):
            each[index]


NO_INDICES = [None, ..., True, 1.5, "x", b"x", (0, 1), (slice(3),), {0}, [0.5], np.array([]), np.ones((2, 2), bool)]


@pytest.mark.parametrize("index", NO_INDICES, ids=repr)
def test_any_other_index_is_refused_with_one_sentence(store, index):
    with pytest.raises(TypeError, match=r"^frames are indexed along their first axis, by whole numbers, slices, or ar"):
        store[0][index]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_are_read_forwards_in_pieces_of_limited_size(store, rows, monkeypatch):
    frames, expected = store
    read = []
    kind = type(frames)
    real = kind.read_range

    def spy(self, start, stop):
        if self is frames:  # and none of its parts of the same kind
            read.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(kind, "read_range", spy)
    monkeypatch.setattr(frames_module, "piece_rows", lambda frames: rows)
    index = np.random.default_rng(0).integers(0, len(expected), 30)
    np.testing.assert_array_equal(frames[index], expected[index])
    assert max(stop - start for start, stop in read) <= rows
    assert read == sorted(read)


def test_threads_read_right_frames(store):
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda seed: wrong_reads(*store, seed), range(4))) == 0


def test_iterations_may_be_nested(store):
    frames, expected = store
    for start, piece in enumerate(chunks(frames, 5)):
        np.testing.assert_array_equal(piece, expected[5 * start : 5 * start + 5])
        np.testing.assert_array_equal(frames[1:3], expected[1:3])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_were_started_in_the_middle_of_reading_read_right_frames(stores, method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    for frames, expected in stores:
        np.testing.assert_array_equal(frames[0:3], expected[0:3])  # so that files stand open somewhere
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about forks beside threads
        workers = [context.Process(target=report_wrong_reads, args=(queue, stores, seed)) for seed in range(2)]
        for worker in workers:
            worker.start()
    for frames, expected in stores:
        assert wrong_reads(frames, expected, 9, times=20) == 0
    assert [queue.get(timeout=60) for _ in workers] == [[0] * len(stores)] * len(workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


def test_pickles_hold_no_frames_and_read_them_again(store):
    frames, expected = store
    np.testing.assert_array_equal(frames[0:3], expected[0:3])
    text = pickle.dumps(frames)
    assert expected[3:9].tobytes()[:64] not in text
    copy = pickle.loads(text)
    assert_equal(np.asarray(copy), expected)
    assert_equal(frames[3:9], expected[3:9])


def test_a_file_that_is_gone_is_not_called_damaged(tmp_path):
    write_transitions(tmp_path / "t.npz", chain(np.arange(9)))
    frames = read_transitions(tmp_path / "t.npz").observation
    (tmp_path / "t.npz").unlink()
    with pytest.raises(DatasetError, match=r"t.npz: observation: cannot be read \(No such file or directory\)"):
        frames[2:4]
