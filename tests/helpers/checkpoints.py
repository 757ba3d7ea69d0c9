"""A Lightning checkpoint of a small network, and its weights alone."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.digit_runs import network


class Fitted(L.LightningModule):
    """A network that a LightningModule holds, with weights beside it that are no part of it."""

    def __init__(self):
        super().__init__()
        self.model = network()
        self.teacher = nn.Linear(2, 2)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def save_checkpoints(where, digits):
    """Train for two epochs; leave `last.ckpt` of the module and `weights.pt` of the network that it holds."""
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    images, labels = digits
    trainer.fit(Fitted(), DataLoader(TensorDataset(images[:320], labels[:320]), 64))
    trainer.save_checkpoint(where / "last.ckpt")
    torch.save(trainer.lightning_module.model.state_dict(), where / "weights.pt")
