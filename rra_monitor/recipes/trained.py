"""The network of a training, for `rra-monitor analyze` and for a notebook."""

from pathlib import Path
from typing import Any

from torch import nn

from rra_monitor.recipes.networks import built
from rra_monitor.recipes.recipe import DATA, Network
from rra_monitor.recipes.run_files import RUN, read_description


def network_of(run: str) -> nn.Module:
    """The network of a run of `rra-monitor train`, with new weights.

    The trained one is measured by `rra-monitor analyze rra_monitor.recipes.trained:network_of --arguments run=RUN
    --checkpoint RUN/checkpoints/last.ckpt`.

    Args:
        run: its folder.

    Raises:
        ValueError: a folder without a description of a training.
    """
    about = read_description(Path(run))
    if about is None:
        raise ValueError(f"{run} has no {RUN}: it is no folder of `rra-monitor train`")
    recipe = about["plan"]["recipe"]
    # JSON has lists where a network has tuples.
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in recipe["network"].items()
    }
    return built(Network(**fields), len(about["classes"]), DATA[recipe["data"]].channels)
