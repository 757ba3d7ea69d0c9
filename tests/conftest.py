import os
from functools import lru_cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import rra_monitor as rra
from rra_monitor.nn import resnet20
from tests.helpers.browser import browser_page, chromium  # noqa: F401 - fixtures
from tests.helpers.ranks.outcome import Outcome

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

FOREIGN = (
    "tests/integrations/",
    "tests/nn/",
    "tests/recipes/",
    "tests/capture/test_channels.py",
    "tests/capture/test_features.py",
    "tests/capture/test_layers.py",
    "tests/capture/test_outputs.py",
    "tests/capture/test_padding.py",
    "tests/capture/test_state.py",
    "tests/capture/test_undisturbed.py",
    "tests/capture/test_views.py",
    "tests/cli/test_recipes.py",
    "tests/cli/test_suggest.py",
    "tests/cli/test_train.py",
    "tests/datasets/",
    "tests/measure/",
)
"""Tests of what stands on other people's APIs: networks, their capture, hosts and dashboards."""


def pytest_itemcollected(item):
    if item.nodeid.startswith(FOREIGN):
        item.add_marker("foreign")
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Workers of a gigabyte each for the whole suite; none for files that are named: a debugger works there."""
    return min(4, os.cpu_count() or 1) if config.args_source is config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs):
    """Workers share the cores: one thread each, and each of the processes that they start."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def two_threads():
    """For code that shares work among threads; within a worker there is one otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_thread():
    """Steps of a small training take longer on two threads, and far longer where both share a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """The 1,797 digits, shuffled: images (n, 1, 8, 8) in 0 to 1 and labels."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    return torch.tensor(data.images[order] / 16, dtype=torch.float32)[:, None], torch.tensor(data.target[order])


@pytest.fixture(scope="session")
def dataset(digits):
    return TensorDataset(*digits)


@pytest.fixture(scope="session")
def sample(dataset):
    return rra.FixedSample.from_dataset(dataset, n=200, seed=0)


@pytest.fixture(scope="session")
def feature_maps(digits):
    """Real feature maps: 600 digits at 16 x 16 pixels after stage 1 of an untrained ResNet20."""
    torch.manual_seed(0)
    images = nn.functional.interpolate(digits[0][:600], scale_factor=2.0)
    maps = rra.iter_features(resnet20(10, 1), rra.FixedSample.from_tensors(images), ["layer1.2"])
    return next(iter(maps))[1]


@pytest.fixture
def small_net():
    """Convolution, batch norm, dropout, pool and classifier: every kind of state that a guest could disturb."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


@pytest.fixture(scope="session")
def gloo(tmp_path_factory):
    """A number of gloo ranks to what they found; each number is started once."""
    return lru_cache(lambda ranks: Outcome(ranks, tmp_path_factory.mktemp("ranks")))
