"""The command `rra-monitor recipes`: the table of recipes."""

from fnmatch import fnmatch

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rra_monitor.recipes.catalogue import RECIPES, recipe_named
from rra_monitor.recipes.recipe import thesis_accuracy


def print_recipes(pattern: str | None) -> None:
    """Print the recipes that a pattern matches, or all.

    Raises:
        ValueError: a pattern that matches nothing.
    """
    chosen = [recipe for recipe in RECIPES.values() if pattern is None or fnmatch(recipe.name, pattern)]
    if not chosen:
        assert pattern is not None
        chosen = [recipe_named(pattern)]
    # The data are in the name; without lines between the columns it fits a terminal of 80.
    table = Table("recipe", box=SIMPLE_HEAD, padding=0)
    for title in ("epochs", "rate", "top-1 %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("source in the thesis")
    table.columns[0].no_wrap = True
    for recipe in chosen:
        training = recipe.training
        source = recipe.source + (f"; {recipe.note}" if recipe.note else "")
        table.add_row(
            recipe.name,
            str(training.epochs),
            f"{training.learning_rate:g}",
            thesis_accuracy(recipe),
            source,
        )
    console = Console()
    console.print(table)
    console.print(
        f"{len(chosen)} recipes; top-1 is the thesis's, on the validation data, ± over its 8 runs. What it does not "
        "print (weight decay, blur, …) stands with reasons in rra_monitor/recipes/choices.py, "
        "and of data in rra_monitor/datasets.",
        highlight=False,
    )
