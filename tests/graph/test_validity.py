import time

import numpy as np
import pytest

import rra_monitor as rra

RIGHT = np.array([[1, 2], [0, 2], [3, 1], [2, 0]], np.int32)
DISTANCES = np.array([[1, 2]] * 4, np.float32)


def with_first(array, value, dtype=None):
    found = array.astype(dtype or array.dtype)
    found[0, 0] = value
    return found


class TestKnnGraphNeighbours:
    @pytest.mark.parametrize(
        ("indices", "words"),
        [
            (with_first(RIGHT, 4), "neighbour 0 of sample 0 is 4, expected positions among the 4 samples, 0 to 3"),
            (with_first(RIGHT, -1), "neighbour 0 of sample 0 is -1, expected positions"),
            (with_first(RIGHT, 2**32 + 1, np.uint64), "neighbour 0 of sample 0 is 4294967297, expected positions"),
            (with_first(RIGHT, 0), "sample 0 is its own neighbour"),
            (with_first(RIGHT, 2), "sample 0 has neighbour 2 twice, expected 2 different ones"),
            (RIGHT.astype(np.float64), "indices are float64, expected integers"),
            (RIGHT > 1, "indices are bool, expected integers"),
            (np.zeros((4, 0), np.int32), "each sample has 0 neighbours, expected 1 to 3"),
            (np.zeros((4, 4), np.int32), "each sample has 4 neighbours, expected 1 to 3"),
        ],
    )
    def test_graph_refuses_neighbours_that_no_sample_has(self, indices, words):
        with pytest.raises(ValueError, match=words):
            rra.KnnGraph(indices, np.ones(indices.shape, np.float32))

    def test_graph_of_one_row_and_many_neighbours_is_none(self):
        with pytest.raises(ValueError, match="each sample has 200000 neighbours"):
            rra.KnnGraph(np.zeros((1, 200_000), np.uint8), np.ones((1, 200_000), np.float32))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
    def test_graph_takes_any_integers(self, dtype):
        assert rra.KnnGraph(RIGHT.astype(dtype), DISTANCES).k == 2


class TestKnnGraphDistances:
    @pytest.mark.parametrize("row", [[2, 1], [-1, 1], [np.nan, 1], [1, np.nan], [1, np.inf], [np.inf, np.inf]])
    def test_graph_refuses_distances_that_no_row_has(self, row):
        distances = DISTANCES.copy()
        distances[2] = row
        with pytest.raises(ValueError, match=r"the distances of sample 2 are .*, expected finite numbers from 0 on"):
            rra.KnnGraph(RIGHT, distances)

    def test_graph_refuses_whole_numbers_for_distances(self):
        with pytest.raises(ValueError, match="distances are int64, expected floating-point"):
            rra.KnnGraph(RIGHT, DISTANCES.astype(np.int64))

    def test_graph_takes_equal_distances_and_those_of_one_number_in_memory(self):
        assert rra.KnnGraph(RIGHT, np.broadcast_to(np.float32(0), RIGHT.shape)).zeros == 0.0


def test_graph_is_checked_in_a_small_part_of_the_time_that_it_takes_to_build():
    rng = np.random.default_rng(0)
    indices = (np.arange(10_000)[:, None] + 1 + np.argsort(rng.random((1, 9_999)))[:, :100]) % 10_000
    distances = np.sort(rng.random(indices.shape, np.float32), axis=1)
    indices = indices.astype(np.int32)
    seconds = []
    for _ in range(20):
        started = time.thread_time()  # of this thread alone, whatever else runs
        rra.KnnGraph(indices, distances)
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.1
