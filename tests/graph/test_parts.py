"""Graphs of features that come in parts: those of the whole features, within the bytes that are promised."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rra_monitor as rra
from rra_monitor.graph import exact, parts
from rra_monitor.graph.pairs import _add_by_torch
from rra_monitor.graph.part_sizes import WIDTHS, parts_plan, sizes_within
from rra_monitor.graph.parts import GraphOfParts
from rra_monitor.graph.shells import all_pairs
from rra_monitor.metrics import linear_kernel
from tests.helpers import ROOT
from tests.helpers.clouds import (
    KINDS,
    assert_exact,
    cloud_of,
    clusters,
    heavy_channels,
    near_ties,
    offset,
    quantised,
    true_distances,
)
from tests.helpers.truth import assert_same_but_for_ties

MANY = 1 << 30
SHAPES = {  # samples, features, classes, spread
    "two features": (101, 2, 3, 1e4),
    "ten classes": (301, 64, 10, 500.0),
    "many classes": (300, 33, 150, 1e5),
    "most features": (120, 4096, 3, 1e3),
}


def built(features, k, budget=MANY, cuts=(), gram=False, sweeps=None):
    """The finished build of features cut at some places; of other features in some sweeps."""
    features = torch.as_tensor(features)
    build, made = GraphOfParts(len(features), features.shape[1], k, budget, gram), 0
    while build.wants_sweep:
        whole = features if sweeps is None else sweeps[made]
        for part in torch.tensor_split(whole, sorted({*cuts} - {0, whole.shape[1]}), dim=1):
            build.add(part)
        build.end_sweep()
        made += 1
    assert made in (1, build.sizes.sweeps)  # one, where all samples are equal
    return build


def assert_equal(features, k, **how):
    graph, whole = built(features, k, **how).graph(), rra.knn_graph(features, k, "exact")
    assert_same_but_for_ties(graph, whole)
    assert (graph.zeros, graph.ties) == (whole.zeros, pytest.approx(whole.ties, abs=0.02))
    if np.isfinite(ids := [rra.metrics.twonn(whole), rra.metrics.twonn(graph)]).all():
        assert ids[1] == pytest.approx(ids[0], rel=1e-6)
    return graph


@pytest.mark.filterwarnings("ignore:ID undefined")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_graph_of_parts_is_that_of_the_whole_features(kind, shape):
    n, dim, classes, spread = SHAPES[shape]
    points = cloud_of(kind, 0, n, dim, classes, spread)
    graph = assert_equal(points, 10, cuts=[dim // 3, dim // 2])
    assert_exact(graph, true_distances(points))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_graph_of_parts_by_groups_of_samples(kind):
    points = cloud_of(kind, 0, 301, 64, 10, 500.0)
    assert sizes_within(301, 64, 10, 1_300_000).sweeps > 2
    assert_exact(built(points, 10, 1_300_000, cuts=[30]).graph(), true_distances(points))


@pytest.mark.filterwarnings("ignore:ID undefined")
@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 130),
    dim=st.integers(1, 400),
    spread=st.floats(10, 1e5),
    share=st.floats(0, 1),
    data=st.data(),
)
def test_graph_of_parts_of_random_clouds_cut_anywhere(kind, seed, n, dim, spread, share, data):
    points = cloud_of(kind, seed, n, dim, 5, spread)
    k = 1 + int(share * (n - 2))
    cuts = data.draw(st.lists(st.integers(0, dim), max_size=6))  # some parts are empty
    least = sizes_within(n, dim, k, MANY).bytes
    graph = built(points, k, data.draw(st.sampled_from([MANY, least])), cuts).graph()
    assert_exact(graph, true_distances(points))


@pytest.mark.parametrize("n", [2, 3, 4, 9, 31])
def test_few_samples_and_all_others_as_neighbours(n):
    points = cloud_of(offset, 0, n, 50, 3, 10.0)
    for k in {1, n - 1}:
        assert_exact(built(points, k, cuts=range(1, 50)).graph(), true_distances(points))  # parts of one feature


def test_parts_of_different_types_and_ranges_and_other_cuts_in_the_second_sweep():
    rng = torch.Generator().manual_seed(0)
    halves = torch.randn(90, 40, generator=rng).half()
    counts = torch.randint(0, 200, (90, 30), generator=rng, dtype=torch.uint8)
    doubles = torch.randn(90, 20, generator=rng, dtype=torch.float64) * 50
    small = torch.randn(90, 10, generator=rng).bfloat16() * 1e-30
    build = GraphOfParts(90, 100, 7)
    for sweep in ([halves, counts, doubles, small], [small, doubles[:, :3], doubles[:, 3:], counts, halves]):
        for part in sweep:
            build.add(part)
        build.end_sweep()
    whole = torch.cat([part.float() for part in (halves, counts, doubles, small)], dim=1)
    assert_same_but_for_ties(build.graph(), rra.knn_graph(whole, 7))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_scale_changes_distances_of_parts_alone(scale):
    points = cloud_of(clusters, 0, 200, 60, 5, 20.0)
    scaled = (points.astype(np.float64) * scale).astype(np.float32)
    graph = built(scaled, 12, cuts=[7]).graph()
    assert_exact(graph, true_distances(scaled))


def test_parts_of_very_different_ranges_keep_what_only_the_narrow_one_tells():
    # The narrow part alone tells the duplicates of the wide one apart: 1e-16 of its squares.
    wide = np.repeat(np.random.default_rng(0).normal(size=(40, 8)), 3, axis=0) * 1e8
    narrow = np.random.default_rng(1).normal(size=(120, 8))
    points = np.concatenate([wide, narrow], axis=1).astype(np.float32)
    assert_exact(built(points, 5, cuts=[8]).graph(), true_distances(points))


def test_dead_layers_take_one_sweep_and_are_in_order_of_index():
    graph = built(torch.full((30, 7), 3e38), 3, cuts=[2]).graph()
    assert (graph.ties, graph.zeros) == (1.0, 1.0)
    assert graph.indices[[1, 10]].tolist() == [[0, 2, 3], [0, 1, 2]]


def test_equal_distances_of_integers_prefer_lower_indices():
    points = np.random.default_rng(0).integers(0, 4, (400, 6)).astype(np.uint8)
    expected = np.argsort(true_distances(points), axis=1, kind="stable")[:, :20]
    assert (np.sort(built(points, 20, cuts=[1, 2]).graph().indices) == np.sort(expected)).all()


@pytest.mark.parametrize("kind", [clusters, heavy_channels, near_ties, quantised], ids=lambda kind: kind.__name__)
def test_products_are_within_their_bound(kind):
    # Of one sign and equal last bits, as `bounds` says, errors do add up.
    points = np.abs(cloud_of(kind, 0, 60, 3000, 3, 50.0))
    build = GraphOfParts(60, 3000, 5)
    build.add(points)
    products = build._products.rows(0, 60)
    norms = build._norms[:, None] + build._norms
    true = torch.from_numpy(np.nan_to_num(true_distances(points), posinf=0.0)) ** 2
    apart = ((norms - 2 * products - true).abs() - build._floor) / norms
    assert 1e-9 < apart.max() <= build._error()


@pytest.mark.parametrize("budget", [MANY, 600_000], ids=["two sweeps", "groups of samples"])
def test_a_bound_that_is_too_small_is_found_and_all_pairs_are_measured(budget, monkeypatch):
    points = cloud_of(clusters, 0, 300, 64, 10, 3000.0)
    monkeypatch.setattr(GraphOfParts, "_error", lambda self: 0.0)
    monkeypatch.setattr(parts, "CHECKED", 40)
    with pytest.warns(RuntimeWarning, match=r"rows .* were wrong.*report"):
        graph = graph_of(GraphOfParts(300, 64, 8, budget), points)
    assert 1 <= graph.failed <= graph.checked
    assert_same_but_for_ties(graph, rra.knn_graph(points, 8))


def test_gram_matrix_of_parts_is_that_of_the_whole_features():
    points = cloud_of(clusters, 0, 90, 300, 5, 30.0) + 5
    gram, scale = built(points, 10, cuts=[100, 101], gram=True).gram()
    kernel = linear_kernel(points)
    assert scale == kernel.scale
    torch.testing.assert_close(gram, kernel.rows, rtol=0, atol=1e-12 * float(kernel.rows.abs().max()))
    assert not built(torch.ones(5, 3), 2, gram=True).gram()[0].any()


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        ([[0.0, 1.0], [np.nan, 2.0], [1.0, 0.0]], ValueError, "1 of 3 samples have NaN or infinite"),
        ([[0.0, 1.0], [1e300, 2.0], [1.0, 0.0]], ValueError, "exceed float32"),
        ([[0.0, 3e38], [1e3, -3e38], [1.0, 0.0]], ValueError, "exceed float32"),
        ([[0.0, 3e38, 3e38], [0.0, 0.0, 0.0], [1e37, 0.0, 0.0]], ValueError, "exceed float32"),
        ([[0.0, 1e30], [1.0, 0.0], [2.0, 0.0]], ValueError, "beside which distances of other samples vanish"),
        (np.eye(3) * 1j, TypeError, "complex"),
        (np.zeros((2, 3)), ValueError, "a part has 2 samples, expected 3"),
        (np.zeros((3, 4)), ValueError, "4 features so far, expected dim=3"),
    ],
)
def test_bad_parts_are_refused(features, error, words):
    features = np.asarray(features)
    build = GraphOfParts(3, min(3, features.shape[1]), 1)
    with pytest.raises(error, match=words):
        graph_of(build, features)


def graph_of(build, features):
    while build.wants_sweep:
        build.add(features)
        build.end_sweep()
    return build.graph()


def test_sweeps_that_differ_are_refused():
    points = torch.randn(50, 5000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"differ from those of the first sweep, by 0\.[3-6]"):
        built(points, 5, sweeps=[torch.nn.functional.dropout(points, 0.1), torch.nn.functional.dropout(points, 0.1)])
    noise = 1 + 1e-6 * torch.randn(50, 5000)  # of kernels that do not add in one order
    assert built(points, 5, sweeps=[points, points * noise]).graph().failed == 0


def test_wide_features_fit_the_default_budget_and_small_ones():
    # Noise in many dimensions: no sum of all features in float32 settles which distance is shorter.
    points = torch.randn(30, 140_000, generator=torch.Generator().manual_seed(0))
    expected = true_distances(points.numpy())
    for budget in (exact.MEMORY_BUDGET, 1_000_000):
        assert_exact(rra.knn_graph(points, 4, memory_budget=budget), expected)


@pytest.mark.parametrize(("n", "dim", "k"), [(200, 802_816, 2), (2000, 802_816, 20), (300, 1 << 20, 20), (7, 3, 6)])
def test_a_plan_takes_twice_the_passes_of_what_exceeds_the_budget(n, dim, k):
    for budget in (1 << 28, 1 << 30, 1 << 32):
        plan = parts_plan(n, dim, k, budget)
        sizes = sizes_within(n, dim, k, plan.memory_budget)
        assert sizes.bytes + plan.part_bytes <= budget
        assert (sizes.sweeps, plan.sweeps) == (2, 2)
        if 100 * n**2 < budget:
            assert plan.parts == 1 or plan.passes <= 2.2 * 4 * n * dim / budget + 2
        half = parts_plan(n, dim, k, budget, itemsize=2)
        assert half.passes <= plan.passes / 2 + 2


def test_a_budget_below_the_least_part_is_refused_with_what_it_takes():
    needed = {}
    for refused in (parts_plan, sizes_within):
        with pytest.raises(ValueError, match=r"memory_budget=1,000 bytes is below one block.*at least [\d,]+") as found:
            refused(500, 10_000, 5, 1000)
        needed[refused] = int(str(found.value).split("at least ")[1].split()[0].replace(",", ""))
        assert refused(500, 10_000, 5, needed[refused])
    with pytest.raises(ValueError, match="below one block"):
        sizes_within(500, 10_000, 5, needed[sizes_within] * 2, gram=True)


@pytest.mark.parametrize("budget", [24, 6], ids=["two sweeps", "groups of samples"])
@pytest.mark.parametrize("spread", [1.0, 1e6], ids=["short lists", "long lists"])
def test_graph_of_parts_takes_the_bytes_that_it_says(budget, spread):
    # In a process of its own, whose peak is its own. The long lists hold half of all pairs: two narrow classes.
    script = f"""
