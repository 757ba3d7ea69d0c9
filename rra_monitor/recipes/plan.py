"""A recipe with its values replaced by the options of the command line."""

from dataclasses import dataclass, replace
from typing import Any

from rra_monitor.datasets.catalogue import DATA
from rra_monitor.recipes.catalogue import recipe_named
from rra_monitor.recipes.choices import AUGMENTATIONS, SHORT_EPOCHS, SHORT_RATE, WARM_UP, WEIGHT_DECAY
from rra_monitor.recipes.networks import stage_sides
from rra_monitor.recipes.options import TrainOptions
from rra_monitor.recipes.recipe import NetworkSpec, Optimisation, Recipe, StageWindow, Training

SHORT_PROBE = 2000


@dataclass(frozen=True)
class TrainingPlan:
    """All that decides a training.

    Attributes:
        options: options of the command line, from which it follows.
        recipe: recipe with the choices of the command line.
        optimisation: optimiser settings and schedule.
        probe_n: samples of the training and the validation probe.
        every: number of epochs between snapshots; None if only steps are asked for.
    """

    options: TrainOptions
    recipe: Recipe
    optimisation: Optimisation
    probe_n: tuple[int, int]
    every: int | None

    def of_seed(self, seed: int, resume: bool) -> "TrainingPlan":
        """The same training with another seed, which may be resumed."""
        return replace(self, options=replace(self.options, seed=seed, seeds=None, resume=resume))


def training_plan(options: TrainOptions) -> TrainingPlan:
    """The training that the options describe.

    Raises:
        ValueError: no recipe of that name, values out of range, windows that do not fit the maps.
    """
    if options.recipe is None:
        raise ValueError("name a recipe, as in rra-monitor train resnet20-digits; `rra-monitor recipes` lists all")
    recipe = recipe_named(options.recipe)
    for name in ("max_epochs", "batch_size", "learning_rate", "limit", "every", "every_n_steps", "n"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value}: expected more than 0")
    if isinstance(options.limit, float) and options.limit > 1:
        raise ValueError(f"--limit {options.limit}: expected a whole number of batches, or a fraction up to 1.0")
    if options.max_overhead is not None and not 0 < options.max_overhead < 1:
        raise ValueError(
            f"--max-overhead {options.max_overhead}: expected a fraction above 0 and below 1, such as 0.05 for 5 %"
        )
    training = recipe.training
    epochs = options.max_epochs or (SHORT_EPOCHS if options.short else training.epochs)
    rate = options.learning_rate or (SHORT_RATE if options.short else training.learning_rate)
    training = Training(epochs, rate, options.batch_size or training.batch)
    augmentations = recipe.augmentations if options.augment is None else _augmentations(options.augment)
    channels = DATA[recipe.data].channels
    if unfit := [name for name in augmentations if AUGMENTATIONS[name].channels not in (None, channels)]:
        raise ValueError(
            f"--augment: {', '.join(unfit)} need 3 channels, and {DATA[recipe.data].title} have {channels}; drop them"
        )
    network = _network(recipe.network, options)
    sides = stage_sides(network.stages, DATA[recipe.data].side)
    for window, stage in zip(network.windows, sides, strict=False):
        if isinstance(window, int) and network.attention == "stac" and not 1 <= window <= stage:
            raise ValueError(
                f"windows {named_windows(network.windows)}: a window of {window} does not fit a map of {stage} x "
                f"{stage}; the stages' maps have the sides {', '.join(map(str, sides))}"
            )
    decay = WEIGHT_DECAY if options.weight_decay is None else options.weight_decay
    n = options.n or (SHORT_PROBE if options.short else None)
    return TrainingPlan(
        options,
        replace(recipe, training=training, augmentations=augmentations, network=network),
        Optimisation(rate, decay, "one-cycle" if options.short else "cosine", WARM_UP),
        DATA[recipe.data].probe_n if n is None else (n, n),
        options.every or (None if options.every_n_steps else max(1, epochs // 10)),
    )


def named_windows(windows: tuple[StageWindow | None, ...]) -> str:
    """Windows as a text for --window.

    >>> named_windows((8, None, "global"))
    '8,none,global'
    """
    return ",".join("none" if window is None else str(window) for window in windows)


def read_windows(text: str, stages: int) -> tuple[StageWindow | None, ...]:
    """Windows from a text of --window, one for each stage.

    Raises:
        ValueError: other words, or another number of words.

    >>> read_windows("8", 3), read_windows("8,none,global", 3)
    ((8, 8, 8), (8, None, 'global'))
    """
    named: dict[str, Any] = {"none": None, "global": "global"}
    found: list[StageWindow | None] = []
    for part in (piece.strip() for piece in text.split(",")):
        if part not in named and not part.isdecimal():
            raise ValueError(f"--window {text!r}: expected numbers of pixels, global or none, with commas")
        found.append(named[part] if part in named else int(part))
    if len(found) not in (1, stages):
        raise ValueError(
            f"--window {text!r} has {len(found)} windows, the network {stages} stages; give one, or one each"
        )
    return tuple(found * stages if len(found) == 1 else found)


def _network(network: NetworkSpec, options: TrainOptions) -> NetworkSpec:
    attention = options.attention
    if attention == "none":
        if options.window is not None or options.placement is not None:
            raise ValueError("--attention none has no --window and no --placement; drop them")
        return replace(network, attention=None, windows=(), placement="standard")
    if attention is None and options.window is not None and network.attention is None:
        attention = "stac"  # the one that has windows
    chosen = replace(
        network, attention=attention or network.attention, placement=options.placement or network.placement
    )
    if options.window is not None:
        windows = read_windows(options.window, network.stages)
        if chosen.attention != "stac" and any(isinstance(window, int) for window in windows):
            raise ValueError(
                f"--window {options.window}: only STAC has windows, and the attention is {chosen.attention}"
            )
        return replace(chosen, windows=windows)
    if chosen.attention is None:
        if options.placement is not None:
            raise ValueError(
                f"--placement {options.placement}: the network has no attention; add --attention stac --window 4, for "
                "example"
            )
        return chosen
    return chosen if chosen.windows else replace(chosen, windows=(8,) * network.stages)


def _augmentations(text: str) -> tuple[str, ...]:
    names = [] if text.strip() in ("none", "") else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in AUGMENTATIONS]:
        raise ValueError(
            f"--augment {text}: no augmentation {', '.join(unknown)}; there are {', '.join(AUGMENTATIONS)}"
        )
    # In the one order, whatever the order of the names.
    return tuple(name for name in AUGMENTATIONS if name in names)
