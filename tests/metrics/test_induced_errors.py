from dataclasses import replace

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.graph.exact import exact_graph
from rra_monitor.graph.nn_descent import nn_descent_graph
from rra_monitor.graph.points import Points
from rra_monitor.graph.recall import draw_audit
from tests.helpers.remedies import Remedy

N, K = 2000, 10
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def points():
    return Points(RNG.normal(size=(N, 100)).astype(np.float32))


@pytest.fixture(scope="module")
def exact(points):
    return exact_graph(points, K)


@pytest.fixture(scope="module")
def labels():
    return RNG.integers(0, 5, N)


def test_an_exact_graph_has_no_induced_errors(points, exact, labels):
    errors = rra.metrics.induced_errors(replace(exact, audit=draw_audit(points, K)), labels)
    assert errors.id == pytest.approx(0, abs=1e-4)
    assert (errors.nncs, errors.nnls) == (0, 0)


def test_induced_errors_are_differences_of_the_metrics_where_all_rows_are_audited(points, exact, labels):
    graph = replace(nn_descent_graph(points, K, min_recall=0.0), audit=draw_audit(points, K, rows=N))
    errors = rra.metrics.induced_errors(graph, labels)
    assert errors.id == pytest.approx(rra.metrics.twonn(graph) - rra.metrics.twonn(exact), rel=1e-3)
    assert errors.nncs == pytest.approx(rra.metrics.nncs(graph, labels) - rra.metrics.nncs(exact, labels))
    assert errors.nnls == pytest.approx(1 - rra.metrics.nnls(graph, exact))
    assert errors.id != 0
    assert errors.nnls > 0.001


def test_induced_errors_without_labels_or_a_second_neighbour(points):
    errors = rra.metrics.induced_errors(nn_descent_graph(points, 1, min_recall=0.0))
    assert np.isnan(errors.id)
    assert errors.nncs is None
    assert 0 <= errors.nnls < 1


def test_induced_errors_need_an_audit(exact):
    with pytest.raises(ValueError, match=r"'exact'.*has no audit"):
        rra.metrics.induced_errors(exact)


def test_induced_errors_are_found_where_the_graph_is_built_as_their_refusal_says(points):
    def built(**asked):
        return rra.knn_graph(points.matrix, K, backend="nndescent", **asked)

    Remedy(
        "Build it with backend='nndescent' and min_recall=0: where a recall is asked for and not reached, the "
        "graph becomes an exact one, which has none",
        lambda: rra.metrics.induced_errors(built(min_recall=1.0)),
        lambda: rra.metrics.induced_errors(built(min_recall=0)),
    ).check()
