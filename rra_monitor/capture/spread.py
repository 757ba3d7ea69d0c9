"""How a network is spread over processes, told by its modules and parameters."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.left_alone import exchanges_parameters

_PIPELINES = ("_PipelineStageBase", "_PipelineSchedule")
"""Classes of torch.distributed.pipelining for a stage of a network, and for what runs the stages."""


def check_whole(model: object) -> None:
    """Refuse a network of which other processes hold layers that no pass through this one's part can reach.

    Args:
        model: what is to be measured.

    Raises:
        ValueError: a stage of a pipeline, or a module that holds one.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    held = ((each, value) for each in modules for value in vars(each).values())
    found = next((pair for pair in ((model, model), *held) if _is_pipeline(pair[1])), None)
    if found is None:
        return
    holder, pipeline = (type(each).__name__ for each in found)
    subject = f"{pipeline} is" if holder == pipeline else f"{holder} holds {pipeline},"
    raise ValueError(
        f"{subject} one stage of a pipeline: the other layers are in other processes, so that no pass through this one "
        "reaches them. Measure the whole network in one process, with the weights of all stages from a checkpoint"
    )


def is_sharded(model: nn.Module) -> bool:
    """Whether modules gather their parameters from other processes in each pass, as those of `fully_shard` do.

    Then all ranks enter each pass together, and a pass that one rank leaves early holds the others up, see
    `entered_together`.
    """
    return any(map(exchanges_parameters, set(map(type, model.modules()))))


def is_tensor_parallel(model: nn.Module) -> bool:
    """Whether layers are split over processes, so that ranks of one mesh must pass the same samples together."""
    return bool(meshes_of_layers(model))


def meshes_of_layers(model: nn.Module) -> list[Any]:
    """The device meshes over which layers themselves are split, tensor parallel; not those of fully sharded ones."""
    if "torch.distributed.tensor" not in sys.modules:
        return []
    found = {id(mesh): mesh for mesh in _meshes(model)}
    return list(found.values())


def local_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """What a distributed tensor has on this rank, in the same memory; any other tensor itself."""
    return vars(tensor).get("_local_tensor", tensor) if type(tensor) is not torch.Tensor else tensor


def sharded_units(model: nn.Module) -> list[nn.Module]:
    """The modules of torch that gather the parameters within them for their own pass, in the order of their names."""
    names = ("FSDPModule", "FullyShardedDataParallel")
    return [each for each in model.modules() if any(base.__name__ in names for base in type(each).__mro__)]


def is_flat(unit: nn.Module) -> bool:
    """Whether a sharded unit is a `FullyShardedDataParallel`, whose parameters lie in one flat tensor."""
    return any(base.__name__ == "FullyShardedDataParallel" for base in type(unit).__mro__)


def parameter_groups(unit: nn.Module) -> list[Any]:
    """The groups of parameters that a module of `fully_shard` gathers together."""
    state: Any = unit._get_fsdp_state()  # type: ignore[operator]
    one = getattr(state, "_fsdp_param_groups", None)  # several in newer versions of torch
    if one is None:
        one = [state._fsdp_param_group]
    return [group for group in one if group is not None]


def _meshes(model: nn.Module) -> Iterator[Any]:
    """The mesh of each parameter that is split over ranks beyond what full sharding does."""
    from torch.distributed.tensor import DTensor

    managed = set[int]()
    for unit in sharded_units(model):
        for group in [] if is_flat(unit) else parameter_groups(unit):
            for parameter in group.fsdp_params:
                managed |= {id(parameter.sharded_param), id(getattr(parameter, "_unsharded_param", None))}
                if parameter.is_dtensor:
                    # The name in torch 2.6, and the one in newer versions.
                    spec = getattr(parameter, "_tp_spec", None) or parameter._unsharded_dtensor_spec
                    yield from _if_split(spec.mesh, spec.placements)
    for tensor in model.parameters():
        if isinstance(tensor, DTensor) and id(tensor) not in managed:
            yield from _if_split(tensor.device_mesh, tensor.placements)


def _if_split(mesh: Any, placements: Iterable[Any]) -> Iterator[Any]:
    if mesh.size() > 1 and not all(placement.is_replicate() for placement in placements):
        yield mesh


def _is_pipeline(thing: object) -> bool:
    return any(base.__name__ in _PIPELINES for base in type(thing).__mro__)
