"""Train ResNet20 on CIFAR-10 with the monitor on.

    python examples/cifar10_lightning.py --data DIR

DIR holds CIFAR-10 as torchvision downloads it (cifar-10-batches-py/), or as folders of images (train/<class>/*.jpg and
test/<class>/*.jpg). Then: tensorboard --logdir runs
"""

import argparse
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10, ImageFolder

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.nn import resnet20

normalise = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))]
)
augment = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), normalise])


class Classifier(L.LightningModule):
    """SGD with momentum under a one-cycle schedule."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = resnet20(num_classes=10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        rate = self.hparams["learning_rate"]
        optimiser = torch.optim.SGD(self.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def cifar10(folder: Path, part: str, transform: object) -> CIFAR10 | ImageFolder:
    if (folder / part).is_dir():
        return ImageFolder(folder / part, transform)
    if (folder / "cifar-10-batches-py").is_dir():
        return CIFAR10(folder, train=part == "train", transform=transform)
    raise SystemExit(f"{folder} has neither {part}/<class>/*.jpg nor cifar-10-batches-py/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batches", type=float, default=1.0, help="share, or number, of the batches of an epoch")
    parser.add_argument("--samples", type=int, default=2000, help="size of each probe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", help="directory of an earlier run, runs/cifar10/seed0/rra say")
    parser.add_argument("--out", default="runs/cifar10")
    options = parser.parse_args()
    share = options.batches if options.batches <= 1 else int(options.batches)

    L.seed_everything(options.seed)
    validation = cifar10(options.data, "test", normalise)
    # Probes without augmentation: the same inputs at every epoch.
    probes = {
        "train": rra.FixedSample.from_dataset(cifar10(options.data, "train", normalise), n=options.samples),
        "val": rra.FixedSample.from_dataset(validation, n=options.samples),
    }
    references = {"earlier": options.reference} if options.reference else None
    trainer = L.Trainer(
        max_epochs=options.epochs,
        limit_train_batches=share,
        logger=TensorBoardLogger(options.out, name=f"seed{options.seed}", version=""),
        callbacks=[RRACallback(probes, references=references)],
    )
    training = DataLoader(
        cifar10(options.data, "train", augment), 128, shuffle=True, num_workers=2, persistent_workers=True
    )
    trainer.fit(Classifier(), training, DataLoader(validation, 500, num_workers=1, persistent_workers=True))


if __name__ == "__main__":
    main()
