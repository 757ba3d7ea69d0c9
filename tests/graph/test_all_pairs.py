"""All pairs of few samples, or of few features, compared directly."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph import all_pairs, workers
from rra_monitor.graph.all_pairs import all_pairs_bytes, all_pairs_graph
from rra_monitor.graph.points import Points
from tests.helpers.truth import assert_same_but_for_ties, truth

RNG = np.random.default_rng(0)


@pytest.fixture(params=["tiles", "by feature"])
def way(request, monkeypatch):
    monkeypatch.setattr(all_pairs, "FEW", 0 if request.param == "tiles" else 1 << 30)


@pytest.mark.usefixtures("way")
class TestBothWays:
    @pytest.mark.parametrize("dim", [1, 7, 8, 9, 15, 16, 17, 127, 129, 511, 513, 1025])
    def test_any_number_of_features(self, dim):
        points = RNG.normal(size=(70, dim)).astype(np.float32)
        assert_same_but_for_ties(all_pairs_graph(Points(points), 6), truth(points, 6))

    @pytest.mark.parametrize("n", [2, 3, 4, 5, 31, 32, 33, 63, 65, 130])
    def test_any_number_of_samples(self, n):
        points = RNG.normal(size=(n, 20)).astype(np.float32)
        for k in {1, n // 2, n - 1} - {0}:
            assert_same_but_for_ties(all_pairs_graph(Points(points), k), truth(points, k))

    @pytest.mark.parametrize("k", [62, 63, 64, 100, 599])
    def test_more_neighbours_than_are_inserted_one_by_one(self, k):
        points = RNG.normal(size=(600, 5)).astype(np.float32)
        assert_same_but_for_ties(all_pairs_graph(Points(points), k), truth(points, k))

    @pytest.mark.parametrize("k", [20, 100])
    def test_a_limit_from_the_samples_looked_at_first_that_is_too_low(self, k):
        # Of the samples looked at, every eighth, ten lie together; of the others none is near.
        points = RNG.normal(size=(8000, 3)).astype(np.float32) * 100
        points[np.arange(0, 8 * 2 * k, 8)] /= 1e4
        rows = np.arange(0, 8 * k, 8)
        graph = all_pairs_graph(Points(points), k)
        distances = np.sqrt(((points[rows, None].astype(float) - points) ** 2).sum(axis=2))
        distances[np.arange(len(rows)), rows] = np.inf
        np.testing.assert_allclose(graph.distances[rows], np.sort(distances, axis=1)[:, :k], rtol=2e-6)

    @pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16", "int8", "transposed", "every other"])
    def test_features_that_compiled_code_cannot_read_in_place(self, kind):
        values = torch.from_numpy(RNG.normal(size=(150, 40)) * 20)
        points = {
            "int8": values.to(torch.int8),
            "transposed": values.float().T.contiguous().T,
            "every other": values.float().repeat_interleave(2, dim=1)[:, ::2],
        }.get(kind)
        points = values.to(getattr(torch, kind)) if points is None else points
        graph = all_pairs_graph(Points(points), 8)
        assert_same_but_for_ties(graph, truth(points.float().numpy(), 8))

    @pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e18, 1e30])
    def test_any_scale(self, scale):
        points = (RNG.normal(size=(90, 12)) * scale).astype(np.float32)
        graph = all_pairs_graph(Points(points), 5)
        expected = truth(points / np.float32(scale), 5)
        assert (np.sort(graph.indices) == np.sort(expected.indices)).all()
        np.testing.assert_allclose(graph.distances / scale, expected.distances, rtol=1e-5)

    @pytest.mark.usefixtures("two_threads")
    def test_threads_change_nothing(self, monkeypatch):
        points = Points(RNG.normal(size=(333, 90)).astype(np.float32))
        alone = all_pairs_graph(points, 10)
        monkeypatch.setattr(workers, "STARTED", 1)
        shared = all_pairs_graph(points, 10)
        assert (shared.indices == alone.indices).all()
        assert (shared.distances == alone.distances).all()

    def test_distances_beyond_float32_are_refused(self):
        points = np.zeros((40, 8), np.float32)
        points[:20] = 3e38
        with pytest.raises(ValueError, match="exceed float32; scale the features down"):
            all_pairs_graph(Points(points), 25)


def test_many_chunks_of_features_are_added_in_float64(monkeypatch):
    # Each chunk adds the same, so that roundings go the same way for long.
    monkeypatch.setattr(all_pairs, "INNER", 16)
    monkeypatch.setattr(all_pairs, "TOGETHER", 1)
    points = Points(torch.arange(1, 9)[:, None] * torch.full((1, 16 * 3000), 0.1) / 7)
    apart = (points.matrix[:, None, 0].double() - points.matrix[:, 0].double()) / points.scale
    true = (16 * 3000 * apart.square()).numpy()
    errors = []
    for wide in (1 << 30, 4096):
        monkeypatch.setattr(all_pairs, "WIDE", wide)
        errors.append(float(np.max(np.abs(all_pairs._table(points) - true)[true > 0] / true[true > 0])))
    assert errors[1] < 5e-7 < errors[0] < 2e-4


def test_ties_and_duplicates_are_counted():
    line = np.array([[0.0], [0.0], [1.0], [2.0], [3.0]], np.float32)
    graph = rra.knn_graph(line, 2)
    assert graph.indices.tolist() == [[1, 2], [0, 2], [0, 1], [2, 4], [3, 2]]
    assert graph.zeros == 0.4
    assert graph.ties == 0.2  # of sample 2, whose third neighbour is as far as its second


def test_a_budget_below_what_it_takes_is_kept_by_another_way():
    points = RNG.normal(size=(500, 300)).astype(np.float32)
    small = rra.knn_graph(points, 5, "exact", memory_budget=all_pairs_bytes(500, 300, 5) - 1)
    assert small.checked > 0  # products, of which some rows are checked
    assert rra.knn_graph(points, 5, "exact").checked == 0
    assert_same_but_for_ties(small, truth(points, 5))


def test_an_error_on_a_thread_is_raised_and_holds_no_other_up():
    met = []

    def first(who, count):
        met.append((who, count))
        if who == 1:
            raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        workers.in_step([first, lambda who, count: met.append("next")], 3)
    assert sorted(met) == [(0, 3), (1, 3), (2, 3)]


def test_no_thread_begins_a_step_before_all_have_ended_the_one_before():
    met = []
    workers.in_step([lambda who, count, step=step: met.append(step) for step in range(20)], 4)
    assert met == sorted(met)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not tell where a thread may run")
@pytest.mark.parametrize("fails", [False, True])
def test_this_thread_may_run_afterwards_where_it_might_before(fails):
    allowed = os.sched_getaffinity(0)
    met = []

    def work(who, count):
        met.append(os.sched_getaffinity(0))
        if fails and who == 0:
            raise KeyError("lost")

    with pytest.raises(KeyError) if fails else nullcontext():
        workers.side_by_side(work, len(allowed))
    assert os.sched_getaffinity(0) == allowed
    assert set().union(*met) == allowed
    if len(allowed) > 1:  # as many threads as processors: one on each
        assert all(len(places) == 1 for places in met)
        workers.side_by_side(lambda who, count: met.append(os.sched_getaffinity(0)), len(allowed) - 1)
        assert met[-1] == allowed
