"""The training with the monitor is the training without it, bit by bit, in whatever way it is trained."""

import copy
import warnings
from dataclasses import dataclass, field

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch import callbacks
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

import rra_monitor.measure.trial
from rra_monitor.integrations.lightning import RRACallback
from tests.helpers.bit_identity import ACCELERATOR, IMAGES, LABELS, TRAINING, Module, loaders, network, trained


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.3))
        self.head = nn.Linear(256, 10)
        self.reentrant = reentrant

    def forward(self, x):
        return self.head(checkpoint(self.body, self.stem(x), use_reentrant=self.reentrant).flatten(1))


class Adversarial(Module):
    """A generator and a discriminator with an optimiser each, stepped by hand."""

    def __init__(self):
        discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Dropout(0.2))
        super().__init__(discriminator.append(parametrizations.spectral_norm(nn.Linear(16, 1))))
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 64))

    def training_step(self, batch, index):
        images, _ = batch
        one, zero = torch.ones(len(images), 1, device=self.device), torch.zeros(len(images), 1, device=self.device)
        loss = functional.binary_cross_entropy_with_logits
        ours, theirs = self.optimizers()
        made = self.generator(torch.randn(len(images), 4, device=self.device)).view(-1, 1, 8, 8)
        wrong = loss(self(images), one) + loss(self(made.detach()), zero)
        theirs.zero_grad()
        self.manual_backward(wrong)
        theirs.step()
        fooled = loss(self(made), one)
        ours.zero_grad()
        self.manual_backward(fooled)
        ours.step()
        self.note(images, wrong, fooled)
        self.log_dict({"wrong": wrong, "fooled": fooled})

    def validation_step(self, batch, index):
        self.note(self(batch[0]))

    def configure_optimizers(self):
        return [torch.optim.Adam(each.parameters(), 1e-3) for each in (self.generator, self.net)]


class Stream(IterableDataset):
    """Digits in a random order with noise of their own."""

    def __iter__(self):
        for index in torch.randperm(72):
            yield IMAGES[index] + 0.1 * torch.rand(1, 8, 8), LABELS[index]


class Drawing(Dataset):
    """Digits with noise of a generator that the data set owns."""

    def __init__(self):
        self.targets, self.generator = LABELS[TRAINING], np.random.default_rng(0)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return (IMAGES[index] + 0.1 * self.generator.random()).float(), self.targets[index]


class Split(L.LightningDataModule):
    """Data that a random split divides anew whenever they are asked for."""

    def split(self, part):
        return random_split(TensorDataset(IMAGES[:160], LABELS[:160]), [96, 64])[part]

    def train_dataloader(self):
        return DataLoader(self.split(0), 24, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.split(1), 32)


class Counting(nn.Module):
    """Calls, auxiliary losses and a running mean, in an attribute, a list and a plain tensor."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)
        self.calls, self.losses, self.mean = 0, [], torch.zeros(256)

    def forward(self, x):
        features = self.conv(x).relu().flatten(1)
        self.calls += 1
        self.losses.append(features.mean())
        self.mean = self.mean.to(x.device)
        self.mean.mul_(0.9).add_(features.detach().mean(0), alpha=0.1)
        return self.head(features + 0.01 * self.mean)


class Remembering(Module):
    """A module whose network keeps something."""

    def training_step(self, batch, index):
        loss = super().training_step(batch, index) + 0.1 * sum(self.net.losses)
        self.net.losses.clear()
        return loss

    def on_validation_end(self):
        self.net.losses.clear()

    def remembered(self):
        return self.net.calls, len(self.net.losses), self.net.mean.tolist()


class Hooked(Module):
    """Hooks of the user that count and keep what they see."""

    def __init__(self):
        super().__init__()
        seen, count = [], 0

        def hook(module, inputs, output):
            nonlocal count
            count += 1
            seen.append(float(output.detach().mean()))

        self.net[0].register_forward_hook(hook)
        self.remembered = lambda: (count, seen)


class Metered(Module):
    """A metric that forward updates, logged at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.norm = pytest.importorskip("torchmetrics").MeanMetric()

    def forward(self, images):
        scores = self.net(images)
        self.norm.update(scores.detach().norm())
        return scores

    def on_train_epoch_end(self):
        self.log("norm", self.norm.compute())
        self.norm.reset()


