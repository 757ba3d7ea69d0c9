"""The remedies that texts about samples, layers and views name, each of them followed."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from rra_monitor import FixedSample, iter_features, pooled
from tests.helpers.remedies import Remedy

IMAGES = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(60) % 3
SAMPLE = FixedSample.from_tensors(IMAGES, CLASSES)
VIEWS = FixedSample.from_tensors((IMAGES, IMAGES))
FILMS = FixedSample.from_tensors(IMAGES.reshape(20, 3, 1, 8, 8))
LENGTHS = 2 + torch.arange(20) % 5
TEXTS = torch.ones(20, 6, 3) * (torch.arange(6) < LENGTHS[:, None])[..., None]
NUMBERS = FixedSample.from_tensors(torch.arange(40).reshape(20, 2) % 9)


class Data(Dataset):
    """Images in a transform's form; noise of its own by default."""

    def __init__(self, transform=None):
        self.transform = transform or (lambda image: image + torch.rand(()))

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return self.transform(IMAGES[index]), index % 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(IMAGES, CLASSES, strict=True))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, images, scale):
        return self.fc(images.flatten(1) * scale)


class Input(nn.Module):
    """A network with a module that is called as the raw data are."""

    def __init__(self, name="input"):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Conv2d(1, 2, 3))
        self.fc = nn.Linear(72, 4)

    def forward(self, images):
        return self.fc(getattr(self, self.name)(images).flatten(1))


