import json
import re
import subprocess
import sys

import numpy as np
import pytest

from rra_monitor.graph.ring_sizes import BLOCK_BYTES, ring_sizes
from tests.helpers import ROOT

BUDGET = 32 << 20


def test_the_least_budget_of_the_ranks_is_kept_on_all_and_does_not_show(tmp_path):
    script = ROOT / "tests" / "helpers" / "ranks" / "budget_ranks.py"
    ranks = [
        subprocess.Popen([sys.executable, script, *map(str, (rank, 2, tmp_path, 300, 30_000, BUDGET))])
        for rank in range(2)
    ]
    try:
        assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["budget"]["bytes"] < 1.2 * BUDGET
        assert found["default"]["bytes"] > 1.5 * BUDGET
        graphs = [np.load(tmp_path / f"{rank} {name}.npy") for name in ("budget", "default")]
        assert (graphs[0] == graphs[1]).all()


class TestRingSizes:
    def test_blocks_are_as_large_as_the_budget_and_the_device_allow(self):
        assert ring_sizes([5000, 5000], 4096, 28, 0, "cpu", 1 << 30).block * 4 * 4096 == BLOCK_BYTES["cpu"]
        assert ring_sizes([5000, 5000], 4096, 28, 0, "cpu", None) == ring_sizes(
            [5000, 5000], 4096, 28, 0, "cpu", 1 << 30
        )
        smaller = [ring_sizes([5000, 5000], 4096, 28, 0, "cpu", size << 20).block for size in (64, 128, 256)]
        assert smaller == sorted(set(smaller))
        assert ring_sizes([5000, 5000], 4096, 28, 0, "cuda", None).block == 5000

    def test_a_budget_below_blocks_of_one_sample_is_refused_with_what_would_do(self):
        given = ([1000, 1000], 50_000, 28, 0, "cpu")
        with pytest.raises(ValueError, match="memory_budget=1,048,576 bytes is below blocks of one sample") as refused:
            ring_sizes(*given, 1 << 20)
        least = int(re.search(r"at least ([\d,]+)", str(refused.value))[1].replace(",", ""))
        assert ring_sizes(*given, least).block == 1
        with pytest.raises(ValueError, match="Raise it, or spread the samples over more ranks"):
            ring_sizes(*given, least - 1)

    def test_copies_of_the_features_count(self):
        with pytest.raises(ValueError, match="below blocks of one sample"):
            ring_sizes([1000, 1000], 50_000, 28, 200_000_000, "cpu", 128 << 20)
