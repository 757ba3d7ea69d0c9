"""The units of a sharded network: modules of torch that gather their parameters from all ranks for their own pass.

There are two kinds, those of `fully_shard` and, with parameters in one flat tensor, `FullyShardedDataParallel`.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

_NAMES = ("FSDPModule", "FullyShardedDataParallel")

_NOTHING = (None,)
"""What a unit without work is given: torch 2.6 takes no call without an argument on a GPU."""


def sharded_units(model: nn.Module) -> list[nn.Module]:
    """The units, in the order of their names."""
    return [each for each in model.modules() if any(base.__name__ in _NAMES for base in type(each).__mro__)]


def own_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module as its network was written, without what `fully_shard` has put before it."""
    kind = type(module)
    sharded = len(kind.__bases__) == 2 and kind.__bases__[0].__name__ == "FSDPModule"
    return kind.__bases__[1] if sharded else kind


def is_flat(unit: nn.Module) -> bool:
    """Whether a unit is a `FullyShardedDataParallel`."""
    return any(base.__name__ == "FullyShardedDataParallel" for base in type(unit).__mro__)


def parameter_groups(unit: nn.Module) -> list[Any]:
    """The groups of parameters that a unit of `fully_shard` gathers together."""
    state = _state_of(unit)
    several = getattr(state, "_fsdp_param_groups", None)  # in newer versions of torch
    return [group for group in (several or [state._fsdp_param_group]) if group is not None]


def called_within(unit: Any) -> nn.Module:
    """The module whose hooks run when the unit has gathered its parameters."""
    module: nn.Module = unit._fsdp_wrapped_module if is_flat(unit) else unit
    return module


def enter(unit: Any) -> None:
    """What a unit does before its forward pass; nothing where it has done so already."""
    if not is_flat(unit):
        for before in _own_hooks(unit, unit._forward_pre_hooks):
            before(unit, _NOTHING, {})
        return
    from torch.distributed.fsdp import _runtime_utils as flat

    flat._root_pre_forward(unit, unit, _NOTHING, {})
    flat._pre_forward(unit, unit._handle, flat._pre_forward_unshard, unit._fsdp_wrapped_module, _NOTHING, {})


def leave(unit: Any) -> None:
    """What a unit does after its forward pass."""
    if not is_flat(unit):
        for after in _own_hooks(unit, unit._forward_hooks):
            after(unit, _NOTHING, None)
        return
    from torch.distributed.fsdp import _runtime_utils as flat

    flat._post_forward(unit, unit._handle, flat._post_forward_reshard, unit, None, None)


def put_back_of(unit: nn.Module) -> Callable[[], None]:
    """Function that shards a unit's parameters if they are sharded now, and forgets the passes since.

    From the order of earlier passes a backward pass takes what it gathers next: it must be the same on all ranks.
    """
    return _put_back_of_flat(unit) if is_flat(unit) else _put_back_of_state(unit)


def _put_back_of_state(unit: nn.Module) -> Callable[[], None]:
    state = _state_of(unit)
    groups = [(group, group.is_unsharded, len(group._post_forward_indices)) for group in parameter_groups(unit)]
    shared, passed = state._comm_ctx, len(_order_in(state._comm_ctx))

    def put_back() -> None:
        for group, unsharded, passes in groups:
            if not unsharded:
                group.reshard()
            del group._post_forward_indices[passes:]
        # All units share one order from their first pass on.
        del _order_in(state._comm_ctx)[passed if state._comm_ctx is shared else 0 :]

    return put_back


def _order_in(shared: Any) -> list[Any]:
    return getattr(shared, "post_forward_order", [])


def _state_of(unit: Any) -> Any:
    return unit._get_fsdp_state()


def _own_hooks(unit: nn.Module, hooks: Any) -> list[Callable[..., Any]]:
    """Those of a unit's hooks that are of its sharding."""
    return [hook for hook in hooks.values() if _is_of(hook, _state_of(unit))]


def _is_of(hook: Any, state: Any) -> bool:
    """Whether a hook is a method of the state; one for several modules together is wrapped in functions."""
    while hook is not None:
        if getattr(hook, "__self__", None) is state:
            return True
        hook = getattr(hook, "__wrapped__", None)
    return False


def _put_back_of_flat(unit: Any) -> Callable[[], None]:
    handle, shared = unit._handle, unit._exec_order_data
    sharded = is_sharded_flat(unit)
    indices = {name: getattr(handle, name) for name in ("_pre_forward_order_index", "_post_forward_index") if handle}
    names = "handles_pre_forward_order", "handles_post_forward_order"
    passed = {name: len(getattr(shared, name)) for name in names}

    def put_back() -> None:
        if sharded and not is_sharded_flat(unit):
            from torch.distributed.fsdp._runtime_utils import _reshard

            _reshard(unit, handle, True)
        for name, index in indices.items():
            setattr(handle, name, index)
        for name, passes in passed.items():
            del getattr(unit._exec_order_data, name)[passes if unit._exec_order_data is shared else 0 :]

    return put_back


def is_sharded_flat(unit: Any) -> bool:
    """Whether the parameters of a flat unit are sharded now; true, too, where there are none or they never are."""
    handle = unit._handle
    if handle is None or not handle.uses_sharded_strategy:
        return True
    return not hasattr(handle.flat_param, "_full_param_padded") or bool(handle.needs_unshard())
