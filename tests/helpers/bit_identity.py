"""Trainings of every kind, small enough for a test, and everything about one that could differ from another."""

import csv
import hashlib
import random
import struct
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.switches import switches
from tests.helpers.training import Augmented

ACCELERATOR = "gpu" if torch.cuda.is_available() else "cpu"
_DIGITS = load_digits()
IMAGES = torch.tensor(_DIGITS.images, dtype=torch.float32)[:, None] / 16
LABELS = torch.tensor(_DIGITS.target)
TRAINING, VALIDATION = slice(0, 96), slice(96, 160)


def digest(*things):
    """A text that differs where any bit of the things does."""
    found = hashlib.sha256()

    def add(thing):
        if isinstance(thing, torch.Tensor):
            values = thing.detach().cpu().contiguous()
            found.update(f"{values.dtype}{tuple(values.shape)}".encode())
            found.update(values.flatten().view(torch.uint8).numpy().tobytes() if values.numel() else b"")
        elif isinstance(thing, np.ndarray):
            found.update(thing.tobytes())
        elif isinstance(thing, dict):
            for key, value in thing.items():
                found.update(repr(key).encode())
                add(value)
        elif isinstance(thing, (list, tuple)):
            found.update(b"[")
            for value in thing:
                add(value)
        else:
            found.update(struct.pack("d", thing) if isinstance(thing, float) else repr(thing).encode())

    add(things)
    return found.hexdigest()[:12]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


class Module(L.LightningModule):
    """A classifier that notes what each step was given and what came out.

    Args:
        net: the network.
        schedule: "cosine" by the epoch, "one cycle" by the step, "plateau" of the validation's loss, or None.
        adam: whether AdamW takes the steps, rather than SGD with momentum.
    """

    def __init__(self, net=None, schedule=None, adam=False):
        super().__init__()
        self.net = network() if net is None else net
        self.schedule, self.adam = schedule, adam
        self.steps = []

    def forward(self, images):
        return self.net(images)

    def note(self, *things):
        self.steps.append(digest(*things))

    def training_step(self, batch, index):
        images, labels = batch
        loss = functional.cross_entropy(self(images).float(), labels)
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        self.note(images, labels, loss, rates, [module.training for module in self.modules()])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        scores = self(images).float()
        self.note(images, labels, scores)
        self.log("val_loss", functional.cross_entropy(scores, labels))

    def configure_optimizers(self):
        weights = [each for each in self.parameters() if each.requires_grad]
        kind = torch.optim.AdamW if self.adam else torch.optim.SGD
        optimiser = kind(weights, lr=0.05, **({} if self.adam else {"momentum": 0.9}))
        rates = torch.optim.lr_scheduler
        if self.schedule == "plateau":
            plateau = {"scheduler": rates.ReduceLROnPlateau(optimiser, patience=0), "monitor": "val_loss"}
            return {"optimizer": optimiser, "lr_scheduler": plateau}
        if self.schedule == "one cycle":
            cycle = {"scheduler": rates.OneCycleLR(optimiser, 0.1, total_steps=20), "interval": "step"}
            return {"optimizer": optimiser, "lr_scheduler": cycle}
        return [optimiser], [rates.CosineAnnealingLR(optimiser, 5)] if self.schedule else []


def loaders(training=None, workers=0, augmented=False):
    """Loaders of the training and the validation data."""
    if training is None:
        training = (Augmented if augmented else TensorDataset)(IMAGES[TRAINING], LABELS[TRAINING])
    shuffled = {} if isinstance(training, torch.utils.data.IterableDataset) else {"shuffle": True}
    validation = TensorDataset(IMAGES[VALIDATION], LABELS[VALIDATION])
    return DataLoader(training, 24, num_workers=workers, **shuffled), DataLoader(validation, 32)


def trained(make, path, callbacks=(), epochs=2, **options):
    """Everything about a training that could differ, by name.

    Args:
        make: function that returns the LightningModule, then loaders or a data module.
        path: folder of its own.
        callbacks: callbacks of the training, the last of them the monitor's if there is one.
        epochs: number of epochs.
        options: options of the trainer.
    """
    L.seed_everything(1, verbose=False)
    module, data = make()
    logger = CSVLogger(path)
    quiet = {"enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator=ACCELERATOR,
        devices=1,
        default_root_dir=path,
        callbacks=list(callbacks),
        logger=logger,
        log_every_n_steps=1,
        deterministic="warn",
        **quiet | options,
    )
    L.seed_everything(1, verbose=False)
    try:
        if isinstance(data, L.LightningDataModule):
            trainer.fit(module, datamodule=data)
        else:
            trainer.fit(module, *data)
        return outcome(trainer, getattr(module, "_orig_mod", module))
    finally:
        torch.use_deterministic_algorithms(False)


def outcome(trainer, module):
    """By name, with the weights, buffers and values each by its own name."""
    named = {f"weights: {name}": value for name, value in module.state_dict().items()}
    named |= {f"buffer: {name}": value for name, value in module.named_buffers()}
    named |= {f"gradient: {name}": value.grad for name, value in module.named_parameters()}
    named |= {f"metric: {name}": value for name, value in trainer.callback_metrics.items() if "rra/" not in name}
    others = {
        "optimisers": [each.state_dict() for each in trainer.optimizers],
        "schedules": [each.scheduler.state_dict() for each in trainer.lr_scheduler_configs],
        "random streams": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "training flags": [each.training for each in module.modules()],
        "what requires a gradient": [each.requires_grad for each in module.parameters()],
        "hooks": [(len(each._forward_hooks), len(each._forward_pre_hooks)) for each in module.modules()],
        "attributes": [sorted(vars(each)) for each in module.modules()],
        "switches": switches(),
        "rows": rows(trainer),
    }
    found = {name: digest(value) for name, value in (named | others).items()}
    remembered = module.remembered() if hasattr(module, "remembered") else None
    return found | {
        "steps": module.steps,
        "moment": (trainer.global_step, trainer.current_epoch),
        "remembered": remembered,
    }


def rows(trainer):
    """The rows of the training's own file, without the monitor's values."""
    path = Path(trainer.logger.log_dir) / "metrics.csv"
    if not path.exists():
        return []
    with open(path) as file:
        kept = [{key: value for key, value in row.items() if "rra/" not in key} for row in csv.DictReader(file)]
    return [sorted(row.items()) for row in kept if any(value for key, value in row.items() if key != "step")]
