"""What is not followed from a network: the objects of its training and of the machine, and installed code."""

import sys
import sysconfig
from enum import Enum
from functools import cache
from itertools import accumulate
from pathlib import PurePath
from typing import Any

_OF_PYTHON = {
    "_io",
    "_queue",
    "_socket",
    "_ssl",
    "_thread",
    "asyncio",
    "concurrent",
    "ctypes",
    "importlib",
    "io",
    "logging",
    "mmap",
    "multiprocessing",
    "pathlib",
    "queue",
    "selectors",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
}
_OF_TORCH = {
    "torch._C",
    "torch._dynamo",
    "torch._inductor",
    "torch.cuda",
    "torch.distributed",
    "torch.fx",
    "torch.jit",
    "torch.optim",
    "torch.profiler",
    "torch.utils.data",
    "torch.utils.tensorboard",
}
_OF_OTHERS = {
    "PIL",
    "accelerate",
    "datasets",
    "deepspeed",
    "h5py",
    "lmdb",
    "matplotlib",
    "mlflow",
    "pandas",
    "rra_monitor",
    "tensorboard",
    "tensorboardX",
    "transformers.trainer",
    "wandb",
    "webdataset",
    "zarr",
}
_ELSEWHERE = frozenset(_OF_PYTHON | _OF_TORCH | _OF_OTHERS)
"""Packages whose objects, and those of classes derived from them, belong to the training or to the machine."""

_HOSTS = frozenset({"lightning", "lightning_fabric", "pytorch_lightning"})
"""Packages of a host: its trainer, loops, strategies and loggers are left alone, but not a user's callbacks."""

_EXCHANGING = ("FSDPModule", "FullyShardedDataParallel", "DeepSpeedEngine")
"""Classes of modules that exchange their parameters during a forward pass, and keep account of it elsewhere."""

_INSTALLED = tuple({str(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def belongs_elsewhere(kind: type) -> bool:
    """Whether objects of a class are the training's or the machine's: a trainer, an optimiser, data, a file, a lock."""
    for base in kind.__mro__:
        if _within(base.__module__, _ELSEWHERE) or issubclass(base, Enum):
            return True
        if _within(base.__module__, _HOSTS) and base.__name__ != "Callback":
            return True
    return False


def exchanges_parameters(kind: type) -> bool:
    """Whether modules of a class exchange the parameters of those within them, as sharded ones do."""
    return any(base.__name__ in _EXCHANGING for base in kind.__mro__)


def is_installed(namespace: dict[str, Any]) -> bool:
    """Whether a module's names are those of Python, of an installed package or of this one, and not the user's."""
    file = namespace.get("__file__")
    return _is_installed(str(namespace.get("__name__", "")), file if isinstance(file, str) else "")


@cache
def _is_installed(name: str, file: str) -> bool:
    root = name.partition(".")[0]
    if root != "__main__" and (root == "rra_monitor" or root in sys.stdlib_module_names):
        return True
    return file.startswith(_INSTALLED) or not {"site-packages", "dist-packages"}.isdisjoint(PurePath(file).parts)


def _within(module: object, packages: frozenset[str]) -> bool:
    """Whether a module's dotted name is that of a package, or begins with it."""
    return isinstance(module, str) and any(start in packages for start in accumulate(module.split("."), "{}.{}".format))
