import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import rra_monitor as rra
from rra_monitor.samples.drawing import class_shares, draw_of_shares, even_shares


def data(*counts):
    """A data set of so many samples of each class, shuffled."""
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)))
    return TensorDataset(torch.rand(len(labels), 2, generator=torch.Generator().manual_seed(0)), labels)


def shares_of(dataset, n):
    """How many of each class a sample has, and what is said about it."""
    with pytest.warns(UserWarning, match=".") as caught:
        sample = rra.FixedSample.from_dataset(dataset, n=n, shrink=True)
    assert len(caught) == 1
    assert (sample.labels == dataset.tensors[1][sample.ids].numpy()).all()
    return np.bincount(sample.labels), str(caught[0].message)


class TestEvenShares:
    @pytest.mark.parametrize("seed", range(20))
    def test_shares_make_n_and_no_more_even_ones_would(self, seed):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 30, rng.integers(1, 12))
        for n in range(1, int(counts.sum()) + 3):
            shares = even_shares(counts, n)
            assert shares.sum() == min(n, counts.sum())
            assert (shares <= counts).all()
            more = shares < counts
            if more.any():  # no class has two more than one that could have more
                assert shares.max() - shares[more].min() <= 1

    def test_a_balanced_draw_is_what_it_was(self):
        labels = np.random.default_rng(0).integers(0, 7, 5000)
        rng = np.random.default_rng(3)
        wanted = np.full(7, 100) + (np.arange(7) < 5)
        picks = [rng.choice(np.flatnonzero(labels == c), size, replace=False) for c, size in enumerate(wanted)]
        assert (draw_of_shares(labels, even_shares(np.bincount(labels), 705), 3) == rng.permutation(
            np.concatenate(picks))).all()  # fmt: skip


class TestUnevenDraws:
    def test_a_rare_class_is_drawn_as_far_as_it_goes(self):
        shares, said = shares_of(data(400, 5, 400, 400), 200)
        assert shares.tolist() == [65, 5, 65, 65]
        assert said == "the classes are drawn unevenly, 5 to 65 samples of each, since class 1 has only 5"

    def test_a_small_set_with_a_rare_class_is_drawn_whole(self):
        shares, said = shares_of(data(20, 20, 5), 2000)
        assert shares.tolist() == [20, 20, 5]
        assert "5 to 20 samples of each" in said

    def test_a_small_set_stays_balanced_if_half_of_it_is(self):
        sample = rra.FixedSample.from_dataset(data(20, 24, 22), n=2000, shrink=True)
        assert np.bincount(sample.labels).tolist() == [20, 20, 20]

    def test_of_very_many_classes_as_many_are_drawn_as_have_room_for_two_each(self):
        shares, said = shares_of(data(*[5] * 1500), 2000)
        assert sorted(set(shares)) == [0, 2]
        assert shares.sum() == 2000
        assert said == "1,000 of 1,500 classes are drawn, since n=2,000 has no room for two samples of each"

    def test_they_are_other_classes_for_another_seed_and_never_those_of_one_sample(self):
        labels = np.repeat(np.arange(300), [1] * 100 + [4] * 200)
        first, second = (class_shares(labels, 100, seed)[0] for seed in (0, 1))
        assert first.sum() == second.sum() == 100
        assert (first != second).any()
        assert set(first) == {0, 2}
        assert not first[:100].any()

    @pytest.mark.parametrize("seed", range(30))
    def test_a_probe_has_at_least_half_of_n_where_the_data_have_that_many(self, seed):
        rng = np.random.default_rng(seed)
        counts = np.maximum(1, rng.lognormal(1, 1.5, rng.integers(2, 400)).astype(int))
        n = int(rng.integers(3, 500))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sample = rra.FixedSample.from_dataset(data(*counts), n=n, shrink=True)
        assert sample.n >= min(n, counts.sum()) / 2
        assert len(caught) <= 1


class TestAdvice:
    """Only `shrink=False` refuses, and what it advises works."""

    @pytest.mark.parametrize(
        ("counts", "n", "words"),
        [
            ([20] * 20, 30, "Pass n=400 or so, shrink=True"),
            ([3] * 20, 30, "Pass n=60 or so, shrink=True"),
            ([1, 9, 9, 9], 6, "Pass shrink=True"),
            ([5, 40, 40], 60, "Pass n=15 or less, shrink=True"),
            ([1, 40, 40], 60, "Pass shrink=True"),
        ],
    )
    def test_the_n_that_is_named_works_and_so_does_shrink(self, counts, n, words):
        with pytest.raises(ValueError, match=words) as caught:
            rra.FixedSample.from_dataset(data(*counts), n=n)
        named = str(caught.value).rpartition("Pass n=")[2].partition(" ")[0]
        if named.isdecimal():
            assert rra.FixedSample.from_dataset(data(*counts), n=int(named)).n == int(named)
        assert rra.FixedSample.from_dataset(data(*counts), n=n, shrink=True).n >= n / 2