import torch
from rra_monitor.graph.parts import GraphOfParts
from rra_monitor.graph.shells import all_pairs
def memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
torch.set_num_threads(1)
part = torch.randn(1000, 3000, generator=torch.Generator().manual_seed(0))
part += {spread} * (torch.arange(1000) % 2)[:, None]
def build(n, budget):
    build = GraphOfParts(n, 3000, 10, budget)
    while build.wants_sweep:
        build.add(part[:n])
        build.end_sweep()
    assert build.graph().failed == 0
    return build.sizes
build(600, 1 << 25)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
sizes = build(1000, {budget} << 20)
print(memory("VmHWM") - before, sizes.bytes, sizes.sweeps)
"""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's account of a process's peak memory")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    peak, promised, sweeps = map(int, done.stdout.split())
    assert promised <= budget << 20
    assert (sweeps == 2) == (budget == 24)
    assert peak <= promised + (2 << 20)  # the allocator's own


def test_parts_are_taken_in_inference_mode_and_within_autocast():
    points = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    expected = rra.knn_graph(points, 5)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same_but_for_ties(built(points.clone(), 5).graph(), expected)


def test_the_example_of_the_documentation_runs(capsys):
    text = (ROOT / "docs" / "graph.md").read_text()
    exec(re.search(r"```python\n(import torch\nfrom.*?)```", text, re.DOTALL)[1], {})
    assert re.fullmatch(r"\d parts, \d passes: KnnGraph\(n=500, k=10, .*\n", capsys.readouterr().out)


def test_pairs_are_measured_by_torch_as_they_are_compiled():
    samples = torch.randn(70, 300, generator=torch.Generator().manual_seed(0))
    compiled, pairs = (all_pairs(0, 70, 70, 30, torch.device("cpu")) for _ in range(2))
    compiled.add(samples)
    for slab in pairs._slabs:
        _add_by_torch(samples, *slab)
    for one, other in zip(compiled.tables(0, 70, 70, 40), pairs.tables(0, 70, 70, 40), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_half_precision_stays_half_until_it_is_worked_on(monkeypatch):
    widths = []
    points_of = parts.Points
    monkeypatch.setattr(parts, "Points", lambda features: widths.append(features) or points_of(features))
    points = torch.randn(20, 5000, generator=torch.Generator().manual_seed(0)).half()
    assert_same_but_for_ties(built(points, 3).graph(), rra.knn_graph(points, 3))
    assert {chunk.dtype for chunk in widths} == {torch.float16}
    assert max(chunk.shape[1] for chunk in widths) <= WIDTHS[0]
