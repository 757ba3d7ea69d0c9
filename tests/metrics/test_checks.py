import pytest

from rra_monitor.metrics import nncs, nncs_by_class, nnls, nnls_per_sample, turnover
from tests.helpers.graphs import first_rows, graph_of


class TestPairsOfGraphs:
    @pytest.mark.parametrize("wrong", [4, -1, 2**31 - 1])
    @pytest.mark.parametrize("compare", [nnls, nnls_per_sample, turnover])
    def test_a_neighbour_that_does_not_exist_is_refused(self, compare, wrong):
        right, broken = graph_of([[1], [0], [3], [2]]), graph_of([[1], [0], [3], [2]])
        broken.indices[2] = wrong  # arrays can be written to after they were checked
        for pair in ((right, broken), (broken, right)):
            with pytest.raises(ValueError, match=f"neighbour 0 of sample 2 is {wrong}, expected .* 0 to 3"):
                compare(*pair)

    @pytest.mark.parametrize("compare", [nnls_per_sample, turnover])
    def test_graphs_that_do_not_compare_are_refused(self, compare):
        with pytest.raises(ValueError, match="n=4, k=1 and n=4, k=2"):
            compare(graph_of([[1], [0], [3], [2]]), graph_of([[1, 2], [0, 2], [3, 0], [2, 0]]))
        shard = first_rows(graph_of([[1], [0], [3], [2]]), 2)
        with pytest.raises(ValueError, match=r"holds 2 of 4 samples.* ShardedGraph.gather\(\)"):
            compare(shard, shard)


class TestNNCS:
    def test_neighbours_that_do_not_exist_are_refused(self):
        with pytest.raises(ValueError, match="neighbour 0 of sample 1 is 3, expected positions among the 3 samples"):
            nncs(graph_of([[1], [3], [0]]), [0, 0, 1])
        with pytest.raises(ValueError, match="is -1"):
            nncs_by_class(graph_of([[1], [-1], [0]]), [0, 0, 1])
