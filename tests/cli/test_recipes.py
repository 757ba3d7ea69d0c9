from rra_monitor.recipes.catalogue import RECIPES
from tests.helpers.recipe_runs import run


def test_recipes_lists_every_recipe_with_the_thesiss_accuracy(capsys):
    run("recipes", "resnet20-cifar10*")
    printed = capsys.readouterr().out
    assert all(name in printed for name in RECIPES if name.startswith("resnet20-cifar10"))
    assert "81.0 ± 0.5" in printed
    assert "resnet34" not in printed
