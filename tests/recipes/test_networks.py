import pytest

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.recipes.catalogue import RECIPES
from rra_monitor.recipes.networks import built
from rra_monitor.recipes.recipe import NetworkSpec

# Parameters that the thesis prints, and those of rows that it describes alone (the last three).
PARAMETERS = {
    "resnet20-cifar10": 272_474,
    "resnet20-cifar10-se": 305_402,
    "resnet20-cifar10-stac": 563_450,
    "resnet20-cifar10-stac-k11": 305_402,
    "resnet20-cifar10-stac-k13": 434_426,
    "resnet20-cifar10-stac-s1": 286_394,
    "resnet20-cifar10-stac-s2": 327_962,
    "resnet20-cifar10-stac-s3": 494_042,
    "resnet20-imagenet64-50-base": 275_074,
    "resnet34-imagenet64-50-base": 21_302_642,
    "resnet34-imagenet64-50-se": 23_825_138,
    "resnet34-imagenet64-stac": 44_432_040,
    "resnet34-imagenet64-deep": 44_439_592,
    "resnet20-cifar10-deep": 564_122,
    "resnet20-cifar10-stac-post": 563_450,
    "resnet20-cifar10-stac-max-cs": 563_450,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_thesiss_parameters(name):
    recipe = RECIPES[name]
    data = DATA[recipe.data]
    network = built(recipe.network, data.classes, data.channels)
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS[name]


def test_wide_and_deep_networks_are_wide_and_deep():
    wide = built(NetworkSpec("resnet34", "wide"), 50, 3)
    assert wide.stem[0].out_channels == 90
    assert wide.fc.in_features == 720
    assert len(built(NetworkSpec("resnet34", "deep"), 50, 3).layer3) == 12
