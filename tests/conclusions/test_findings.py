import dataclasses
import math

import numpy as np
import pytest

from tests.helpers.curves import kinds, measured, random_layers, snapshot


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", [True, False])
def test_random_features_show_nothing(seed, kept):
    snapshots = [measured(random_layers(seed), 6), measured(random_layers(seed + 10), 6, "val")]
    if not kept:
        snapshots = [dataclasses.replace(each, graphs={}) for each in snapshots]
    assert kinds(*snapshots) == {}


def test_random_features_at_two_moments_are_only_unsettled():
    before, now = (measured(random_layers(seed), 6, epoch=seed) for seed in (1, 2))
    assert set(kinds(now, previous=before)) == {"unsettled"}


def test_flat_curves_show_nothing():
    assert kinds(snapshot(id=[10] * 8), snapshot("val", id=[10] * 8), previous=snapshot(id=[10] * 8)) == {}


@pytest.mark.parametrize("seed", range(20))
def test_noise_within_the_sampling_error_shows_nothing(seed):
    rng = np.random.default_rng(seed)
    n = 2000
    both = [
        snapshot(
            probe,
            n,
            id=10 * np.exp(rng.normal(size=12) / math.sqrt(n)),
            nncs=0.5 + rng.normal(size=12) * math.sqrt(0.25 / n),
            pairs=0.4 + rng.normal(size=12) * math.sqrt(0.24 / n),
        )
        for probe in ("train", "val")
    ]
    assert kinds(*both, previous=both[0]) == {}


def test_an_unlabelled_probe_has_findings_of_its_id():
    found = snapshot(id=[10, 20, 30, 20, 8])
    assert set(kinds(found.changed(nncs=None))) == {"id_peak", "hunchback"}


def test_an_earlier_snapshot_of_other_samples_is_refused():
    with pytest.raises(ValueError, match="k=20 here, k=10 there"):
        kinds(snapshot(id=[1, 1]), previous=snapshot(k=10, id=[1, 1]))
