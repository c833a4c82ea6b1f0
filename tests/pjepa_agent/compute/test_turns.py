"""Works that are done in turn, and that notice nothing of each other."""

import functools
import itertools
import random

import numpy as np
import pytest
import torch
from pjepa_agent.compute import turns
from pjepa_agent.compute.turns import SETTLED, Ended, finish, take_turns

CPU = torch.device("cpu")


def counting(log, key, steps, fails_at=None):
    """A work of some steps, each of which is noted."""
    try:
        for number in range(steps):
            if number == fails_at:
                raise ValueError(f"{key} at {number}")
            log.append((key, number))
            yield
        return f"result of {key}"
    finally:
        log.append((key, "end"))


def works(log, **steps):
    return [(key, functools.partial(counting, log, key, number)) for key, number in steps.items()]


def test_all_steps_of_a_work_are_done_for_its_result():
    log = []
    assert finish(counting(log, "a", 3)) == "result of a"
    assert log == [("a", 0), ("a", 1), ("a", 2), ("a", "end")]


def test_works_are_done_in_turn_once_those_before_have_settled():
    log = []
    ended = list(take_turns(works(log, a=SETTLED + 4, b=SETTLED + 1, c=2), CPU, most=8))
    assert [each.key for each in ended] == ["a", "b", "c"]
    assert ended[1] == Ended("b", "result of b")
    firsts = [log.index((key, 0)) for key in "abc"]
    assert firsts == sorted(firsts)
    # b begins as soon as a has settled, and then they alternate until a ends.
    assert firsts[1] == SETTLED + 1
    assert log[SETTLED : SETTLED + 8] == [
        *itertools.chain.from_iterable((("a", SETTLED + i), ("b", i)) for i in range(4))
    ]  # fmt: skip


def test_no_more_works_run_at_a_time_than_asked_for():
    log = []
    list(take_turns(works(log, **dict.fromkeys("abcde", 3 * SETTLED)), CPU, most=2))
    running, largest = set(), 0
    for key, step in log:
        running.add(key)
        if step == "end":
            running.remove(key)
        largest = max(largest, len(running))
    assert largest == 2
    assert {key for key, _ in log} == set("abcde")


def test_what_a_work_raises_ends_that_work_alone():
    log = []
    ended = list(take_turns([("a", lambda: counting(log, "a", 40, fails_at=20)), *works(log, b=30, c=20)], CPU, most=8))
    assert {each.key: each.result for each in ended} == {"a": None, "b": "result of b", "c": "result of c"}
    (error,) = [each.error for each in ended if each.error is not None]
    assert str(error) == "a at 20"


def test_once_told_to_stop_no_other_work_is_begun_and_those_that_run_are_asked_themselves():
    log, stop = [], []

    def stopped():
        if sum(key == "b" for key, _ in log) >= 3:
            stop.append(True)
        return bool(stop)

    def obedient(key):
        for number in range(100):
            if stop:
                raise RuntimeError(f"{key} has stopped")
            log.append((key, number))
            yield

    each = [(key, functools.partial(obedient, key)) for key in "abc"]
    ended = list(take_turns(each, CPU, 8, stopped))
    assert sorted(str(one.error) for one in ended) == ["a has stopped", "b has stopped"]
    assert {key for key, _ in log} == {"a", "b"}


def test_works_are_ended_where_nobody_waits_for_the_others():
    log = []
    ended = take_turns(works(log, a=SETTLED + 2, b=100), CPU, most=8)
    assert next(ended).key == "a"
    ended.close()
    assert log[-1] == ("b", "end")


