"""Every way to a graph, held to one contract on one set of cases."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph import all_pairs, exact, sieve
from rra_monitor.graph.on_device import bytes_on_device, graph_on_device
from rra_monitor.graph.points import Points
from tests.helpers.ranks.gloo_ranks import CASES
from tests.helpers.truth import assert_same_but_for_ties, truth

pytestmark = pytest.mark.usefixtures("two_threads")

WAYS = [
    "exact",
    "all pairs in tiles",
    "all pairs by feature",
    "in bfloat16",
    "in float32",
    "in float16",
    "by full rows",
    "within a budget",
    "from a memory map",
    "auto",
    "nndescent",
]
RANKS = [1, 2, 4]
BUDGET = 8 << 20


def graph_by(way, points, k, folder, monkeypatch):
    if way in ("in bfloat16", "in float32", "by full rows"):
        monkeypatch.setattr(exact, "suits", lambda *shape: False)
    if "all pairs" in way:
        monkeypatch.setattr(all_pairs, "FEW", 0 if "tiles" in way else 1 << 30)
    elif way == "in float32":
        monkeypatch.setattr(sieve, "bfloat16_pays", lambda: False)
    elif way == "in bfloat16":
        monkeypatch.setattr(sieve, "bfloat16_pays", lambda: True)
    elif way == "in float16":
        return graph_on_device(Points(points), k)
    elif way == "by full rows":
        monkeypatch.setattr(exact, "DENSE", len(points))
    elif way == "from a memory map":
        np.save(folder / "points.npy", points)
        points = np.load(folder / "points.npy", mmap_mode="r")
    budget = {"memory_budget": BUDGET} if way == "within a budget" else {}
    return rra.knn_graph(points, k, way if way in ("auto", "nndescent") else "exact", **budget)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", [*WAYS, *RANKS], ids=lambda way: f"{way} ranks" if way in RANKS else way)
def test_all_backends_agree_with_a_double_precision_brute_force(way, name, gloo, tmp_path, monkeypatch):
    points, k = CASES[name]
    if name == "symmetric outliers" and way not in RANKS:
        with pytest.raises(ValueError, match="Has the training diverged"):
            graph_by(way, points, k, tmp_path, monkeypatch)
        return
    graph = gloo(way).graph(name) if way in RANKS else graph_by(way, points, k, tmp_path, monkeypatch)
    expected = truth(points, k)
    assert (graph.indices != np.arange(graph.n)[:, None]).all()
    assert (np.diff(graph.distances, axis=1) >= 0).all()
    if graph.backend == "nndescent":
        found = graph.distances <= expected.distances[:, -1:] * (1 + 1e-5)
        assert found.mean() >= 0.95
        assert graph.recall == pytest.approx(found.mean(), abs=3 * graph.audit.standard_error(graph) + 1e-9)
    else:
        assert_same_but_for_ties(graph, expected)
        assert graph.recall == 1


def test_real_feature_maps_pass_the_sieve_in_pieces_as_they_do_whole(feature_maps, tmp_path):
    whole = rra.knn_graph(feature_maps, 20, "exact")
    np.save(tmp_path / "maps.npy", feature_maps.numpy())
    mapped = np.load(tmp_path / "maps.npy", mmap_mode="r")  # 39 MB
    pieces = rra.knn_graph(mapped, 20, "exact", memory_budget=12 << 20)
    assert (pieces.indices == whole.indices).all()
    np.testing.assert_allclose(pieces.distances, whole.distances, rtol=1e-6)


@pytest.mark.parametrize("k", [10, 75], ids=["sieve", "full rows"])
@pytest.mark.parametrize("constant", [False, True])
def test_a_memory_budget_below_one_block_says_what_is_needed_and_with_that_it_works(feature_maps, k, constant):
    points = torch.zeros(100, 256) if constant else feature_maps[:100].flatten(1)[:, ::16]
    whole = rra.knn_graph(points, k, "exact")
    with pytest.raises(ValueError, match=r"memory_budget=1 bytes is below one block.*at least [\d,]+") as refused:
        rra.knn_graph(points, k, "exact", memory_budget=1)
    needed = int(re.search(r"at least ([\d,]+)", str(refused.value))[1].replace(",", ""))
    least = rra.knn_graph(points, k, "exact", memory_budget=needed)
    np.testing.assert_allclose(least.distances, whole.distances, rtol=1e-5)
    assert (least.indices == whole.indices).mean() > 0.999


@pytest.mark.parametrize("k", [20, 400], ids=["search", "all compared"])
def test_a_descent_beyond_the_memory_budget_is_refused_with_what_it_takes(feature_maps, k):
    with pytest.raises(ValueError, match=r"memory_budget=1 bytes is below the [\d,]+ that a descent takes.*'auto'"):
        rra.knn_graph(feature_maps, k, "nndescent", memory_budget=1)


def test_full_rows_keep_to_the_memory_budget():
    # In a process of its own, whose peak is its own: 3,000 x 2,000 neighbours, of which the graph takes 48 MB.
    script = """
import numpy as np, rra_monitor as rra
def memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
points = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
rra.knn_graph(points[:300], 100, "exact")
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
rra.knn_graph(points, 2000, "exact", memory_budget=100 << 20)
print(memory("VmHWM") - before)
"""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's account of a process's peak memory")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 << 20


@pytest.mark.parametrize(("n", "dim", "k"), [(400, 300, 10), (300, 2000, 60), (90, 5000, 5)])
def test_a_budget_on_a_gpu_changes_blocks_alone(n, dim, k):
    # On the CPU, where the same functions run.
    points = Points(torch.randn(n, dim, generator=torch.Generator().manual_seed(0)))
    whole, least = graph_on_device(points, k), bytes_on_device(n, dim, k)
    for budget in (least, 2 * least):
        graph = graph_on_device(points, k, budget)
        assert (graph.indices == whole.indices).all()
        np.testing.assert_allclose(graph.distances, whole.distances, rtol=1e-6)
