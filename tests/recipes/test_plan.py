"""What the options of the command line make of a recipe."""

import pytest
from torch import nn

from rra_monitor.nn import STAC, SqueezeExcitation
from rra_monitor.recipes.networks import built
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan
from tests.helpers.recipe_runs import options


def plan(recipe="resnet20-cifar10", **options):
    return training_plan(TrainOptions(recipe=recipe, **options))


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


def test_steps_alone_leave_epochs_out():
    assert plan(every_n_steps=100).every is None
    assert plan(every_n_steps=100, every=2).every == 2


@pytest.mark.parametrize("share", [0.0, 1.0, 5.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=f"--max-overhead {share}: expected a fraction above 0 and below 1"):
        plan(max_overhead=share)


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
    stages = built(network, 10, 3)
    for stage, window in zip((stages.layer1, stages.layer2, stages.layer3), windows or [None] * 3, strict=True):
        layer = stage[0].attention
        assert type(layer) is {"stac": STAC, "se": SqueezeExcitation, None: nn.Identity}[attention if window else None]
        if attention == "stac" and window:
            assert layer.window == (None if window == "global" else (window, window))


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
        ({"limit": 2.5}, "--limit 2.5: expected a whole number of batches, or a fraction"),
        ({"augment": "flip,noise"}, "no augmentation noise; there are translate, flip"),
    ],
)
def test_what_does_not_fit_is_named(options, text):
    with pytest.raises(ValueError, match=text):
        plan(**options)


@pytest.mark.parametrize("option", ["max_epochs", "batch_size", "learning_rate", "limit"])
def test_options_that_are_no_positive_number_are_refused(tmp_path, option):
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} .*expected more than 0"):
            training_plan(options(tmp_path, **{option: value}))