def drawing(seed, steps, found):
    """A work that draws from all generators that the code of a process shares."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    for _ in range(steps):
        found.append((float(torch.rand(())), float(torch.randn(())), np.random.random(), random.random()))  # noqa: NPY002
        yield


def test_each_work_draws_the_numbers_that_it_draws_alone():
    alone = {seed: [] for seed in range(3)}
    for seed, found in alone.items():
        finish(drawing(seed, 2 * SETTLED + seed, found))
    together = {seed: [] for seed in range(3)}
    torch.manual_seed(99)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    begun = [(seed, functools.partial(drawing, seed, 2 * SETTLED + seed, found)) for seed, found in together.items()]
    list(take_turns(begun, CPU, most=8))
    assert together == alone
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


def test_a_work_that_sets_no_seed_draws_what_it_does_alone():
    def unseeded(found):
        for _ in range(20):
            found.append(float(torch.rand(())))
            yield

    torch.manual_seed(5)
    found = [[], []]
    list(take_turns([(0, lambda: unseeded(found[0])), (1, lambda: unseeded(found[1]))], CPU, most=2))
    torch.manual_seed(5)
    alone = []
    finish(unseeded(alone))
    assert found == [alone, alone]


def test_a_work_that_has_no_memory_beside_others_is_begun_again_after_one_of_them():
    log, tried = [], []

    def hungry():
        tried.append(True)
        for number in range(4):
            if len(tried) == 1 and number == 2:
                raise torch.OutOfMemoryError("no memory")
            log.append(("hungry", number))
            yield

    each = [*works(log, a=3 * SETTLED), ("hungry", hungry), *works(log, c=2)]
    ended = list(take_turns(each, CPU, most=8))
    assert [one.key for one in ended] == ["a", "c", "hungry"]
    assert all(one.error is None for one in ended)
    assert log.index(("a", "end")) < log.index(("c", 0))  # no more at a time than there was memory for
    assert len(tried) == 2


def test_a_work_that_has_no_memory_alone_fails():
    def hungry():
        raise torch.OutOfMemoryError("no memory")
        yield

    (ended,) = take_turns([("hungry", hungry)], CPU, most=8)
    assert isinstance(ended.error, torch.OutOfMemoryError)


def test_each_work_is_closed_even_if_another_cannot_be():
    closed = []

    def stubborn(key):
        try:
            while True:
                yield
        finally:
            closed.append(key)
            raise ValueError(f"{key} cannot be closed")

    each = [(key, functools.partial(stubborn, key)) for key in "ab"]
    ended = take_turns([*each, *works([], c=2)], CPU, most=8)
    assert next(ended).key == "c"
    with pytest.raises(ValueError, match="cannot be closed"):
        ended.close()
    assert sorted(closed) == ["a", "b"]


@pytest.mark.parametrize(
    ("free", "host", "fits"), [(18.0, 85, True), (17.0, 85, False), (18.0, 65, True), (18.0, 55, False)]
)
def test_another_work_is_begun_where_a_gpu_and_its_host_have_room_for_it(monkeypatch, free, host, fits):
    available = iter([100, host])
    monkeypatch.setattr(turns, "available_memory", lambda: next(available))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80.0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 12.0)  # of two works
    room = turns.Room(torch.device("cuda"))
    assert room.fits(0)
    assert room.fits(2) == fits


def test_a_cpu_has_room(monkeypatch):
    monkeypatch.setattr(turns, "available_memory", lambda: 0)
    assert turns.Room(CPU).fits(5)


@pytest.mark.gpu
def test_on_a_gpu_each_work_has_a_stream_and_random_numbers_of_its_own():
    device = torch.device("cuda")

    def draws(seed, found, streams):
        torch.manual_seed(seed)
        for _ in range(20):
            streams.add(torch.cuda.current_stream())
            found.append(torch.rand(2, device=device))
            yield

    alone, together, streams = [], [], [set(), set()]
    finish(draws(3, alone, set()))
    begun = [(0, lambda: draws(7, [], streams[0])), (1, lambda: draws(3, together, streams[1]))]
    list(take_turns(begun, device, most=2))
    torch.cuda.synchronize()
    assert torch.equal(torch.stack(alone), torch.stack(together))
    assert [len(each) for each in streams] == [1, 1]
    assert len({torch.cuda.default_stream(), *streams[0], *streams[1]}) == 3