class Logging(Module):
    """Logs from forward."""

    def forward(self, images):
        scores = self.net(images)
        self.log("norm", scores.norm(), on_step=False, on_epoch=True)
        return scores


class Teaching(nn.Module):
    """A teacher follows the student at each call, in evaluation mode, too."""

    def __init__(self):
        super().__init__()
        self.student = network()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x):
        for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            old.data.mul_(0.99).add_(new.data, alpha=0.01)
        return self.student(x) + 0.1 * self.teacher(x)


class Bank(nn.Module):
    """A queue of features, written at each call."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)
        self.register_buffer("bank", torch.zeros(8, 256))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self.register_buffer("cache", None, persistent=False)

    def forward(self, x):
        features = self.conv(x).relu().flatten(1)
        self.bank[int(self.place) % 8] = features[0].detach()
        self.place += 1
        self.cache = features.detach().mean(0)
        return self.head(features + 0.01 * self.bank.mean(0))


class Padded(nn.Module):
    """An encoder of the rows of a digit, of which the empty ones are padding."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(8, 16), nn.Linear(16, 10)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x):
        rows = x.squeeze(1)
        valid = (rows > 0.3).any(2)
        valid[:, 0] = True
        hidden = self.encoder(self.embed(rows), src_key_padding_mask=~valid)
        return self.head((hidden * valid[..., None]).sum(1))


class Limited(nn.Sequential):
    """Memory ends beyond the training's own batch."""

    def forward(self, x):
        if len(x) > 24:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


class TwoViews(Module):
    """Two networks as BYOL has them: the target follows the online one after each step."""

    def __init__(self):
        super().__init__()
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.predictor = nn.Linear(10, 10)

    def training_step(self, batch, index):
        images, _ = batch
        with torch.no_grad():
            target = self.target(images + 0.1 * torch.randn_like(images))
        loss = functional.mse_loss(self.predictor(self(images)), target)
        self.note(images, loss)
        return loss

    def on_train_batch_end(self, *_):
        for old, new in zip(self.target.parameters(), self.net.parameters(), strict=True):
            old.data.lerp_(new.data, 0.1)


