"""Run by a test: two gloo ranks whose functions of the step and whose clocks disagree; each writes what it measured."""

import json
import sys
import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.datasets import load_digits

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, loaders


class Slow(Callback):
    """Seconds of a batch, by rank."""

    def __init__(self, seconds):
        self.seconds = seconds

    def on_train_batch_start(self, trainer, *_):
        time.sleep(self.seconds[trainer.global_rank])


class Noting(RRACallback):
    """Notes the steps at which this rank measures."""

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = []

    def on_train_batch_end(self, trainer, *batch):
        super().on_train_batch_end(trainer, *batch)
        self.note(trainer)

    def on_train_epoch_end(self, trainer, *module):
        super().on_train_epoch_end(trainer, *module)
        self.note(trainer)

    def note(self, trainer):
        step, _ = self._fit.measured
        self.steps += [] if step in self.steps else [step]


def main():
    torch.set_num_threads(1)
    out, found = Path(sys.argv[1]), {}
    data = load_digits()
    images, labels = torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)
    probes = {"train": rra.FixedSample.from_tensors(images[:40], labels[:40])}
    cases = {
        # Rank 1 would choose every step.
        "schedule": ({"schedule": lambda step: step % 3 == 0 or trainer.global_rank == 1}, (0.0, 0.0)),
        "max_overhead": ({"every_n_steps": 1, "max_overhead": 0.2}, (0.05, 0.0)),
    }
    for name, (options, seconds) in cases.items():
        L.seed_everything(0, verbose=False)
        callback = Noting(probes=probes, layers=["input"], dirpath=out / name, on_error="raise", **options)
        trainer = L.Trainer(
            max_epochs=4,
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            default_root_dir=out,
            logger=False,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Slow(seconds), callback],
        )
        trainer.fit(Classifier(), *loaders((images, labels)))
        found[name] = {"steps": callback.steps, "interval": callback.state_dict()["rhythm"]["interval"]}
    (out / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
