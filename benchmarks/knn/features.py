"""Real features for the benchmark: CIFAR-10's pixels and feature maps of a ResNet20, as .npy files."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torchvision import transforms

import rra_monitor as rra
from rra_monitor.nn import resnet20

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from cifar10_lightning import cifar10

LAYERS = {"pool": 64, "input": 3072, "layer3.2": 4096, "layer2.2": 8192, "layer1.2": 16384}
"""The layers on offer and their numbers of features."""


def write_features(folder: Path, data: Path, sizes: Mapping[str, int], batches: int) -> dict[str, Path]:
    """The files of the layers, each (n, d) float32: of the folder where it has them, else computed.

    The samples are balanced over the classes and shuffled, so the first m of them are a fair sample, too.

    Args:
        folder: where they are kept.
        data: CIFAR-10.
        sizes: samples n by layer, of those in LAYERS.
        batches: of 128 images that the network is trained on before; 0 leaves it as initialised.
    """
    drawn = max(sizes.values())
    files = {layer: folder / f"{layer}-{n}-of-{drawn}-t{batches}.npy" for layer, n in sizes.items()}
    if all(file.exists() for file in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    sample = rra.FixedSample.from_dataset(cifar10(data, "train", transforms.ToTensor()), n=drawn)
    images = torch.cat(list(sample.batches(1000)))
    torch.manual_seed(0)
    network = resnet20()
    train(network, images, torch.from_numpy(sample.labels), batches)
    for layer, n in sizes.items():
        first = rra.FixedSample.from_tensors(images[:n])
        for _, features in rra.iter_features(network, first, [layer], batch_size=500):
            np.save(files[layer], features.reshape(n, -1).numpy())
    return files


def train(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, batches: int) -> None:
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(batches):
        chosen = torch.randint(len(images), (128,))
        loss = torch.nn.functional.cross_entropy(network(images[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
