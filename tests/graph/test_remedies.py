"""The remedies that texts about graphs name, each of them followed."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy.sparse import csr_matrix

import rra_monitor as rra
from rra_monitor import KnnGraph, knn_graph
from rra_monitor.graph import GraphOfParts
from rra_monitor.graph.points import Points
from rra_monitor.graph.recall import draw_audit
from tests.helpers.graphs import NoGroup
from tests.helpers.remedies import Remedy, refusal

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(60, 40)).astype(np.float32)
ROWS = [torch.zeros(3), torch.ones(3), torch.full((3,), 2.0)]
FEW_BYTES = 31_000
AUDIT = draw_audit(Points(POINTS), 5)


DROPOUT = torch.nn.Dropout(0.2)


def quantised():
    return torch.quantize_per_tensor(torch.from_numpy(POINTS), 0.1, 0, torch.qint8)


def of_parts(*sweeps, gram=False, k=5):
    """A build of POINTS, given as parts for some sweeps."""
    build = GraphOfParts(60, 40, k, gram=gram)
    for parts in sweeps:
        for part in parts:
            build.add(part)
        build.end_sweep()
    return build


def follow_sweeps():
    build = of_parts()
    while build.wants_sweep:
        build.add(POINTS)
        build.end_sweep()
    return build


def of_passes(network):
    return of_parts(*([network(torch.from_numpy(POINTS))] for _ in range(2)))


def shard(offset, total=60):
    return rra.ShardedGraph(np.array([[30], [31]]), np.ones((2, 1), np.float32), offset, total, NoGroup)


def shard_from_one(offset):
    return rra.ShardedGraph(np.array([[0], [0]]), np.ones((2, 1), np.float32), offset, 4, NoGroup)


pytestmark = pytest.mark.filterwarnings("ignore:.*(nested tensors|quantize_per_tensor)")

REMEDIES = [
    Remedy(
        "Lower k, or take more samples (default_k gives n / (10 · classes)).",
        lambda: knn_graph(POINTS, 60),
        lambda: knn_graph(POINTS, 59),
        lambda: knn_graph(np.tile(POINTS, (2, 1)), 60),
        lambda: knn_graph(POINTS, rra.default_k(60, 3)),
    ),
    Remedy(
        "got {}; its default is 0.95",
        lambda: knn_graph(POINTS, 5, min_recall=None),
        lambda: knn_graph(POINTS, 5, min_recall=0.95),
    ),
    Remedy(
        "bytes must be above 0; its default is {}",
        lambda: knn_graph(POINTS, 5, memory_budget=0),
        lambda: knn_graph(POINTS, 5, memory_budget=1 << 30),
    ),
    Remedy(
        "must lie in 0 to 2**32 - 1; its default is 0",
        lambda: knn_graph(POINTS, 5, seed=-1),
        lambda: knn_graph(POINTS, 5, seed=0),
    ),
    Remedy(
        "Raise it, or take fewer samples or pooled features.",
        lambda: knn_graph(POINTS, 20, backend="exact", memory_budget=FEW_BYTES),
        lambda: knn_graph(POINTS, 20, backend="exact", memory_budget=1 << 30),
        lambda: knn_graph(POINTS[:30], 20, backend="exact", memory_budget=FEW_BYTES),
        lambda: knn_graph(POINTS.reshape(60, 5, 8).mean(axis=2), 20, backend="exact", memory_budget=FEW_BYTES),
    ),
    Remedy(
        "call dequantize() on it first",
        lambda: knn_graph(quantised(), 5),
        lambda: knn_graph(quantised().dequantize(), 5),
    ),
    Remedy(
        "a dense tensor: call to_dense() on it first",
        lambda: knn_graph(torch.from_numpy(POINTS).to_sparse(), 5),
        lambda: knn_graph(torch.from_numpy(POINTS).to_sparse().to_dense(), 5),
    ),
    Remedy(
        "give each sample the same number of features",
        lambda: knn_graph(torch.nested.nested_tensor([torch.zeros(2), torch.ones(3)]), 1),
        lambda: knn_graph(torch.stack(ROWS), 1),
    ),
    Remedy(
        "view(torch.uint8) gives the bytes, to unpack them from",
        lambda: knn_graph(torch.from_numpy(POINTS).view(torch.bits8), 1),
        lambda: knn_graph(torch.from_numpy(POINTS).view(torch.bits8).view(torch.uint8), 1),
    ),
    Remedy(
        "features are {}; split real and imaginary parts into two features",
        lambda: knn_graph(torch.from_numpy(POINTS) * 1j, 5),
        lambda: knn_graph(torch.view_as_real(torch.from_numpy(POINTS) * 1j), 5),
    ),
    Remedy(
        "features are {}; split real and imaginary parts into two features",
        lambda: knn_graph(POINTS * 1j, 5),
        lambda: knn_graph(np.concatenate([(POINTS * 1j).real, (POINTS * 1j).imag], axis=1), 5),
    ),
    Remedy(
        "put a list of tensors together with torch.stack",
        lambda: knn_graph([torch.zeros(3, requires_grad=True), *ROWS], 1),
        lambda: knn_graph(torch.stack([torch.zeros(3, requires_grad=True), *ROWS]), 1),
    ),
    Remedy(
        "astype(np.float32) or, of a sparse matrix, toarray() may give these",
        lambda: knn_graph(POINTS.astype(object), 5),
        lambda: knn_graph(POINTS.astype(object).astype(np.float32), 5),
    ),
    Remedy(
        "astype(np.float32) or, of a sparse matrix, toarray() may give these",
        lambda: knn_graph(csr_matrix(POINTS), 5),
        lambda: knn_graph(csr_matrix(POINTS).toarray(), 5),
    ),
    Remedy(
        "features are masked; fill them, or leave out their samples",
        lambda: knn_graph(np.ma.masked_greater(POINTS, 2), 5),
        lambda: knn_graph(np.ma.masked_greater(POINTS, 2).filled(0), 5),
        lambda: knn_graph(POINTS[~np.ma.masked_greater(POINTS, 2).mask.any(axis=1)], 5),
    ),
    Remedy(
        "exceed float32; scale the features down",
        lambda: knn_graph(POINTS.astype(np.float64) * 1e300, 5),
        lambda: knn_graph(POINTS.astype(np.float64) * 1e300 / 1e300, 5),
    ),
    Remedy(
        "give the total of all ranks",
        lambda: shard(offset=59),
        lambda: shard(offset=59, total=61),
    ),
    Remedy(
        "give positions in the graph, not ids in the data set",
        lambda: KnnGraph(np.array([[700], [500]]), np.ones((2, 1), np.float32)),
        lambda: KnnGraph(np.array([[1], [0]]), np.ones((2, 1), np.float32)),
    ),
    Remedy(
        "give the offset of the first row where these are some of the samples",
        lambda: shard_from_one(offset=0),
        lambda: shard_from_one(offset=2),
    ),
    Remedy(
        "build the graph of the {} samples with k={}",
        lambda: AUDIT.recall(knn_graph(POINTS, 4)),
        lambda: AUDIT.recall(knn_graph(POINTS, 5)),
    ),
    Remedy(
        "wants no further part; call GraphOfParts.graph",
        lambda: of_parts([POINTS], [POINTS]).add(POINTS),
        lambda: of_parts([POINTS], [POINTS]).graph(),
    ),
    Remedy(
        "add all parts and call GraphOfParts.end_sweep while GraphOfParts.wants_sweep is true",
        lambda: of_parts([POINTS]).graph(),
        lambda: follow_sweeps().graph(),
    ),
    Remedy(
        "give every part once, then call GraphOfParts.end_sweep",
        lambda: of_parts([POINTS, POINTS]),
        lambda: of_parts([POINTS]),
    ),
    Remedy(
        "expected dim={}; give every part once in each sweep",
        lambda: of_parts([POINTS[:, :39]]),
        lambda: of_parts([POINTS[:, :39], POINTS[:, 39:]]),
    ),
    Remedy(
        "the Gram matrix was not kept; build with gram=True",
        lambda: of_parts([POINTS], [POINTS]).gram(),
        lambda: of_parts([POINTS], [POINTS], gram=True).gram(),
    ),
    Remedy(
        "Do random layers of the network (dropout) act? Put it into evaluation mode",
        lambda: of_passes(DROPOUT.train()),
        lambda: of_passes(DROPOUT.eval()),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_graph_remedy_is_followed(remedy):
    remedy.check()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A group of this process alone."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_graph_of_a_group_that_has_ended_was_to_be_gathered_before(tmp_path):
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    graph = knn_graph(torch.from_numpy(POINTS), 5, group=dist.group.WORLD)
    whole, dimension = graph.gather(), rra.metrics.twonn(graph)
    dist.destroy_process_group()
    with refusal("call ShardedGraph.gather() or the metrics before it is destroyed"):
        graph.gather()
    assert rra.metrics.twonn(whole) == dimension


def test_graph_remedies_over_a_group_are_followed(group):
    points = torch.from_numpy(POINTS)
    for remedy in (
        Remedy(
            "backend='nndescent' works in one process; over a group take 'exact' or 'auto'",
            lambda: knn_graph(points, 5, backend="nndescent", group=group),
            lambda: knn_graph(points, 5, backend="exact", group=group),
            lambda: knn_graph(points, 5, backend="auto", group=group),
        ),
        Remedy(
            "whose blocks have fixed sizes (see docs/graph.md); leave it out",
            lambda: knn_graph(points, 5, memory_budget=FEW_BYTES, group=group),
            lambda: knn_graph(points, 5, group=group),
        ),
        Remedy(
            "expected a torch.Tensor of this rank's rows",
            lambda: knn_graph(POINTS, 5, group=group),
            lambda: knn_graph(points, 5, group=group),
        ),
        Remedy(
            "expected (n_r, …), also (0, …) for no sample",
            lambda: knn_graph(points[:, 0], 5, group=group),
            lambda: knn_graph(points[:, :1], 5, group=group),
        ),
        Remedy(
            "this rank's shard; call this with the whole graph, which ShardedGraph.gather() returns on every rank",
            lambda: rra.metrics.decimated_twonn(knn_graph(points, 5, group=group)),
            lambda: rra.metrics.decimated_twonn(knn_graph(points, 5, group=group).gather()),
        ),
        Remedy(
            "pass the whole ones, which ShardedGraph.gather() returns on every rank",
            lambda: rra.metrics.nnls(knn_graph(points, 5, group=group), knn_graph(points, 5)),
            lambda: rra.metrics.nnls(knn_graph(points, 5, group=group).gather(), knn_graph(points, 5)),
        ),
    ):
        remedy.check()
