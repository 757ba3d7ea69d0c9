"""Run by a test: trainings that are killed at a chosen moment, and resumed to their end.

Arguments: folder, then names of trainings, each of which gets a folder of its own: `whole`, `<kind>-<number>` for the
n-th moment of a kind, `random-<fraction>` of the time that the whole one takes, or `pair` for two at once. Each runs in
a process that is forked from this one, so that packages are imported once.
"""

import os
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.runs import store
from rra_monitor.runs.files import temporary
from rra_monitor.runs.local import _LocalFiles

EPOCHS = 4
INPUTS = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(128) % 4


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def train(folder):
    """To the end, from the last checkpoint if there is one."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    L.seed_everything(3, verbose=False)
    probe = rra.FixedSample.from_tensors(INPUTS[:60], LABELS[:60])
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[
            RRACallback({"train": probe}, dirpath=folder / "rra", keep_graphs=2, on_error="raise"),
            ModelCheckpoint(checkpoint.parent, save_last=True, save_on_train_epoch_end=True),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(INPUTS, LABELS), 32)
    trainer.fit(Classifier(), loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)


def half_a_temporary_file(self, folder, contents, mark):
    name, data = next(iter(contents.items()))
    Path(self.at(*folder, temporary(name, mark))).write_bytes(data[: len(data) // 2])


def half_a_line(self, name, data):
    with Path(self.at(name)).open("ab") as file:
        file.write(data[: len(data) // 2])


def nothing(*_):
    pass


MOMENTS = {
    "temporary": (_LocalFiles, "_write", lambda _, folder, *__: "snapshots" in folder, half_a_temporary_file),
    "renames": (os, "replace", lambda _, target: str(target).endswith(".curves.safetensors"), nothing),
    "line": (_LocalFiles, "append", lambda *_: True, half_a_line),
    "checkpoint": (L.Trainer, "save_checkpoint", lambda *_: True, nothing),
    "pruning": (store.RunStore, "_prune", lambda *_: True, nothing),
    "claim": (store, "take", lambda *_: True, nothing),
}
"""Kind to the function at whose call the process is killed, which calls count, and what it has done by half."""


def inject(kind, number):
    """Kill the process at the n-th moment of a kind."""
    owner, name, matches, half = MOMENTS[kind]
    original, count = getattr(owner, name), 0

    def killing(*arguments, **options):
        nonlocal count
        count += bool(matches(*arguments))
        if matches(*arguments) and count == number:
            half(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, killing)


def forked(folder, kind, number):
    """The number of a process that trains."""
    process = os.fork()
    if process == 0:
        try:
            if kind in MOMENTS:
                inject(kind, int(number))
            train(folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return process


def ended(process):
    """Whether it ended by itself; False if it was killed."""
    status = os.waitpid(process, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def main(root, names):
    seconds = 0.0
    for name in names:
        kind, _, number = name.partition("-")
        started = time.monotonic()
        process = forked(root / name, kind, number)
        if kind == "pair":
            assert ended(forked(root / name, kind, number))
        if kind == "random":
            time.sleep(float(number) * seconds)
            os.kill(process, signal.SIGKILL)
        done = ended(process)
        seconds = seconds or time.monotonic() - started
        print(name, "ended" if done else "killed")
        if not done:
            assert ended(forked(root / name, "none", 0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
