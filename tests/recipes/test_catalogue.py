"""The recipes against the thesis's tables."""

import pytest

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.recipes.catalogue import RECIPES, recipe_named
from rra_monitor.recipes.networks import stage_sides


def test_every_row_of_every_table_is_there():
    """Counted by hand from Tables 4.3, 4.4, 5.1 and 7.1 to 7.6; equal rows of two tables are one recipe."""
    by_table = {}
    for recipe in RECIPES.values():
        by_table.setdefault(recipe.source.split(",")[0], []).append(recipe.name)
    counts = {table: len(names) for table, names in by_table.items()}
    assert counts == {
        "Table 4.3": 2,
        "Table 4.4": 6,
        "Table 5.1": 1,
        "Table 7.1": 27,
        "Table 7.2": 6,
        "Tables 7.2 to 7.4": 1,
        "Table 7.3": 7,
        "Table 7.4": 8,
        "Table 7.5": 27,
        "Table 7.6": 4,
        "ours": 4,
    }


@pytest.mark.parametrize(
    ("name", "accuracy", "deviation", "rate", "epochs", "batch"),
    [
        ("resnet20-cifar10", 81.0, 0.46, 0.01, 100, 128),
        ("resnet20-cifar10-aug", 89.8, 0.2, 0.01, 100, 128),
        ("resnet20-cifar10-blur", 78.8, 0.34, 0.01, 100, 128),
        ("resnet20-imagenet64-50", 57.8, 0.1, 0.01, 100, 128),
        ("resnet20-cifar10-wide", 91.2, 0.2, 0.1, 100, 128),
        ("resnet34-imagenet64-bam", 62.0, 0.1, 0.01, 40, 256),
        ("resnet34-imagenet64-50-stac-post", 76.6, 0.4, 0.01, 100, 128),
        ("resnet20-imagenet64-50-stac-k31", 73.6, 0.6, 0.01, 100, 128),
        ("resnet20-cifar10-stac-s2", 90.4, 0.3, 0.1, 100, 128),
        ("resnet20-cifar10-stac-s1-w32", 90.2, None, 0.1, 100, 128),
        ("resnet20-imagenet64-50-stac-s3-w2", 73.0, None, 0.01, 100, 128),
        ("resnet20-imagenet64-50-stac-w16", 73.6, 0.6, 0.01, 100, 128),
        ("resnet20-cifar10-stac-greedy", 90.8, 0.2, 0.1, 100, 128),
    ],
)
def test_rows_say_what_the_thesis_prints(name, accuracy, deviation, rate, epochs, batch):
    recipe = RECIPES[name]
    assert (recipe.accuracy, recipe.deviation) == (accuracy, deviation)
    training = recipe.training
    assert (training.learning_rate, training.epochs, training.batch) == (rate, epochs, batch)


def test_chapter_4_augments_by_name_and_chapter_7_by_all():
    assert RECIPES["resnet20-cifar10"].augmentations == ()
    assert RECIPES["resnet20-cifar10-flip"].augmentations == ("flip",)
    for name in ("resnet20-cifar10-aug", "resnet34-imagenet64-base", "resnet20-imagenet64-50-stac-s1"):
        assert RECIPES[name].augmentations == ("translate", "flip", "rotate", "colour", "greyscale", "blur")


def test_every_window_fits_its_map():
    for recipe in RECIPES.values():
        sides = stage_sides(recipe.network.stages, DATA[recipe.data].side)
        assert (
            all(window is None or window <= side for window, side in zip(recipe.network.windows, sides, strict=False))
            or recipe.network.attention != "stac"
        ), recipe.name


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match=r"no recipe 'resnet20-cifar'; the nearest: .*resnet20-cifar10\b"):
        recipe_named("resnet20-cifar")
