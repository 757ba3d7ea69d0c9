"""Run by a test: a training on two gloo ranks; each rank writes what its callbacks could monitor."""

import json
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from sklearn.datasets import load_digits

from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.measure.monitor import Monitor
from tests.helpers.training import Classifier, loaders


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    references = {f"reference{place}": path for place, path in enumerate(sys.argv[2:])}
    L.seed_everything(0)
    measured = []

    class Noting(RRACallback):
        def on_train_start(self, trainer, pl_module):
            original = Monitor.measure

            def measure(monitor, model, **moment):
                snapshots = original(monitor, model, **moment)
                measured.append({probe: snapshot.id.tolist() for probe, snapshot in snapshots.items()})
                return snapshots

            with patch.object(Monitor, "measure", measure):
                super().on_train_start(trainer, pl_module)
            monitor = self._fit._monitor
            monitor.measure = partial(measure, monitor)

    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=out,
        logger=WandbLogger(save_dir=out, version="ranks", offline=True),
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[Noting(dirpath=out / "run", n=100, on_error="raise", references=references)],
    )
    trainer.fit(Classifier(), *loaders((images, torch.tensor(data.target))))
    values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("rra/")}
    (out / f"rank{trainer.global_rank}.json").write_text(json.dumps({"monitored": values, "measured": measured}))


if __name__ == "__main__":
    main()
