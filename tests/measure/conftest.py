"""A snapshot of a ResNet20 in all views."""

import pytest
import torch
from torch.nn import functional

import rra_monitor as rra
import rra_monitor.measure.layer_graphs
from rra_monitor.nn import resnet20
from tests.helpers.views import EVERY


@pytest.fixture(scope="session")
def of_resnet(digits):
    """A ResNet20 on digits at 16 x 16 pixels in all views, and how many graphs were built."""
    torch.manual_seed(0)
    images = functional.interpolate(digits[0][:300], scale_factor=2.0)
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images, digits[1][:300])}, views=EVERY, k=10)
    built = []

    def counted(features, k, backend, **limits):
        built.append(features.shape)
        return rra.graph.knn_graph(features, k, backend, **limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rra_monitor.measure.layer_graphs, "knn_graph", counted)
        with pytest.warns(UserWarning, match="'input@max-global' of probe 'p': ID undefined: 300 of 300"):
            snapshot = monitor.measure(resnet20(10, 1), step=0, epoch=0)["p"]
    return snapshot, len(built)
