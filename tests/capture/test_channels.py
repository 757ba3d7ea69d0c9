import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.channels import has_channels_last, with_views
from rra_monitor.capture.features import find_layers
from rra_monitor.capture.layer import Layer, named_modules
from rra_monitor.capture.views import pooled_dim


class TestChannels:
    @pytest.mark.parametrize(
        ("model", "shape", "last"),
        [
            (nn.Conv1d(4, 6, 3, padding=1), (6, 20), False),
            (nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()), (6, 20), False),
            (nn.Linear(4, 6), (20, 6), True),
            (nn.LayerNorm(6), (20, 6), True),
            (nn.LSTM(4, 6, batch_first=True), (20, 6), True),
            (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True), (20, 6), True),
            (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), (7, 7, 6), True),
            (nn.Sequential(nn.Conv2d(6, 6, 7), nn.GroupNorm(2, 6), nn.Linear(6, 24)), (6, 7, 7), False),
            (nn.Identity(), (20, 6), False),
            (nn.Linear(4, 6), (6,), False),
        ],
    )
    def test_which_axis_holds_them_is_told_by_the_sizes_of_the_modules_within(self, model, shape, last):
        whole = nn.Sequential(model)
        assert has_channels_last(named_modules(whole), Layer("0", "0", 0, shape)) is last

    def test_a_module_that_tells_nothing_asks_the_one_around_it(self):
        model = nn.Sequential(
            nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU()), nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout())
        )
        modules = named_modules(model)
        assert not has_channels_last(modules, Layer("0.1", "0.1", 0, (6, 20)))
        assert has_channels_last(modules, Layer("1.1", "1.1", 0, (20, 8)))

    @pytest.mark.parametrize(
        ("model", "shape", "last"),
        [
            (nn.Linear(28, 10), (1, 28, 28), False),
            (nn.Conv1d(2, 6, 3), (2, 28), False),
            (nn.Linear(6, 8), (28, 6), True),
        ],
    )
    def test_raw_images_have_them_first_and_sequences_as_the_network_takes_them(self, model, shape, last):
        assert has_channels_last(named_modules(model), Layer("input", "", 0, shape)) is last

    @pytest.mark.parametrize(
        ("name", "layer", "last"),
        [
            ("vit_b_32", "encoder.layers.encoder_layer_11", True),
            ("vit_b_32", "conv_proj", False),
            ("swin_t", "features.1.0", True),
            ("swin_t", "features.0", True),
            ("convnext_tiny", "features.1.0", False),
            ("convnext_tiny", "features.2.0", False),
            ("convnext_tiny", "classifier.0", False),
        ],
    )
    def test_channels_of_torchvisions_networks(self, name, layer, last):
        import torchvision

        model = getattr(torchvision.models, name)(weights=None)
        sample = rra.FixedSample.from_tensors(torch.rand(4, 3, 224, 224))
        (found,) = with_views(model, find_layers(model, sample, [layer]), ["full", "avg-global"])
        assert found.channels_last is last
        channels = found.shape[-1] if last else found.shape[0]
        assert pooled_dim(found.shape, "avg-global", last) == channels
