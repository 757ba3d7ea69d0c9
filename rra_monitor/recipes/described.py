"""Checks of a run's `run.json`, which may come from somebody else, or from another version."""

import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.recipe import NetworkSpec

LARGEST_WINDOW, KERNELS = 4096, (1, 3)
"""Largest side of a window, and sides of STAC's convolutions, in pixels."""


def checked_description(about: Any, file: Path) -> dict[str, Any]:
    """The description, with every part of it that is used, as `write_description` wrote it.

    Options that this version does not know are dropped. Additional parts of other versions stay.

    Args:
        about: content of the file.
        file: path of the file.

    Raises:
        ValueError: a part that is missing or of another type, named.
    """

    def refuse(what: str, value: Any, expected: str) -> ValueError:
        return ValueError(
            f"{file} describes no training that this version knows: {what} is {value!r:.80}, expected {expected}. "
            "Restore the file, or delete the run's folder and train again"
        )

    parts: dict[str, Any] = {}
    for name in ("options", "plan", "plan.recipe", "plan.recipe.network"):
        above, _, key = name.rpartition(".")
        parts[name] = (parts[above] if above else about).get(key)
        if not isinstance(parts[name], dict):
            raise refuse(name, parts[name], "an object")
    kinds = get_type_hints(TrainOptions)
    options = {name: value for name, value in parts["options"].items() if name in kinds}
    for name, value in options.items():
        if not fits(value, kinds[name]):
            raise refuse(f"options.{name}", value, f"a value of --{name.replace('_', '-')}")
    recipe, network = parts["plan.recipe"], parts["plan.recipe.network"]
    # A training without a name is one that the command never began.
    if not isinstance(options.get("recipe"), str) or "data" not in options:
        raise refuse("options", sorted(options), "recipe and data among them")
    if not isinstance(recipe.get("data"), str) or recipe["data"] not in DATA:
        raise refuse("plan.recipe.data", recipe.get("data"), f"one of {', '.join(DATA)}")
    for name, value in network.items():
        if not _part_of_a_network(name, value):
            raise refuse(f"plan.recipe.network.{name}", value, "a part of a network that this version builds")
    if missing := {"base", "attention", "windows"} - set(network):
        raise refuse("plan.recipe.network", sorted(network), f"also {', '.join(sorted(missing))}")
    stages = NetworkSpec(network["base"]).stages
    if network["attention"] is not None and len(network["windows"]) != stages:
        raise refuse("plan.recipe.network.windows", network["windows"], f"one for each of {stages} stages")
    classes = about.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise refuse("classes", classes, "a list of names")
    whole: dict[str, Any] = about | {"options": options}
    return whole


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is one of an option's type; numbers must be finite.

    >>> fits(3, int | None), fits(True, int | None), fits(3, float), fits("x", Literal["x", "y"] | None)
    (True, False, True, True)
    """
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is (NoneType if kind is None else kind)


def _part_of_a_network(name: str, value: Any) -> bool:
    """Whether a network of the recipes can have it."""

    def is_window(one: Any) -> bool:
        return one in (None, "global") or (type(one) is int and 1 <= one <= LARGEST_WINDOW)

    if name == "windows":
        most = NetworkSpec("resnet34").stages
        return isinstance(value, list) and len(value) <= most and all(map(is_window, value))
    if name == "kernels":
        return isinstance(value, list) and len(value) == 2 and all(type(one) is int and one in KERNELS for one in value)
    kinds: dict[str, Any] = get_type_hints(NetworkSpec)
    return name in kinds and fits(value, kinds[name])
