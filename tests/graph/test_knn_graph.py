import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

import rra_monitor as rra
from rra_monitor.graph import distances, exact, sieve
from tests.helpers import loops
from tests.helpers.truth import assert_same_but_for_ties, truth

pytestmark = pytest.mark.usefixtures("two_threads")

RNG = np.random.default_rng(0)


def test_real_feature_maps_equal_a_double_precision_brute_force(feature_maps):
    assert_same_but_for_ties(rra.knn_graph(feature_maps, k=50), truth(feature_maps.flatten(1).numpy(), 50))


def test_small_graphs_equal_the_loop_reference():
    points = RNG.normal(size=(40, 3))
    graph = rra.knn_graph(points, k=5)
    truth = loops.neighbours(points, 5)
    assert graph.indices.tolist() == [[j for j, _ in row] for row in truth]
    np.testing.assert_allclose(graph.distances, [[d for _, d in row] for row in truth], rtol=1e-6)


def test_neighbours_agree_with_scikit_learn(feature_maps):
    flat = feature_maps.reshape(len(feature_maps), -1).double().numpy()
    distances, indices = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(flat).kneighbors(flat)
    graph = rra.knn_graph(feature_maps, k=10)
    assert (indices[:, 0] == np.arange(len(flat))).all()
    agree = (np.sort(graph.indices) == np.sort(indices[:, 1:])).all(axis=1)
    assert agree.mean() > 0.99
    np.testing.assert_allclose(graph.distances, distances[:, 1:], rtol=1e-5)


def test_size_of_blocks_does_not_change_the_result(feature_maps, monkeypatch):
    whole = rra.knn_graph(feature_maps, k=20)
    monkeypatch.setattr(exact, "suits", lambda *shape: False)
    monkeypatch.setattr(sieve, "TILES", (77,))
    monkeypatch.setattr(distances, "CHUNK", 100)
    monkeypatch.setattr(distances, "BLOCK_BYTES", 10_000)
    blocked = rra.knn_graph(feature_maps, k=20)
    assert (blocked.indices == whole.indices).all()
    np.testing.assert_allclose(blocked.distances, whole.distances, rtol=1e-6)


def test_a_far_offset_costs_no_precision(feature_maps):
    maps = feature_maps + 100
    assert_same_but_for_ties(rra.knn_graph(maps, k=20), truth(maps.flatten(1).numpy(), 20))


def test_an_outlier_costs_no_precision():
    points = RNG.normal(size=(300, 24)).astype(np.float32)
    points[0] = 1e10
    assert_same_but_for_ties(rra.knn_graph(points, k=10), truth(points, 10))


def test_binary_features_have_one_graph_whatever_their_order_and_scale():
    points = RNG.integers(0, 2, size=(400, 30)).astype(np.float32)
    graph = rra.knn_graph(points, k=10)
    for same in (points[:, RNG.permutation(30)], points * 3, points + 7):
        assert (np.sort(rra.knn_graph(same, k=10).indices) == np.sort(graph.indices)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30])
def test_a_dead_layer_is_ordered_by_index(value):
    assert rra.knn_graph(np.full((300, 8), value), k=4).indices[[0, 100, 299]].tolist() == [
        [1, 2, 3, 4],
        [0, 1, 2, 3],
        [0, 1, 2, 3],
    ]


def test_permuting_the_samples_permutes_the_graph():
    points, order = RNG.normal(size=(300, 10)), RNG.permutation(300)
    graph, permuted = rra.knn_graph(points, k=12), rra.knn_graph(points[order], k=12)
    assert (np.sort(order[permuted.indices]) == np.sort(graph.indices[order])).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 7.0, 1e25])
def test_scale_changes_distances_alone(scale):
    points = RNG.normal(size=(300, 10))
    graph, scaled = rra.knn_graph(points, k=12), rra.knn_graph(points * scale, k=12)
    assert (graph.indices == scaled.indices).mean() > 0.999
    np.testing.assert_allclose(scaled.distances, graph.distances * scale, rtol=1e-5)


def test_rotation_keeps_the_graph():
    points = RNG.normal(size=(300, 10))
    rotation, _ = np.linalg.qr(RNG.normal(size=(10, 10)))
    graph, rotated = rra.knn_graph(points, k=12), rra.knn_graph(points @ rotation, k=12)
    assert (np.sort(graph.indices) == np.sort(rotated.indices)).mean() > 0.999


