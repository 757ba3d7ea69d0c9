"""A real training, small enough for a test."""

import random

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Augmented(Dataset):
    """Digits with noise from every global random stream."""

    def __init__(self, images, labels):
        self.images, self.targets = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        noise = 0.1 * (torch.rand(1, 8, 8) + random.random() + np.random.rand())
        return (self.images[index] + noise).float(), self.targets[index]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class Classifier(L.LightningModule):
    """Digits; counts its training steps and remembers what it logged."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.steps = 0

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):
        self.steps += 1
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loaders(digits, augmented=False):
    images, labels = digits
    training = Augmented(images[:256], labels[:256]) if augmented else TensorDataset(images[:256], labels[:256])
    return DataLoader(training, 64, shuffle=True), DataLoader(TensorDataset(images[256:512], labels[256:512]), 128)


def fit(
    digits, path, callbacks=(), epochs=3, augmented=False, module=None, ckpt_path=None, kind=L, data=None, **options
):
    """Seed, train on the CPU (digits, or the given loaders or data module), return the trainer."""
    kind.seed_everything(1)
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False} | options
    trainer = kind.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=path,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        log_every_n_steps=1,
        **options,
    )
    given = data if isinstance(data, tuple) else loaders(digits, augmented) if data is None else (data,)
    trainer.fit(module or Classifier(), *given, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def epochs(store, probe="train"):
    """The epochs of a probe's snapshots, in the order of their steps."""
    return [store.load(probe, step, graphs=False).epoch for step in store.steps(probe)]
