"""How a network is spread over processes, told by its modules and parameters."""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rra_monitor.capture.left_alone import exchanges_parameters
from rra_monitor.capture.units import is_flat, parameter_groups, sharded_units

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
    found = {id(mesh): mesh for mesh in _meshes(model) if mesh.size() > 1}
    return list(found.values())


def local_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """What a distributed tensor has on this rank, in the same memory; any other tensor itself."""
    if type(tensor) in (torch.Tensor, nn.Parameter, nn.Buffer):
        return tensor
    local: torch.Tensor = vars(tensor).get("_local_tensor", tensor)
    return local


def local_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of a distributed tensor that are on this rank, with all their features; any other tensor itself.

    Features that are split over ranks, and sums that are not taken yet, are gathered, which is a collective call.
    """
    if type(tensor) is torch.Tensor or "torch.distributed.tensor" not in sys.modules:
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    if not isinstance(tensor, DTensor):
        return tensor
    whole = [placement if placement.is_shard(0) else Replicate() for placement in tensor.placements]
    return tensor.redistribute(placements=whole).to_local()


def _meshes(model: nn.Module) -> Iterator[Any]:
    """The mesh of each parameter that is distributed beyond what full sharding does."""
    from torch.distributed.tensor import DTensor

    managed = set[int]()
    for unit in sharded_units(model):
        for group in [] if is_flat(unit) else parameter_groups(unit):
            for parameter in group.fsdp_params:
                managed |= {id(parameter.sharded_param), id(getattr(parameter, "_unsharded_param", None))}
                if parameter.is_dtensor:
                    # The name in torch 2.6, and the one in newer versions.
                    spec = getattr(parameter, "_tp_spec", None) or parameter._unsharded_dtensor_spec
                    # Such a mesh has the ranks of full sharding, too.
                    shared = getattr(group.mesh_info, "is_spmd_mesh", False)
                    if not shared or not all(placement.is_replicate() for placement in spec.placements):
                        yield spec.mesh
    for tensor in model.parameters():
        if isinstance(tensor, DTensor) and id(tensor) not in managed:
            yield tensor.device_mesh


def _is_pipeline(thing: object) -> bool:
    return any(base.__name__ in _PIPELINES for base in type(thing).__mro__)
