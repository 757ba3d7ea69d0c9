import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.graphs import NoGroup

NEIGHBOURS = np.array([[1, 2], [0, 2], [3, 1], [2, 0]], np.int32)
DISTANCES = np.array([[1, 2]] * 4, np.float32)


def shard(rows, offset, total=4, **found):
    return rra.ShardedGraph(NEIGHBOURS[rows], DISTANCES[rows], offset, total, NoGroup, **found)


class TestShardedGraph:
    def test_rows_are_counted_from_the_offset(self):
        with pytest.raises(ValueError, match="sample 0 is its own neighbour"):
            shard(slice(1, 3), 0)
        with pytest.raises(ValueError, match=r"sample 3 is its own neighbour.* offset"):
            shard(slice(2, 3), 3)
        assert (shard(slice(2, 4), 2).n, shard(slice(2, 4), 2).samples, shard(slice(2, 4), 2).k) == (2, 4, 2)
        assert shard(slice(0, 0), 4).n == 0

    def test_rows_beyond_the_total_are_refused(self):
        with pytest.raises(ValueError, match="rows 3 to 4 do not lie within 4 samples"):
            shard(slice(2, 4), 3)

    def test_distances_are_checked_as_those_of_a_whole_graph(self):
        with pytest.raises(ValueError, match="the distances of sample 2 are 2, 1, expected finite numbers from 0 on"):
            rra.ShardedGraph(NEIGHBOURS[2:], DISTANCES[2:, ::-1], 2, 4, NoGroup)

    def test_repr_says_which_rows_these_are_and_leaves_out_the_group(self):
        words = "ShardedGraph(n=2, offset=2, total=4, k=2, ties=0.5, zeros=0, recall=1, metric='euclidean', "
        assert repr(shard(slice(2, 4), 2, ties=0.5)) == words + "backend='exact')"