class Frozen(Module):
    """A frozen stem whose batch norm stays in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.net[:2].requires_grad_(False)

    def on_train_epoch_start(self):
        self.net[1].eval()


class Compiled(Module):
    """To be compiled with its steps, so without notes of their contents."""

    def note(self, *things):
        self.steps.append(len(things))


class CompiledWithin(Module):
    def __init__(self):
        super().__init__()
        self.net = torch.compile(self.net, backend="aot_eager")


def with_norm(norm):
    return lambda: (Module(nn.Sequential(norm(nn.Conv2d(1, 4, 3, padding=1)), *network()[1:])), loaders())


@dataclass
class Training:
    """One kind of training: what is trained on what, with which callbacks and options of the trainer."""

    make: object
    callbacks: object = tuple
    options: dict = field(default_factory=dict)
    slow: bool = False


def small_loaders():
    """Without validation, whose batches are larger."""
    return loaders()[:1]


def of(module, *arguments, **keywords):
    return lambda: (module(*arguments, **keywords), loaders())


TRAININGS = {
    "32-true, all random streams": Training(lambda: (Module(schedule="cosine"), loaders(augmented=True))),
    "16-mixed": Training(of(Module), options={"precision": "16-mixed"}),
    "bf16-mixed": Training(of(Module), options={"precision": "bf16-mixed"}),
    "bf16-true": Training(of(Module), options={"precision": "bf16-true"}),
    "64-true": Training(of(Module), options={"precision": "64-true"}, slow=True),
    "accumulated, clipped, one cycle": Training(
        of(Module, schedule="one cycle", adam=True),
        options={"accumulate_grad_batches": 3, "gradient_clip_val": 0.5},
    ),
    "two optimisers by hand": Training(of(Adversarial)),
    "a compiled network": Training(of(CompiledWithin), slow=True),
    "a compiled module": Training(
        lambda: (torch.compile(Compiled(), backend="aot_eager"), loaders()), slow=True
    ),
    "checkpointed activations": Training(lambda: (Module(Checkpointed(False)), loaders())),
    "checkpointed activations, reentrant": Training(lambda: (Module(Checkpointed(True)), loaders()), slow=True),
    "averaged weights at the end": Training(
        of(Module), lambda: [callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=1)], {"epochs": 3}
    ),
    "averaged weights all along": Training(of(Module), lambda: [callbacks.EMAWeightAveraging(decay=0.9)]),
    "worker processes": Training(
        lambda: (Module(), loaders(workers=2, augmented=True)), slow=True
    ),
    "data with a generator of their own": Training(lambda: (Module(), loaders(Drawing(), workers=2)), slow=True),
    "spectral norm": Training(with_norm(parametrizations.spectral_norm)),
    "spectral norm by hooks": Training(with_norm(nn.utils.spectral_norm), slow=True),
    "weight norm": Training(with_norm(parametrizations.weight_norm), slow=True),
    "pruned": Training(with_norm(lambda layer: prune.l1_unstructured(layer, "weight", 0.3)), slow=True),
    "a stream": Training(lambda: (Module(), loaders(Stream()))),
    "frozen parts": Training(of(Frozen), slow=True),
    "a metric in forward": Training(of(Metered)),
    "a log in forward": Training(of(Logging)),
    "counters and lists in forward": Training(lambda: (Remembering(Counting()), loaders())),
    "hooks of the user": Training(of(Hooked)),
    "a teacher in forward": Training(lambda: (Module(Teaching()), loaders())),
    "a bank of features": Training(lambda: (Module(Bank()), loaders()), slow=True),
    "an encoder of padded sequences": Training(lambda: (Module(Padded()), loaders())),
    "lazy layers": Training(
        lambda: (Module(nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(10))), small_loaders())
    ),
    "no memory for more": Training(lambda: (Module(Limited(*network())), small_loaders())),
    "a rate by the plateau, stopped early": Training(
        of(Module, schedule="plateau"),
        lambda: [callbacks.EarlyStopping("val_loss", patience=1), callbacks.ModelCheckpoint(monitor="val_loss")],
        {"epochs": 4, "enable_checkpointing": True},
        slow=True,
    ),
    "validated within an epoch": Training(
        lambda: (Module(), loaders(augmented=True)), options={"val_check_interval": 2}, slow=True
    ),
    "data split at random": Training(lambda: (Module(), Split()), slow=True),
    "data split at random, not validated before": Training(
        lambda: (Module(), Split()), options={"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}, slow=True
    ),
    "two networks, one of which follows": Training(of(TwoViews), slow=True),
    "ended within an epoch": Training(of(Module), options={"epochs": None, "max_steps": 5}, slow=True),
}  # fmt: skip

QUICK_BY_STEPS = "32-true, all random streams", "accumulated, clipped, one cycle", "two optimisers by hand"


@pytest.fixture(autouse=True)
def _quick_estimate(monkeypatch, one_thread):
    """The graphs that are timed before a training take most of such a small one."""
    monkeypatch.setattr(rra_monitor.measure.trial, "GRAPH_ROWS", 40)


def cases():
    """Each kind of training, measured after its epochs, and after its steps as well."""
    for name, training in TRAININGS.items():
        for steps in (False, True):
            rhythm = {"every_n_steps": 1, "every_n_epochs": 1} if steps else {}
            slow = training.slow or (steps and name not in QUICK_BY_STEPS)
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(training, rhythm, id=f"{name}{', by steps' if steps else ''}", marks=marks)


@pytest.mark.parametrize(("training", "rhythm"), cases())
def test_the_training_is_the_same_with_the_monitor_and_without(training, rhythm, tmp_path):
    if training.options.get("precision") == "16-mixed" and ACCELERATOR == "cpu":
        pytest.skip("the host has no such precision on the CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = trained(training.make, tmp_path / "alone", training.callbacks(), **training.options)
        monitor = RRACallback(n=30, on_error="raise", **rhythm)
        watched = trained(training.make, tmp_path / "watched", [*training.callbacks(), monitor], **training.options)
    assert len(monitor.store.steps(monitor.store.probes()[0])) >= 2
    assert alone["steps"]
    different = [name for name in {**alone, **watched} if alone.get(name) != watched.get(name)]
    assert different == []
