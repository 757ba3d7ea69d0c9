"""Run by test_sharing_trainers.py: trainings on two gloo ranks, `trainer_ranks.py FOLDER ddp|ddp_spawn|sharded`."""

import json
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from sklearn.datasets import load_digits
from torch.distributed.fsdp import fully_shard

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.training import Classifier, loaders

N = 101


class Sharded(Classifier):
    """The same with parameters that lie on all ranks."""

    def configure_model(self):
        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.net[0], mesh=mesh)
        fully_shard(self.net, mesh=mesh)


class Noting(L.Callback):
    """Writes what each rank ended with: weights, random state, values for watchers, and what was passed and warned."""

    def __init__(self, path, counted, caught):
        self.path, self.counted, self.caught = path, counted, caught

    def on_train_end(self, trainer, pl_module):
        whole = [getattr(each, "full_tensor", lambda each=each: each)() for each in pl_module.state_dict().values()]
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("rra/")}
        values = {name: value for name, value in values.items() if name not in ("rra/seconds", "rra/overhead")}
        found = {
            "weights": [float(each.double().sum()) for each in whole],
            "random": int(torch.get_rng_state().long().sum()),
            "values": values,
            "passed": self.counted,
            "warned": [str(each.message) for each in self.caught if "no snapshot" in str(each.message)],
            "refused": [str(each.message) for each in self.caught if "rank 1: OSError" in str(each.message)],
        }
        Path(f"{self.path}-rank{trainer.global_rank}.json").write_text(json.dumps(found))


def fit(folder, name, strategy, network, watched=True, counts=True, fail=None, **more):
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:256, None]
    counted = []
    L.seed_everything(0, verbose=False)
    module = network()

    def forward(model, batch):
        rank = torch.distributed.get_rank()
        if len(batch) > 5:  # not one of the few samples that find the layers
            counted.append(len(batch))
        if fail == rank and module.current_epoch == 1:
            raise RuntimeError("bad luck")
        return model(batch)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"forward": forward} if counts else {}  # a function in a function does not reach a spawned process
        monitor = RRACallback(dirpath=folder / name, n=N, layers=["input", "net.2", "net.6"], **options)
        trainer = L.Trainer(
            max_epochs=3,
            accelerator="cpu",
            devices=2,
            strategy=strategy,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*([monitor] if watched else []), Noting(folder / name, counted, caught)],
            **more,
        )
        trainer.fit(module, *loaders((images, torch.tensor(data.target[:256]))))


def without_a_draw(draw=rra.FixedSample.from_dataset):
    """A draw that fails on the second rank."""

    def fails(*given, **options):
        if torch.distributed.get_rank():
            raise OSError("no such disk")
        return draw(*given, **options)

    return patch.object(rra.FixedSample, "from_dataset", fails)


def main():
    torch.set_num_threads(1)
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    if kind == "sharded":
        fit(folder, "sharded", ModelParallelStrategy(process_group_backend="gloo"), Sharded)
        return
    fit(folder, "watched", kind, Classifier, counts=kind == "ddp")
    if kind == "ddp":
        fit(folder, "bare", kind, Classifier, watched=False)
        fit(folder, "failing", kind, Classifier, fail=1)
        with without_a_draw():
            fit(folder, "undrawn", kind, Classifier, num_sanity_val_steps=0)


if __name__ == "__main__":
    main()
