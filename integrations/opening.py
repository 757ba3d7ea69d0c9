"""The run's directory at the start of a fit: found, claimed, and cleared of what a resumed training will do again."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from rra_monitor.integrations.directories import default_directory, lies_where_the_trainer_writes
from rra_monitor.integrations.fit_options import FitOptions
from rra_monitor.runs.claim import Claim
from rra_monitor.runs.reading import digest_of
from rra_monitor.runs.store import RunStore
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.text import visible


def open_store(trainer: Trainer, options: FitOptions, resumed: Mapping[str, Any]) -> tuple[RunStore, Claim]:
    """The claimed store of a fit; on rank zero.

    Args:
        trainer: trainer within a fit.
        options: options of the callback.
        resumed: directory and token of the run that is resumed, as a checkpoint has them.

    Raises:
        OSError: a directory that cannot be written to.
        ValueError: a directory that leads outside itself.
    """
    dirpath, token = options.dirpath, resumed.get("token")
    path = os.fspath(dirpath) if dirpath is not None else _earlier_directory(trainer, resumed.get("dirpath"))
    path = path or default_directory(trainer)
    # Of the working directory now: it may be another one at a checkpoint.
    store = RunStore(path if "://" in path else os.path.abspath(os.path.expanduser(path)), options.keep_graphs)
    return store, store.claim(
        configuration_of(options),
        resume_step=trainer.global_step or None,
        token=token if isinstance(token, str) else None,
    )


def configuration_of(options: FitOptions) -> str:
    """A mark of what a fit measures: two fits with one mark can stand for each other."""
    given, asked = options.probes, options.measuring
    samples = None if given is None else {name: [_digest(one), one.fingerprint] for name, one in given.items()}
    quantities = [one.name for one in asked.measured()]
    told = [samples, options.n, options.seed, asked.layers, asked.views, asked.k, asked.backend, quantities]
    told += [asked.estimator]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _digest(sample: FixedSample) -> str:
    labels = {} if sample.labels is None else {"labels": sample.labels}
    return digest_of({"ids": sample.ids, **labels})


def _earlier_directory(trainer: Trainer, path: Any) -> str | None:
    """The directory of the resumed run, if it can be reached."""
    if trainer.global_step == 0 or path is None:
        return None
    said = visible(str(path))
    if not lies_where_the_trainer_writes(path, trainer):
        warnings.warn(
            f"{said}, where the checkpoint says that its run is stored, is neither below default_root_dir "
            f"({trainer.default_root_dir}) nor below a logger's save_dir, and a checkpoint may come from somebody "
            "else; going on in a new directory. If it is yours, pass that default_root_dir, or dirpath",
            stacklevel=4,
        )
        return None
    if not RunStore(path).probes():
        warnings.warn(
            f"{said}, where the resumed run was stored, is not here; going on in a new directory", stacklevel=4
        )
        return None
    return str(path)