def test_a_sample_is_never_its_own_neighbour_even_among_duplicates():
    points = np.repeat(RNG.normal(size=(20, 5)), 3, axis=0)
    graph = rra.knn_graph(points, k=4)
    assert (graph.indices != np.arange(60)[:, None]).all()
    assert (graph.distances[:, :2] == 0).all()
    assert (graph.distances[:, 2:] > 0).all()
    assert graph.zeros == 1.0


def test_knn_graph_distances_ascend(feature_maps):
    assert (np.diff(rra.knn_graph(feature_maps, k=60).distances, axis=1) >= 0).all()


def test_constant_features_are_all_ties_in_order_of_index():
    graph = rra.knn_graph(np.full((30, 7), 3.14159), k=3)
    assert (graph.ties, graph.zeros) == (1.0, 1.0)
    assert (graph.distances == 0).all()
    assert graph.indices[10].tolist() == [0, 1, 2]
    assert graph.indices[1].tolist() == [0, 2, 3]


def test_ties_are_counted_at_the_last_neighbour_only():
    assert rra.knn_graph(np.array([0.0, 1.0, 2.0, 3.0, 10.0]), k=1).ties == pytest.approx(2 / 5)
    assert rra.knn_graph(np.array([0.0, 1.0, 3.0, 7.0, 15.0]), k=1).ties == 0
    assert rra.knn_graph(np.array([0.0, 1.0, 2.0, 3.0, 10.0]), k=4).ties == 0


TYPES = "bool uint8 uint16 uint32 uint64 int8 int32 int64 float8_e4m3fn float8_e5m2 float16 bfloat16 float64"


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in TYPES.split()], ids=str)
def test_every_real_type_is_measured_as_float32(dtype):
    points = torch.randint(0, 120, (100, 6), generator=torch.Generator().manual_seed(0)).to(dtype)
    graph, plain = rra.knn_graph(points, k=5), rra.knn_graph(points.float(), k=5)
    assert (graph.indices == plain.indices).all()
    assert (graph.distances == plain.distances).all()


def test_arrays_of_any_layout_and_byte_order_are_read():
    points = RNG.normal(size=(50, 4)).astype(np.float32)
    expected = rra.knn_graph(points, k=3).indices
    for same in (points.astype(">f4"), np.asfortranarray(points), points.reshape(50, 2, 2), torch.tensor(points)):
        assert (rra.knn_graph(same, k=3).indices == expected).all()


def test_low_precision_settings_of_the_training_do_not_reach_the_graph_and_come_back(feature_maps):
    expected = rra.knn_graph(feature_maps, k=10).distances
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            graph = rra.knn_graph(feature_maps, k=10)
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_allclose(graph.distances, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("features", "k", "error", "words"),
    [
        ([[0.0], [np.nan], [1.0]], 1, ValueError, "1 of 3 samples have NaN or infinite"),
        ([[0.0], [np.inf], [-np.inf]], 1, ValueError, "2 of 3 samples"),
        ([[0.0]], 1, ValueError, "fewer than 2 samples"),
        ([], 1, ValueError, "fewer than 2 samples"),
        (np.zeros((5, 0)), 1, ValueError, "empty"),
        ([[0.0], [1.0], [2.0]], 0, ValueError, "k must lie in 1 to 2"),
        ([[0.0], [1.0], [2.0]], 3, ValueError, "k must lie in 1 to 2"),
        ([[0.0], [1.0], [2.0]], -1, ValueError, "k must lie in 1 to 2"),
        ([[0.0], [1.0], [2.0]], 1.5, TypeError, "k must be an integer"),
        ([[1j], [2j]], 1, TypeError, "complex"),
        ([["a"], ["b"]], 1, TypeError, "real numbers"),
        (3.0, 1, ValueError, "fewer than 2 samples"),
        (np.array([[1e300], [2e300], [3e300]]), 1, ValueError, "exceed float32"),
        (np.ma.masked_less(np.eye(3), 1), 1, ValueError, "6 features are masked; fill them"),
        ([[1.0, 2.0], [3.0]], 1, ValueError, "a list that makes no array.*the same number of features"),
        ([torch.ones(2, requires_grad=True)] * 3, 1, ValueError, "torch.stack"),
        (np.arange(6).astype("m8[s]").reshape(3, 2), 1, TypeError, r"timedelta64\[s\].*astype"),
        (np.eye(3).astype(np.clongdouble), 1, TypeError, "split real and imaginary parts"),
        (torch.empty((3, 2), dtype=torch.bits8), 1, TypeError, r"bits8.*view\(torch.uint8\)"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(features, k, error, words):
    with pytest.raises(error, match=words):
        rra.knn_graph(features, k=k)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of prototypes
@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda: torch.eye(3).to_sparse(), r"torch.sparse_coo.*to_dense\(\)"),
        (lambda: torch.eye(3).to_sparse_csr(), r"torch.sparse_csr.*to_dense\(\)"),
        (lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), r"torch.qint8.*dequantize\(\)"),
        (lambda: torch.eye(3, device="meta"), "on meta.*expected values"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested.*same number of features"),
    ],
    ids=["sparse", "sparse by rows", "quantised", "meta", "nested"],
)
def test_tensors_that_are_not_dense_and_real_are_refused_with_a_remedy(features, words):
    with pytest.raises(TypeError, match=words):
        rra.knn_graph(features(), k=1)


