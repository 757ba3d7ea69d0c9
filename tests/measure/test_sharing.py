"""Several processes measure together what one measures alone."""

import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.ranks.sharing_ranks import CASES, N, network, numbers, sample
from tests.helpers.ranks.start import outcomes, shards_on_a_cpu


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)], ids=lambda ranks: f"{ranks} ranks")
def ranks(request, tmp_path_factory):
    """What each rank found, by rank."""
    return outcomes("sharing_ranks.py", request.param, tmp_path_factory.mktemp("sharing"), str(request.param))


def assert_same(found, alone, rtol=1e-6):
    """Neighbours are equal but for ties, of which there are none here, and values to six digits."""
    assert found["layers"] == list(alone["layers"])
    assert found["aliases"] == alone["aliases"]
    assert found["curves"].keys() == alone["curves"].keys()
    for kind in ("curves", "matrices"):
        for name, values in alone[kind].items():
            if name != "checked":  # each rank checks some rows of its own
                np.testing.assert_allclose(found[kind][name], values, rtol, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_measure_what_one_process_does(ranks, name):
    alone = numbers(rra.Monitor({"p": sample()}, **CASES[name]).measure(network(), step=0, epoch=0)["p"])
    for each in ranks:
        assert_same(each[name], alone)
    assert ranks[0][name]["indices"] == alone["indices"]


def test_more_ranks_than_samples(ranks):
    alone = numbers(rra.Monitor({"p": sample(3)}, k=2).measure(network(), step=0, epoch=0)["p"])
    for each in ranks:
        assert_same(each["three samples"], alone, rtol=1e-4)  # of so few, distances of six digits give no more


def test_the_first_rank_alone_holds_the_graphs(ranks):
    assert [bool(each["plain"]["indices"]) for each in ranks] == [True] + [False] * (len(ranks) - 1)


def test_each_sample_passes_the_network_once_over_all_ranks(ranks):
    later = [each["trained"]["passed"][1:] for each in ranks]  # the first finds the layers, too
    assert np.sum(later, axis=0).tolist() == [N, N]
    assert max(map(max, later)) - min(map(min, later)) <= 1


def test_training_is_the_same_to_the_last_bit(ranks):
    for each in ranks:
        assert each["trained"]["weights"] == each["trained alone"]["weights"]


def test_the_first_ranks_batch_norm_counts(ranks):
    first = ranks[0]["trained"]["by itself"]
    assert ranks[1]["trained"]["by itself"]["curves"]["id"] != first["curves"]["id"]
    for each in ranks:
        assert_same(each["trained"]["last"], first)


def test_replicas_with_other_weights_are_refused(ranks):
    for each in ranks:
        assert each["refused"]["weights"] == (
            f"weights differ between ranks: '3.bias' on rank 0 and rank {len(ranks) - 1}. Give all ranks the same "
            "network, or leave out the group and measure on one rank alone"
        )


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("in a pass", "RuntimeError: bad luck"),
        ("out of memory", "OutOfMemoryError: CUDA out of memory"),
        ("memory", "MemoryError: out of memory: no memory"),
        ("a key", "KeyError: 'lost'"),
    ],
)
def test_a_failing_rank_costs_one_snapshot_with_one_warning_that_names_it(ranks, kind, cause):
    last = len(ranks) - 1
    for rank, each in enumerate(ranks):
        said = each["failing"][kind]
        assert said["probes"] == [[], ["p"]]
        assert len(said["warned"]) == (rank == 0)
    warning = ranks[0]["failing"][kind]["warned"][0]
    assert warning.startswith("no snapshot at epoch 1, step 1; training goes on: ")
    assert f"rank {last}: " in warning
    assert cause in warning


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("probe", "probe 'p' differs between ranks: n=121"),
        ("content", "probe 'p' differs between ranks: n=121"),
        ("name", "probes differs between ranks: ('p0',) on rank 0, ('p1',) on rank"),
        ("views", "views differs between ranks: ('full',) on rank 0, ('full', 'avg2') on rank"),
        ("k", "k differs between ranks: 4 on rank 0, 5 on rank"),
        ("layers", "layers differs between ranks: ('0', '3') on rank 0, ('3',) on rank"),
        ("step", "step differs between ranks: 0 on rank 0, 1 on rank"),
    ],
)
def test_ranks_that_ask_for_different_things_are_refused_on_all(ranks, what, text):
    for each in ranks:
        assert each["refused"][what].startswith(text)
        assert f"on rank {len(ranks) - 1}; pass the same on every rank" in each["refused"][what]


@shards_on_a_cpu
def test_a_sharded_network_is_measured_like_a_whole_one(ranks):
    alone = numbers(rra.Monitor({"p": sample()}).measure(network(), step=0, epoch=0)["p"])
    few = numbers(rra.Monitor({"p": sample(3)}, k=2).measure(network(), step=0, epoch=0)["p"])
    for each in ranks:
        assert each["sharded"]["plan"] == list(alone["layers"])
        assert_same(each["sharded"]["numbers"], alone)
        assert_same(each["sharded"]["again"], alone)
        assert_same(each["sharded"]["three samples"], few, rtol=1e-4)
        assert each["sharded"]["parameters"] == ["DTensor"]


@shards_on_a_cpu
def test_a_failing_rank_costs_a_sharded_network_one_snapshot(ranks):
    for rank, each in enumerate(ranks):
        assert each["sharded"]["broken"] == []
        assert len(each["sharded"]["warned"]) == (rank == 0)
    assert f"rank {len(ranks) - 1}: RuntimeError: bad luck" in ranks[0]["sharded"]["warned"][0]


def test_a_rank_whose_batches_do_not_fit_halves_them_alone(ranks):
    alone = numbers(rra.Monitor({"p": sample()}).measure(network(), step=0, epoch=0)["p"])
    for rank, each in enumerate(ranks):
        assert_same(each["halved"]["numbers"], alone)
        assert len(each["halved"]["warned"]) == (rank == 1)
