import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.metrics import (
    decimated_twonn,
    gride,
    induced_errors,
    levina_bickel,
    ratio_histogram,
    twonn,
    twonn_standard_error,
)
from tests.helpers.graphs import first_rows
from tests.helpers.manifolds import cloud

ESTIMATES = {
    "twonn": twonn,
    "twonn regression": lambda graph: twonn(graph, method="regression"),
    "twonn censored": lambda graph: twonn(graph, method="censored"),
    "levina_bickel": levina_bickel,
    "gride": lambda graph: gride(graph).dimensions[-1],
    "twonn_standard_error": twonn_standard_error,
    "decimated_twonn": lambda graph: decimated_twonn(graph, parts=[1]).dimensions[0],
    "ratio_histogram": lambda graph: ratio_histogram(graph).dimension,
}


WARNING = [name for name in ESTIMATES if name != "ratio_histogram"]


class TestIDEstimates:
    @pytest.mark.parametrize("name", WARNING)
    def test_estimate_is_nan_with_the_reason_where_all_are_duplicates(self, name):
        graph = rra.knn_graph(np.repeat(cloud(10, 3), 3, axis=0), 2)
        with pytest.warns(UserWarning, match="30 of 30 samples have a duplicate, 0 remain"):
            assert math.isnan(ESTIMATES[name](graph))

    @pytest.mark.parametrize("name", WARNING)
    def test_estimate_is_nan_with_the_reason_where_all_ratios_are_one(self, name):
        with pytest.warns(UserWarning, match="all 12 samples are equally far from their"):
            assert math.isnan(ESTIMATES[name](rra.knn_graph(np.eye(12), 2)))

    @pytest.mark.parametrize("name", list(ESTIMATES))
    def test_estimate_needs_two_neighbours(self, name):
        with pytest.raises(ValueError, match=r"k=1\b|k=1 must lie"):
            ESTIMATES[name](rra.knn_graph([[0.0], [1.0], [3.0]], 1))

    @pytest.mark.parametrize("estimate", [decimated_twonn, induced_errors])
    def test_what_needs_the_whole_graph_refuses_one_ranks_shard(self, estimate):
        with pytest.raises(ValueError, match="holds 10 of 20 samples"):
            estimate(first_rows(rra.knn_graph(cloud(20, 2), 4), 10))
