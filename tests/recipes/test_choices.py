"""What the thesis does not print reaches the trainings."""

from types import SimpleNamespace

import pytest
from torch import nn

from rra_monitor.recipes.classifier import Classifier
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.plan import training_plan


def course(options, steps=400):
    """The optimiser as it begins, and the rate at each step."""
    module = Classifier(nn.Linear(2, 2), 2, training_plan(options).optimisation)
    module.trainer = SimpleNamespace(estimated_stepping_batches=steps)
    found = module.configure_optimizers()
    optimiser, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    (group,) = optimiser.param_groups
    first, rates = dict(group), []
    for _ in range(steps):
        rates.append(group["lr"])
        optimiser.step()
        if len(rates) < steps:
            schedule.step()
    return first, rates


def test_choices_of_the_long_schedule_reach_the_optimiser():
    first, rates = course(TrainOptions(recipe="resnet20-cifar10"))
    assert (first["momentum"], first["weight_decay"]) == (0.9, 5e-4)
    assert rates.index(max(rates)) == 40 - 1  # a tenth of the steps
    assert rates[0] == pytest.approx(0.01 / 40)
    assert max(rates) == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.01 * 0.01)


def test_choices_of_the_short_schedule_reach_the_optimiser():
    _, rates = course(TrainOptions(recipe="resnet20-cifar10", short=True))
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] < 1e-4
    assert training_plan(TrainOptions(recipe="resnet20-cifar10", short=True)).recipe.training.epochs == 8


def test_choices_of_rate_and_batch_reach_the_recipes_that_print_none():
    chapter_4, ablation = (
        training_plan(TrainOptions(recipe=f"resnet20-{name}")) for name in ("cifar10", "cifar10-stac-s1")
    )
    assert chapter_4.recipe.training.batch == 128
    assert ablation.optimisation.learning_rate == 0.1
