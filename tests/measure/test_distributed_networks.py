"""A network that is trained by several processes, measured by one of them."""

import pytest

from tests.helpers.ranks.start import outcomes


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank found, by rank."""
    return outcomes("measuring_ranks.py", 2, tmp_path_factory.mktemp("measuring"))


LAYERS = {
    "alone": ["input", "2", "4"],
    "by the names in the wrapper": ["0", "4"],
    "by a forward of ones own": ["1#1", "1#2"],
    "as parts of a network": ["first.module.1"],
}


@pytest.mark.parametrize("way", LAYERS)
def test_rank_zero_measures_alone_and_names_the_layers_of_the_network(ranks, way):
    assert ranks[0][way] == LAYERS[way]
    assert ranks[0][f"{way}, weights"] == ranks[1][f"{way}, weights"]
