from dataclasses import replace

import numpy as np
import pytest

from rra_monitor.graph.exact import exact_graph
from rra_monitor.graph.nn_descent import nn_descent_graph
from rra_monitor.graph.points import Points
from rra_monitor.graph.recall import draw_audit

N, K = 2000, 10
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def points():
    return Points(RNG.normal(size=(N, 100)).astype(np.float32))


@pytest.fixture(scope="module")
def exact(points):
    return exact_graph(points, K)


def losing(graph, rows, neighbours):
    """The graph with the last neighbours of some rows replaced by other samples, farther than all."""
    indices, distances = graph.indices.copy(), graph.distances.copy()
    for row in rows:
        strangers = np.setdiff1d(np.arange(graph.n), [row, *graph.indices[row]])
        indices[row, -neighbours:] = strangers[:neighbours]
        distances[row, -neighbours:] = 1e3
    return replace(graph, indices=indices, distances=distances)


def test_an_audit_holds_the_exact_rows(points, exact):
    audit = draw_audit(points, K)
    assert len(set(audit.rows.tolist())) == 256
    assert (audit.indices == exact.indices[audit.rows]).all()
    np.testing.assert_allclose(audit.distances, exact.distances[audit.rows], rtol=1e-5)


def test_an_audit_is_seeded_and_leaves_the_global_generator_alone(points):
    state = str(np.random.get_state())
    first, again, other = draw_audit(points, K, seed=1), draw_audit(points, K, seed=1), draw_audit(points, K, seed=2)
    assert (first.rows == again.rows).all()
    assert (first.rows != other.rows).any()
    assert str(np.random.get_state()) == state


def test_few_samples_are_audited_whole():
    audit = draw_audit(Points(RNG.normal(size=(40, 3))), 5)
    assert audit.rows.tolist() == list(range(40))


def test_recall_is_the_share_of_true_neighbours_found(points, exact):
    audit = draw_audit(points, K, rows=N)
    assert audit.recall(exact) == 1.0
    assert audit.recall(losing(exact, range(100), 3)) == pytest.approx(1 - 100 * 3 / (N * K))
    assert audit.standard_error(losing(exact, range(100), 3)) == 0.0  # nothing is left to chance


@pytest.mark.parametrize("case", ["found by descent", "one of ten here and there", "all of a few", "nothing"])
def test_recall_is_within_three_standard_errors_of_the_whole(points, exact, case):
    if case == "found by descent":
        graph = nn_descent_graph(points, K, min_recall=0.0)
    else:
        rows = RNG.permutation(N)
        graph = losing(exact, *{"one of": (rows[:900], 1), "all of": (rows[:20], K), "nothin": (rows[:0], 1)}[case[:6]])
    truth = draw_audit(points, K, rows=N).recall(graph)
    for seed in range(30):
        audit = draw_audit(points, K, seed)
        assert abs(audit.recall(graph) - truth) <= 3 * audit.standard_error(graph)


def test_the_standard_error_is_that_of_the_mean_over_rows(points, exact):
    graph = losing(exact, RNG.permutation(N)[:1200], 6)
    audits = [draw_audit(points, K, seed) for seed in range(100)]
    spread = np.std([audit.recall(graph) for audit in audits])
    assert np.mean([audit.standard_error(graph) for audit in audits]) == pytest.approx(spread, rel=0.25)


def test_standard_error_is_not_zero_where_no_miss_was_seen(points, exact):
    audit = draw_audit(points, K)
    assert audit.recall(exact) == 1.0
    assert audit.standard_error(exact) == pytest.approx(np.sqrt(1 - 256 / N) / 256)


def test_recall_counts_another_neighbour_that_ties_for_the_last_place():
    corners = Points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [5.0, 5.0]]))
    audit, graph = draw_audit(corners, 1), exact_graph(corners, 1)
    swapped = graph.indices.copy()
    assert swapped[0, 0] == 1
    swapped[0, 0] = 3
    assert audit.recall(replace(graph, indices=swapped)) == 1.0


def test_a_graph_of_other_size_is_refused(points):
    with pytest.raises(ValueError, match="k=10, the graph of n=2000, k=4"):
        draw_audit(points, K).recall(exact_graph(points, 4))


def test_nearest_has_the_recall_of_its_own_neighbours(points, exact):
    audit = draw_audit(points, K)
    graph = replace(losing(exact, audit.rows[:40], 3), audit=audit)
    graph = replace(graph, recall=audit.recall(graph))
    assert graph.recall < 1
    cut = graph.nearest(K - 3)  # what was lost lies beyond
    assert cut.recall == 1.0
    assert cut.audit.indices.shape == (256, K - 3)
    assert graph.nearest(K - 1).recall == pytest.approx(1 - 40 * 2 / (256 * (K - 1)))
