import json
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.helpers.ranks.dimension_ranks import estimates, whole_graph


def test_id_estimates_over_ranks_are_those_of_the_whole_graph(tmp_path):
    script = ROOT / "tests" / "helpers" / "ranks" / "dimension_ranks.py"
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), tmp_path], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=900)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    for name, expected in estimates(whole_graph()).items():
        assert first[name] == pytest.approx(expected, rel=1e-7)


RANK = """
import sys, json, numpy as np, torch.distributed as dist, rra_monitor as rra
from rra_monitor.metrics import graph_health, k_occurrence, nncs, nncs_by_class
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", store=dist.FileStore(folder + "/store", 3), rank=rank, world_size=3)
rng = np.random.default_rng(0)
labels, whole = rng.integers(0, 4, 90), rra.knn_graph(rng.integers(0, 5, size=(90, 3)), 6)
rows = [slice(0, 50), slice(50, 50), slice(50, 90)][rank]
found = dict(ties=whole.ties, zeros=whole.zeros, checked=whole.checked)
shard = rra.ShardedGraph(whole.indices[rows], whole.distances[rows], rows.start, 90, dist.group.WORLD, **found)
half = lambda a, b: abs(a - b) < 0.5
assert (nncs_by_class(shard, labels[rows]).matrix == nncs_by_class(whole, labels).matrix).all()
assert nncs(shard, labels[rows] / 4, agreement=half) == nncs(whole, labels / 4, agreement=half)
assert (k_occurrence(shard) == k_occurrence(whole)).all()
assert graph_health(shard) == graph_health(whole)
dist.destroy_process_group()
"""


def test_nncs_and_health_over_ranks_are_those_of_the_whole_graph(tmp_path):
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in range(3)
    ]
    for rank in ranks:
        errors = rank.communicate(timeout=900)[1]
        assert rank.returncode == 0, errors
