"""Which modules hold weights."""

from torch import nn
from torch.nn.parameter import is_lazy

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.LocalResponseNorm)


def weighted(module: nn.Module) -> bool:
    """Whether the module itself has a matrix or a kernel of weights: a convolution, a linear or recurrent layer."""
    if isinstance(module, NORMS):
        return False
    # Quantised modules hold theirs in another form, parametrised ones compute them: both have `weight` as a member.
    computed = hasattr(type(module), "weight")
    return computed or any(is_lazy(weight) or weight.dim() >= 2 for weight in module.parameters(recurse=False))


def layers_with_weights(module: nn.Module) -> int:
    """Number of modules within it, itself included, that have weights."""
    return sum(weighted(inner) for inner in module.modules())


def number_of_parameters(module: nn.Module) -> int:
    """Number of parameters in the module and those within it, without those of lazy modules before their first call."""
    return sum(weight.numel() for weight in module.parameters() if not is_lazy(weight))