@pytest.mark.parametrize("backend", ["exact", "nndescent", "auto"])
@pytest.mark.parametrize(
    ("option", "error", "words"),
    [
        (
            {"memory_budget": "1GiB"},
            TypeError,
            "memory_budget must be an integer, got '1GiB'; its default is 1,073,741,8",
        ),
        ({"memory_budget": 1e9}, TypeError, "memory_budget must be an integer, got 1000000000.0"),
        ({"memory_budget": 0}, ValueError, "memory_budget=0 bytes must be above 0"),
        ({"memory_budget": -1}, ValueError, "memory_budget=-1 bytes must be above 0"),
        ({"min_recall": None}, TypeError, "min_recall must be a number, 0 to 1, got None"),
        ({"min_recall": "most"}, TypeError, "min_recall must be a number, 0 to 1, got 'most'"),
        ({"min_recall": float("nan")}, ValueError, "min_recall=nan must lie in 0 to 1"),
        ({"seed": -1}, ValueError, "seed=-1 must lie in 0 to"),
        ({"seed": 1 << 40}, ValueError, "seed=1099511627776 must lie in 0 to"),
        ({"seed": None}, TypeError, "seed must be an integer, got None"),
    ],
)
def test_a_bad_option_is_refused_whichever_backend_would_use_it(option, error, words, backend):
    with pytest.raises(error, match=words):
        rra.knn_graph(np.eye(3), 1, backend, **option)


def test_an_unknown_backend_names_the_valid_ones():
    with pytest.raises(ValueError, match="auto, exact"):
        rra.knn_graph([[0.0], [1.0]], k=1, backend="fast")


def test_two_samples_make_a_graph():
    assert rra.knn_graph([[0.0], [3.0]], k=1).distances.tolist() == [[3.0], [3.0]]


def test_default_k_is_the_thesis_choice():
    assert [rra.default_k(15_000, 10), rra.default_k(10_000, 10), rra.default_k(30_000, 50), rra.default_k(50, 10)] == [
        150,
        100,
        60,
        2,
    ]


def test_nearest_is_the_graph_of_fewer_neighbours(feature_maps):
    tied = np.repeat(np.arange(20.0), 3)[:, None]  # duplicates, and many equal distances
    for features in (feature_maps, tied):
        whole = rra.knn_graph(features, 12)
        for k in (1, 3, 11):
            cut, fresh = whole.nearest(k), rra.knn_graph(features, k)
            np.testing.assert_array_equal(cut.indices, fresh.indices)
            np.testing.assert_allclose(cut.distances, fresh.distances, rtol=1e-6)
            assert cut.ties == pytest.approx(fresh.ties)
            assert (cut.zeros, cut.recall) == (fresh.zeros, 1.0)
        assert whole.nearest(12) is whole
        for k in (0, 13):
            with pytest.raises(ValueError, match=f"k={k} must lie in 1 to 12"):
                whole.nearest(k)