class SamplesLast(nn.Module):
    """Its only layer returns (features, samples)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.ReLU()

    def forward(self, numbers):
        return self.layer(numbers.float().T)


class Dropped(nn.Module):
    """A dropout that follows the mode, or is always on."""

    def __init__(self, follows):
        super().__init__()
        self.follows = follows

    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training if self.follows else True)


class Transposed(nn.Module):
    def forward(self, features):
        return features.T


class Mean(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, numbers):
        return numbers.float().mean(*self.axes)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Frames(nn.Module):
    """Films whose frames pass one network, each a sample to it."""

    def __init__(self):
        super().__init__()
        self.net, self.mean = nn.Flatten(), Mean(1)

    def forward(self, films):
        return self.mean(self.net(films.flatten(0, 1)).unflatten(0, films.shape[:2]))


class Cut(nn.Sequential):
    """Cuts a batch to its longest sample."""

    def __init__(self):
        super().__init__(nn.Linear(3, 2))

    def forward(self, texts):
        return self[0](texts[:, (texts != 0).any(2).any(0)])


def as_nested(images):
    return torch.nested.nested_tensor(list(images))


def on_floats(model, batch):
    return model(batch.float())


def nested():
    return torch.nested.nested_tensor(list(IMAGES))


class Limited(nn.Flatten):
    """Memory ends beyond 20 samples."""

    def forward(self, images):
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


def features(network, sample=SAMPLE, **options):
    sample = sample if isinstance(sample, FixedSample) else FixedSample.from_tensors(sample)
    return list(iter_features(network, sample, **options))


pytestmark = pytest.mark.filterwarnings("ignore:.*nested tensors")

REMEDIES = [
    Remedy(
        "pass batch_size={} to start with it",
        lambda: features(nn.Sequential(Limited()), layers=["0"]),
        lambda: features(nn.Sequential(Limited()), layers=["0"], batch_size=16),
    ),
    Remedy(
        "fewer than the n={} asked for. Pass n={} or less",
        lambda: FixedSample.from_dataset(TensorDataset(IMAGES), n=100),
        lambda: FixedSample.from_dataset(TensorDataset(IMAGES), n=60),
    ),
    Remedy(
        "n must be at least 3",
        lambda: FixedSample.from_dataset(TensorDataset(IMAGES), n=2),
        lambda: FixedSample.from_dataset(TensorDataset(IMAGES), n=3),
    ),
    Remedy(
        "Collect some inputs and labels and use FixedSample.from_tensors(inputs, labels).",
        lambda: FixedSample.from_dataset(Stream()),
        lambda: FixedSample.from_tensors(*map(torch.stack, zip(*Stream(), strict=True))),
    ),
    Remedy(
        "Pass labels=None for data without classes.",
        lambda: FixedSample.from_tensors(IMAGES, torch.rand(60)),
        lambda: FixedSample.from_tensors(IMAGES, labels=None),
    ),
    Remedy(
        "call to_dense() on it first",
        lambda: FixedSample.from_tensors(IMAGES.to_sparse()),
        lambda: FixedSample.from_tensors(IMAGES.to_sparse().to_dense()),
    ),
    Remedy(
        "call to_padded_tensor(0.0) on it first",
        lambda: FixedSample.from_tensors(nested()),
        lambda: FixedSample.from_tensors(nested().to_padded_tensor(0.0)),
    ),
    Remedy(
        "FixedSample.from_dataset(Data(…, transform=evaluation_transform))",
        lambda: FixedSample.from_dataset(Data(), n=20),
        lambda: FixedSample.from_dataset(Data(transform=lambda image: image), n=20),
    ),
    Remedy(
        "pass forward=lambda model, batch: …",
        lambda: features(TwoInputs()),
        lambda: features(TwoInputs(), forward=lambda model, batch: model(batch, 2.0)),
    ),
    Remedy(
        "a module named 'input' cannot be watched: the name stands for the raw data. Rename the module.",
        lambda: features(Input(), layers=["input", "fc"]),
        lambda: features(Input("stem"), layers=["input", "stem"]),
    ),
    Remedy(
        "the network has a module named 'input', so the raw data are not watched",
        lambda: features(Input()),
        lambda: features(Input("stem")),
    ),
    Remedy(
        "for those that are found pass layers='auto', by itself",
        lambda: features(Input("stem"), layers=["auto", "fc"]),
        lambda: features(Input("stem"), layers="auto"),
    ),
    Remedy(
        "layer 'input' needs a batch that is one tensor of floats or bytes; name modules instead",
        lambda: features(nn.Sequential(nn.Embedding(9, 4)), NUMBERS, layers=["input"]),
        lambda: features(nn.Sequential(nn.Embedding(9, 4)), NUMBERS, layers=["0"]),
    ),
    Remedy(
        "put the axis of samples first in the output of the layers to watch",
        lambda: features(nn.Sequential(Mean()), NUMBERS),
        lambda: features(nn.Sequential(Mean(1)), NUMBERS),
    ),
    Remedy(
        "layers='auto' finds no layer that changes the neighbourhoods; name the layers to watch: layers=[…] out of {}",
        lambda: features(nn.Sequential(nn.Flatten()), NUMBERS, forward=on_floats),
        lambda: features(nn.Sequential(nn.Flatten()), NUMBERS, forward=on_floats, layers=["0"]),
    ),
    Remedy(
        "Let what is random follow the training flag of its module",
        lambda: features(nn.Sequential(nn.Flatten(), Dropped(follows=False))),
        lambda: features(nn.Sequential(nn.Flatten(), Dropped(follows=True))),
    ),
    Remedy(
        "Let the layer use running statistics of the training in evaluation mode",
        lambda: features(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False))),
        lambda: features(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=True))),
    ),
    Remedy(
        "pass one batch through the network first",
        lambda: features(nn.Sequential(nn.Flatten(), nn.LazyLinear(4))),
        lambda: features(passed(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))),
    ),
    Remedy(
        "give the network memory with to_empty(device=…) and load its weights with load_state_dict(…)",
        lambda: features(nn.Sequential(nn.Flatten(), nn.Linear(64, 4, device="meta"))),
        lambda: features(materialised(nn.Sequential(nn.Flatten(), nn.Linear(64, 4, device="meta")))),
    ),
    Remedy(
        "if they are quantities, let it return them with float()",
        lambda: features(nn.Sequential(nn.Flatten()), NUMBERS, layers=["0"]),
        lambda: features(nn.Sequential(nn.Flatten(), Function(lambda numbers: numbers.float())), NUMBERS, layers=["1"]),
    ),
    Remedy(
        "let it return to_padded_tensor(0.0) of it",
        lambda: features(nn.Sequential(Function(as_nested)), layers=["0"]),
        lambda: features(nn.Sequential(Function(lambda x: as_nested(x).to_padded_tensor(0.0))), layers=["0"]),
    ),
    Remedy(
        "pass one view through the network: forward=lambda model, batch: model(batch[0])",
        lambda: features(nn.Sequential(nn.Flatten()), VIEWS, forward=lambda model, batch: model(torch.cat(batch))),
        lambda: features(
            nn.Sequential(nn.Flatten()), VIEWS, layers=["0"], forward=lambda model, batch: model(batch[0])
        ),
    ),
    Remedy(
        "watch a module that returns one for each, or let forward=… pass one of them",
        lambda: features(Frames(), FILMS, layers=["net"]),
        lambda: features(Frames(), FILMS, layers=["mean"]),
        lambda: features(Frames(), FILMS, layers=["net"], forward=lambda model, batch: model(batch[:, :1])),
    ),
    Remedy(
        "pad all samples to one length, or put a mask of their tokens into the batch, for the mean over those",
        lambda: features(Cut(), TEXTS, layers=["0"], forward=lambda model, batch: model(batch)),
        lambda: features(Cut(), torch.ones(20, 6, 3), layers=["0"]),
        lambda: features(Cut(), (TEXTS, LENGTHS), layers=["0"], forward=lambda model, batch: model(batch[0])),
    ),
    Remedy(
        "lacks 'full', which summaries and the comparison of scales need; pass {}",
        lambda: features(Input("stem"), views=["avg2"]),
        lambda: features(Input("stem"), views=("full", "avg2")),
    ),
    Remedy(
        "'full', 'avg<window>', 'max<window>' (avg2, max8, …), 'avg-global', 'max-global', 'class-token'",
        lambda: pooled(IMAGES, "mean"),
        *(partial(pooled, IMAGES, view) for view in ("full", "avg2", "max8", "avg-global", "max-global")),
        lambda: pooled(torch.rand(5, 7, 3), "class-token", channels_last=True),
    ),
    Remedy(
        "; drop the view",
        lambda: features(Input("stem"), views=["full", "class-token"]),
        lambda: features(Input("stem"), views=["full"]),
    ),
    Remedy(
        "expected a tensor; see torch.as_tensor",
        lambda: pooled(IMAGES.numpy(), "avg2"),
        lambda: pooled(torch.as_tensor(IMAGES.numpy()), "avg2"),
    ),
]


def materialised(network):
    weights = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).state_dict()
    network.to_empty(device="cpu").load_state_dict(weights)
    return network


def passed(network):
    network(IMAGES[:4])
    return network


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_capture_remedy_is_followed(remedy):
    remedy.check()
