"""Trainings on any device with the monitor as a guest, whose last bit is compared, or whose memory runs out."""

import contextlib
import random
import warnings

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rra_monitor as rra
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.nn import ResNet

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true")


class Images(L.LightningModule):
    """A small ResNet with dropout on random images; remembers the loss of every step."""

    def __init__(self, compiler=None):
        super().__init__()
        net = nn.Sequential(ResNet((1, 1, 1), (8, 16, 32), 16), nn.Dropout(0.2), nn.Linear(16, 10))
        self.net = torch.compile(net, backend=compiler) if compiler else net
        self.losses = []

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.losses.append(loss.detach().clone())
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def images_of(n, side=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, side, side, generator=generator), torch.arange(n) % 10


def fit(device, path, callbacks, precision="32-true", compiler=None, epochs=2):
    """Seed, train on the device, return the trainer."""
    L.seed_everything(3, verbose=False)
    module = Images(compiler)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        default_root_dir=path,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(*images_of(96)), 32, shuffle=True))
    return trainer


def final_state(device, path, precision="32-true", compiler=None, measured=False):
    """Name to tensor of everything that a training leaves: weights, buffers, optimiser, losses, random streams."""
    probes = {"p": rra.FixedSample.from_tensors(*images_of(60))}
    callbacks = [RRACallback(probes, dirpath=path / "run", on_error="raise")] if measured else []
    if compiler:
        torch.compiler.reset()  # the second training compiles what the first did
    with deterministic_convolutions():
        trainer = fit(device, path, callbacks, precision, compiler)
    if measured:
        assert len(callbacks[0].store.steps("p")) == 3, "the callback did not measure every epoch"
    found = dict(trainer.lightning_module.state_dict())
    for number, values in trainer.optimizers[0].state_dict()["state"].items():
        found |= {f"optimizer {number} {name}": torch.as_tensor(value) for name, value in values.items()}
    found |= {f"loss {step}": loss for step, loss in enumerate(trainer.lightning_module.losses)}
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None:
        found["scale of the gradients"] = torch.tensor(scaler.get_scale())
    found["torch's random state"] = torch.get_rng_state()
    found["python's random state"] = torch.tensor(random.getstate()[1][:624])
    found["numpy's random state"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))
    if device.type == "cuda":
        found["CUDA's random state"] = torch.cuda.get_rng_state()
    return found


def differing(one, other):
    """Names of the tensors that are not equal to the last bit."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not same_bits(one[name], other[name])
    )


def same_bits(one, other):
    one, other = (tensor.detach().cpu().contiguous().flatten() for tensor in (one, other))
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@contextlib.contextmanager
def deterministic_convolutions():
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


class Shortage(L.Callback):
    """No memory for a snapshot in the second epoch.

    On CUDA the process gets little more memory than the training has taken. On the CPU a pass of the sample asks for
    more than any machine has.
    """

    SPARE = 128 << 20

    def __init__(self, device):
        self.gpu = device.type == "cuda"
        self.short = False

    def forward(self, model, batch):
        if self.short and not self.gpu:
            torch.empty(1 << 50)
        return model(batch)

    def on_train_epoch_start(self, trainer, pl_module):
        self.short = trainer.current_epoch == 1
        if self.gpu:
            torch.cuda.empty_cache()
            share = (torch.cuda.memory_reserved() + self.SPARE) / torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(share if self.short else 1.0)


def fit_with_a_shortage(device, path):
    """Steps trained and measured, and the warnings, of a fit of three epochs with a `Shortage` in the second."""
    shortage = Shortage(device)
    n, side = (4000, 64) if shortage.gpu else (60, 16)  # there one layer takes more than is spared
    probes = {"p": rra.FixedSample.from_tensors(*images_of(n, side))}
    monitor = RRACallback(probes, dirpath=path / "run", k=5, forward=shortage.forward)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer = fit(device, path, [shortage, monitor], epochs=3)
        finally:
            if shortage.gpu:
                torch.cuda.set_per_process_memory_fraction(1.0)
    return trainer.global_step, monitor.store.steps("p"), [str(one.message) for one in caught]
