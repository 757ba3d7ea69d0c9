"""A LightningModule that logs nothing for a while: a measurement's forward passes are no steps of the training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

_LOGGING = ("log", "log_dict", "log_grad_norm")


@contextmanager
def muted(trainer: Any, module: nn.Module) -> Iterator[None]:
    """Nothing that the module logs within the block reaches the trainer or its loggers.

    `self.log`, `self.log_dict` and `self.log_grad_norm` do nothing, in every LightningModule within the module, and
    `self.logger` is one that takes everything and keeps nothing. Afterwards all are as before, also on errors.

    Args:
        trainer: Lightning's trainer, of either package.
        module: LightningModule in training, or a module around it.
    """
    logging = [each for each in module.modules() if _is_lightning_module(each)]
    before = [{name: each.__dict__[name] for name in _LOGGING if name in each.__dict__} for each in logging]
    loggers = trainer.loggers
    try:
        for each in logging:
            # In its own dictionary, past what a module does when an attribute is set.
            each.__dict__.update(dict.fromkeys(_LOGGING, _nothing))
        trainer.loggers = [DummyLogger() for _ in loggers]
        yield
    finally:
        trainer.loggers = loggers
        for each, own in zip(logging, before, strict=True):
            for name in _LOGGING:
                each.__dict__.pop(name, None)
            each.__dict__.update(own)


def _is_lightning_module(module: nn.Module) -> bool:
    """By its name: `lightning` and `pytorch_lightning` have one each."""
    return any(base.__name__ == "LightningModule" for base in type(module).__mro__)


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    pass
