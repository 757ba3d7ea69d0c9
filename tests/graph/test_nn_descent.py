import logging
import os
import random
import subprocess
import sys
import warnings
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph import nn_descent
from rra_monitor.graph.exact import exact_graph
from rra_monitor.graph.nn_descent import nn_descent_graph, nn_descent_neighbours
from rra_monitor.graph.points import Points
from rra_monitor.graph.recall import draw_audit
from tests.helpers.remedies import Remedy, assert_says

RNG = np.random.default_rng(0)
HARD = RNG.normal(size=(2000, 300)).astype(np.float32)  # no structure: neighbours of neighbours tell little


@pytest.fixture(scope="module")
def hard():
    return Points(HARD)


@pytest.fixture(scope="module")
def hard_graph(hard):
    return nn_descent_graph(hard, 10, min_recall=0.0)


def true_recall(points, graph):
    return draw_audit(points, graph.k, rows=points.n).recall(graph)


def assert_well_formed(points, graph):
    """Others, each once, nearest first, at the distances that double precision gives."""
    features = points.matrix.double().numpy()
    everyone = np.arange(graph.n)[:, None]
    assert (graph.indices != everyone).all()
    assert ((graph.indices >= 0) & (graph.indices < graph.n)).all()
    assert (np.diff(np.sort(graph.indices), axis=1) > 0).all()
    truth = np.sqrt(((features[graph.indices] - features[:, None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(graph.distances, truth, rtol=2e-6, atol=0)
    equal = np.diff(graph.distances) == 0
    assert (np.diff(graph.distances) >= 0).all()
    assert (np.diff(graph.indices)[equal] > 0).all()


def test_almost_all_neighbours_of_real_feature_maps_are_found(feature_maps):
    points = Points(feature_maps)
    graph = nn_descent_graph(points, 15)
    assert (graph.backend, graph.n, graph.k) == ("nndescent", 600, 15)
    assert (graph.indices.dtype, graph.distances.dtype) == (np.int32, np.float32)
    assert_well_formed(points, graph)
    assert true_recall(points, graph) > 0.98
    exact = rra.knn_graph(feature_maps, k=15)
    assert rra.metrics.twonn(graph) == pytest.approx(rra.metrics.twonn(exact), rel=0.02)


def test_what_was_found_is_well_formed_however_hard_the_search(hard, hard_graph):
    assert_well_formed(hard, hard_graph)
    assert 0.3 < hard_graph.recall < 0.99


def test_the_same_seed_gives_the_same_graph(hard, hard_graph):
    again, other = nn_descent_graph(hard, 10, min_recall=0.0), nn_descent_graph(hard, 10, min_recall=0.0, seed=1)
    assert (again.indices == hard_graph.indices).all()
    assert (again.distances == hard_graph.distances).all()
    assert again.recall == hard_graph.recall
    assert (other.indices != hard_graph.indices).any()
    assert (other.audit.rows != hard_graph.audit.rows).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_neighbours_on_any_fixed_number_of_threads(hard, threads):
    squared, indices = nn_descent_neighbours(hard, 10, seed=3, threads=threads)
    for _ in range(3):
        again_squared, again = nn_descent_neighbours(hard, 10, seed=3, threads=threads)
        assert (again == indices).all()
        assert (again_squared == squared).all()


def test_nn_descent_finds_more_with_more_effort(hard):
    exact = exact_graph(hard, 10)
    found = []
    for effort in range(len(nn_descent.EFFORTS)):
        _, indices = nn_descent_neighbours(hard, 10, effort=effort)
        found.append(rra.metrics.nnls(replace(exact, indices=indices), exact))
    assert found[0] < found[1] < found[2]


def test_a_recall_that_is_missed_raises_the_effort_until_it_is_met(hard, hard_graph, caplog):
    asked = hard_graph.recall + 0.01
    with caplog.at_level(logging.INFO, logger="rra_monitor"):
        graph = nn_descent_graph(hard, 10, min_recall=asked)
    assert graph.backend == "nndescent"
    assert graph.recall >= asked
    assert f"recall {hard_graph.recall:.4f}" in caplog.records[0].message
    assert "effort 0" in caplog.records[0].message
    assert f"min_recall={asked:.4f}" in caplog.records[0].message


def test_a_recall_out_of_reach_ends_in_the_exact_graph_and_says_so(hard, caplog):
    with caplog.at_level(logging.INFO, logger="rra_monitor"):
        graph = nn_descent_graph(hard, 10, min_recall=1.0)
    assert (graph.backend, graph.recall, graph.audit) == ("exact", 1.0, None)
    assert (graph.indices == exact_graph(hard, 10).indices).all()
    assert [record.levelname for record in caplog.records] == ["INFO"] * len(nn_descent.EFFORTS) + ["WARNING"]
    assert "below min_recall=1.0000:" in caplog.records[-1].message
    assert_says(
        "below min_recall={}: building the exact graph. Lower min_recall, or take backend='exact' for such features.",
        caplog.records[-1].message,
    )
    caplog.clear()
    assert rra.knn_graph(HARD, 10, min_recall=0.1, backend="nndescent").backend == "nndescent"
    rra.knn_graph(HARD, 10, min_recall=1.0, backend="exact")
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_memory_budget_ends_the_search_at_the_effort_it_allows_and_holds_for_the_exact_graph(
    hard, caplog, monkeypatch
):
    budget, given = nn_descent.nn_descent_bytes(hard.n, hard.dim, 10), []
    assert nn_descent.nn_descent_bytes(hard.n, hard.dim, 10, effort=1) > budget
    monkeypatch.setattr(
        nn_descent, "exact_graph", lambda points, k, budget: given.append(budget) or exact_graph(points, k)
    )
    with caplog.at_level(logging.INFO, logger="rra_monitor"):
        graph = nn_descent_graph(hard, 10, min_recall=1.0, memory_budget=budget)
    assert (graph.backend, given) == ("exact", [budget])
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert f"its highest effort within memory_budget={budget:,} bytes" in caplog.text
    with pytest.raises(ValueError, match=rf"memory_budget={budget - 1:,} bytes is below the {budget:,} that a descent"):
        nn_descent_graph(hard, 10, memory_budget=budget - 1)


def test_the_remedies_for_a_memory_budget_below_a_descent_are_followed(hard):
    budget = nn_descent.nn_descent_bytes(hard.n, hard.dim, 10) - 1
    given = {"min_recall": 0.0, "backend": "nndescent", "memory_budget": budget}
    Remedy(
        "Raise it, or take backend='exact' or 'auto', fewer samples or pooled features.",
        lambda: rra.knn_graph(HARD, 10, **given),
        lambda: rra.knn_graph(HARD, 10, **given | {"memory_budget": budget + 1}),
        lambda: rra.knn_graph(HARD, 10, **given | {"backend": "exact"}),
        lambda: rra.knn_graph(HARD, 10, **given | {"backend": "auto"}),
        lambda: rra.knn_graph(HARD[:1500], 10, **given),
        lambda: rra.knn_graph(HARD.reshape(2000, 150, 2).mean(axis=2), 10, **given),
    ).check()


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_an_impossible_recall_is_refused(hard, value):
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        nn_descent_graph(hard, 10, min_recall=value)


def test_a_sample_is_never_its_own_neighbour_even_among_duplicates():
    points = Points(np.repeat(RNG.normal(size=(200, 5)), 3, axis=0).astype(np.float32))
    graph = nn_descent_graph(points, 4)
    assert_well_formed(points, graph)
    assert (graph.distances[:, :2] == 0).all()
    assert (graph.distances[:, 2:] > 0).all()
    assert graph.zeros == 1.0


def test_more_duplicates_than_neighbours_are_all_ties():
    points = Points(np.repeat(RNG.normal(size=(5, 8)), 100, axis=0).astype(np.float32))
    graph = nn_descent_graph(points, 10)
    assert_well_formed(points, graph)
    assert (graph.ties, graph.zeros, graph.recall) == (1.0, 1.0, 1.0)


def test_constant_features_are_all_ties():
    points = Points(np.full((300, 7), 3.14159, np.float32))
    graph = nn_descent_graph(points, 10)
    assert_well_formed(points, graph)
    assert (graph.ties, graph.zeros, graph.recall) == (1.0, 1.0, 1.0)


def test_ties_are_counted_as_for_the_exact_graph():
    points = Points(RNG.integers(0, 2, size=(500, 10)).astype(np.float32))
    graph, exact = nn_descent_graph(points, 10), exact_graph(points, 10)
    assert graph.ties == pytest.approx(exact.ties, abs=0.02)
    assert graph.zeros == exact.zeros


@pytest.mark.parametrize(("n", "k"), [(2, 1), (12, 10), (11, 10), (60, 40)])
def test_few_samples_for_many_neighbours_are_all_compared(n, k):
    points = Points(RNG.normal(size=(n, 6)).astype(np.float32))
    graph = nn_descent_graph(points, k, min_recall=1.0)
    assert (graph.indices == exact_graph(points, k).indices).all()
    assert graph.recall == 1.0


def test_rows_that_the_search_leaves_short_are_completed_exactly(hard, monkeypatch):
    search = nn_descent._search

    def leaving_some_short(*arguments):
        found = search(*arguments)
        found[::7, 3:] = -1
        found[1] = found[1, 4]
        return found

    monkeypatch.setattr(nn_descent, "_search", leaving_some_short)
    _, indices = nn_descent_neighbours(hard, 10)
    exact = exact_graph(hard, 10).indices
    assert (indices[::7] == exact[::7]).all()
    assert (indices[1] == exact[1]).all()


@pytest.mark.parametrize(
    "change", [lambda p: p * np.float32(1e25), lambda p: p * np.float32(1e-30), lambda p: p + np.float32(1000)]
)
def test_scale_and_offset_cost_no_neighbours(digits, change):
    points = Points(change(digits[0][:600].numpy()))
    graph = nn_descent_graph(points, 10)
    assert graph.backend == "nndescent"
    assert true_recall(points, graph) > 0.98


def test_features_of_any_precision_are_searched(digits):
    expected = nn_descent_graph(Points(digits[0][:600]), 5)
    for dtype in (torch.float64, torch.float16):  # sixteenths, which half precision holds
        assert (nn_descent_graph(Points(digits[0][:600].to(dtype)), 5).indices == expected.indices).all()


def test_nothing_global_is_touched_and_nothing_is_printed(hard, capfd):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    numba.set_num_threads(1)
    try:
        before = (
            random.getstate(),
            str(np.random.get_state()),
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nn_descent_graph(hard, 10, min_recall=0.0)
        after = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads())
        assert after == before
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert capfd.readouterr() == ("", "")


def test_the_first_search_of_a_process_is_like_every_later_one_and_leaves_torchs_threads():
    # In a process of its own: to start numba's pool sets the number of threads of OpenMP, which torch shares.
    script = (
        "import torch, rra_monitor as rra; torch.set_num_threads(1); torch.manual_seed(0); x = torch.randn(3000, 40);"
        "a, b = (rra.knn_graph(x, 10, backend='nndescent', min_recall=0.0) for _ in range(2));"
        "assert torch.get_num_threads() == 1, torch.get_num_threads(); assert (a.indices == b.indices).all()"
    )
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.mark.cuda
def test_features_on_a_gpu_are_searched_on_the_cpu(hard, hard_graph):
    graph = nn_descent_graph(Points(torch.from_numpy(HARD).cuda()), 10, min_recall=0.0)
    assert (graph.indices == hard_graph.indices).all()
