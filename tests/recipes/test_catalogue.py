"""The table against the thesis's text, and the overrides of the command line."""

import ast
import inspect
import itertools

import pytest

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.recipes import choices
from rra_monitor.recipes.catalogue import RECIPES, recipe_named
from rra_monitor.recipes.networks import built, stage_sides
from rra_monitor.recipes.options import FLAGS, TrainOptions
from rra_monitor.recipes.plan import planned
from rra_monitor.recipes.recipe import Network

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


def plan(recipe="resnet20-cifar10", **options):
    return planned(TrainOptions(recipe=recipe, **options))


def test_the_recipe_decides_what_the_options_do_not():
    found = plan()
    assert found.optimisation.learning_rate == 0.01
    assert found.optimisation.schedule == "cosine"
    assert found.probe_n == (15_000, 10_000)
    assert found.every == 10


def test_the_short_schedule_is_one_cycle_of_eight_epochs():
    found = plan(short=True)
    assert found.recipe.training.epochs == 8
    assert found.optimisation.schedule == "one-cycle"
    assert found.probe_n == (2000, 2000)
    assert found.every == 1


def test_options_stand_before_the_recipe():
    found = plan(max_epochs=4, learning_rate=0.2, batch_size=32, weight_decay=0.0, augment="blur,flip", n=300, every=2)
    training = found.recipe.training
    assert (training.epochs, training.learning_rate, training.batch) == (4, 0.2, 32)
    assert found.optimisation.weight_decay == 0
    # In the order in which they are applied.
    assert found.recipe.augmentations == ("flip", "blur")
    assert (found.probe_n, found.every) == ((300, 300), 2)
    assert plan("resnet20-cifar10-aug", augment="none").recipe.augmentations == ()


@pytest.mark.parametrize(
    ("options", "attention", "windows"),
    [
        ({"window": "8,4,8"}, "stac", (8, 4, 8)),
        ({"attention": "stac"}, "stac", (8, 8, 8)),
        ({"attention": "stac", "window": "global"}, "stac", ("global",) * 3),
        ({"window": "none,4,none"}, "stac", (None, 4, None)),
        ({"attention": "se"}, "se", (8, 8, 8)),
        ({"recipe": "resnet20-cifar10-stac", "attention": "none"}, None, ()),
    ],
)
def test_attention_is_chosen_by_name(options, attention, windows):
    network = plan(**options).recipe.network
    assert (network.attention, network.windows) == (attention, windows)
    assert built(network, 10, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"recipe": None}, "name a recipe"),
        ({"window": "16"}, r"a window of 16 does not fit a map of 8 x 8; .* 32, 16, 8"),
        ({"window": "8,4"}, "has 2 windows, the network 3 stages"),
        ({"window": "8;4"}, "expected numbers of pixels, global or none"),
        ({"attention": "se", "window": "4"}, "only STAC has windows"),
        ({"placement": "post"}, "has no attention; add --attention stac"),
        ({"attention": "none", "window": "4"}, "--attention none has no --window"),
        ({"max_epochs": 0}, "--max-epochs 0: expected more than 0"),
        ({"limit": 2.5}, "--limit 2.5: expected a whole number of batches, or a share"),
        ({"augment": "flip,noise"}, "no augmentation noise; there are translate, flip"),
    ],
)
def test_what_does_not_fit_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        plan(**options)


def test_what_the_thesis_does_not_print_has_a_reason():
    """Every constant of choices.py is followed by its reason."""
    body = ast.parse(inspect.getsource(choices)).body
    for node, after in itertools.pairwise([*body, None]):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            assert isinstance(after, ast.Expr), ast.unparse(node)
            assert isinstance(after.value.value, str), ast.unparse(node)


def test_flags_are_the_options_that_are_on_or_off():
    assert FLAGS["monitor"] is True
    assert FLAGS["resume"] is False


def test_wide_and_deep_networks_are_wide_and_deep():
    wide = built(Network("resnet34", "wide"), 50, 3)
    assert wide.stem[0].out_channels == 90
    assert wide.fc.in_features == 720
    assert len(built(Network("resnet34", "deep"), 50, 3).layer3) == 12
