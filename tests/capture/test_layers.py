import pytest
import torch
import torchvision
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.nn import resnet20


def names(model, shape, layers="auto", **kwargs):
    return [
        layer.name
        for layer in find_layers(model, rra.FixedSample.from_tensors(torch.rand(4, *shape)), layers, **kwargs)
    ]


BLOCKS = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"]


class TestFindLayersAuto:
    def test_resnet20_has_the_thesis_numbering(self):
        blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
        assert names(resnet20(), (3, 32, 32)) == ["input", "stem", *blocks, "pool", "fc"]

    def test_blocks_of_torchvisions_resnet(self):
        assert names(torchvision.models.resnet18(), (3, 64, 64)) == ["input", "maxpool", *BLOCKS, "avgpool", "fc"]

    def test_names_are_the_same_when_compiled_or_within_another_module(self):
        class Wrapper(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = torch.compile(torchvision.models.resnet18())

            def forward(self, x):
                return self.net(x)

        assert names(torch.compile(torchvision.models.resnet18()), (3, 64, 64)) == [
            "input",
            "maxpool",
            *BLOCKS,
            "avgpool",
            "fc",
        ]
        assert names(Wrapper(), (3, 64, 64)) == [
            "input",
            *(f"net.{name}" for name in ("maxpool", *BLOCKS, "avgpool", "fc")),
        ]

    @pytest.mark.parametrize(
        ("network", "side", "last_block", "count"),
        [
            ("densenet121", 64, "features.denseblock4.denselayer16", 40),
            ("mobilenet_v2", 64, "features.18", 21),
            ("regnet_y_400mf", 64, "trunk_output.block4.block4-5", 20),
            ("convnext_tiny", 64, "features.7.2", 23),
            ("vit_b_32", 224, "encoder.layers.encoder_layer_11", 16),
        ],
    )
    def test_blocks_of_other_families(self, network, side, last_block, count):
        found = names(getattr(torchvision.models, network)(), (3, side, side))
        assert last_block in found
        assert len(found) == count

    def test_a_network_without_blocks_gives_its_convolutions_with_their_activations(self):
        plain = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2)))
        assert names(plain, (1, 4, 4)) == ["input", "0.1", "0.4"]

    def test_tokens_have_no_geometry_and_are_no_layer(self):
        sample = rra.FixedSample.from_tensors(torch.randint(0, 9, (4, 5)))
        model = nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 2))
        assert [layer.name for layer in find_layers(model, sample)] == ["0", "1"]

    def test_modules_outside_the_forward_pass_are_left_out(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Linear(3, 4)
                self.unused = nn.Linear(3, 4)
                self.head = nn.Linear(4, 2)
                self.loss = nn.CrossEntropyLoss()

            def forward(self, x):
                return self.head(self.body(x))

        assert names(Net(), (3,)) == ["input", "body", "head"]

    def test_a_module_named_input_stands_for_the_raw_data(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.input, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

            def forward(self, x):
                return self.head(self.input(x))

        with pytest.warns(UserWarning, match="raw data are not watched"):
            assert names(Net(), (3,)) == ["input", "head"]

    def test_an_axis_as_long_as_the_trial_batch_is_no_axis_of_samples(self):
        class Table(nn.Module):
            """The same for all samples: five rows, as many as there are samples in the trial batch."""

            def forward(self, x):
                return torch.ones(5, 4)

        sample = rra.FixedSample.from_tensors(torch.rand(20, 5, 3))
        model = nn.Sequential(nn.Linear(3, 3), Table())
        assert [layer.name for layer in find_layers(model, sample)] == ["input", "0"]
        with pytest.raises(ValueError, match="'1' cannot be watched: it returns another number of rows than samples"):
            find_layers(model, sample, ["1"])

    def test_torchscript_is_passed_over(self):
        model = nn.Sequential(torch.jit.trace(nn.Linear(3, 4), torch.rand(2, 3)), nn.Linear(4, 2))
        assert names(model, (3,)) == ["input", "1"]


class TestFindLayersNamed:
    def test_names_may_leave_out_the_path_to_the_network(self):
        wrapped = nn.Sequential(resnet20())
        assert names(wrapped, (3, 16, 16), ["layer1.*", "fc"]) == ["0.layer1.0", "0.layer1.1", "0.layer1.2", "0.fc"]

    def test_a_second_name_of_a_module_is_resolved_in_the_error(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        model.register_module("alias", model[0])
        with pytest.raises(ValueError, match="'alias' is the same module as '0'"):
            names(model, (3,), ["alias"])

    def test_patterns_stay_within_one_level_and_cross_with_two_stars(self):
        model = torchvision.models.resnet18()
        assert names(model, (3, 64, 64), ["layer1.*", "input"]) == ["input", "layer1.0", "layer1.1"]
        assert "layer1.0.conv2" in names(model, (3, 64, 64), "layer1.**")

    def test_order_is_that_of_execution(self):
        assert names(resnet20(), (3, 16, 16), ["fc", "layer1.0", "stem"]) == ["stem", "layer1.0", "fc"]

    def test_a_module_called_twice_is_two_layers(self):
        assert names(torchvision.models.resnet18(), (3, 64, 64), ["layer1.0.relu"]) == [
            "layer1.0.relu#1",
            "layer1.0.relu#2",
        ]
        assert names(torchvision.models.resnet18(), (3, 64, 64), ["layer1.0.relu#2"]) == ["layer1.0.relu#2"]

    def test_the_first_tensor_of_a_nested_output_counts(self):
        model = nn.Sequential(nn.LSTM(3, 5, batch_first=True))
        (layer,) = find_layers(model, rra.FixedSample.from_tensors(torch.rand(4, 7, 3)), ["0"])
        assert layer.shape == (7, 5)

    def test_an_unknown_name_lists_the_nearest(self):
        with pytest.raises(ValueError, match=r"'layer5.0'.*layer3.0"):
            names(resnet20(), (3, 16, 16), ["layer5.0"])

    def test_a_layer_that_does_not_run_is_named(self):
        model = torchvision.models.googlenet(init_weights=False, aux_logits=True)
        with pytest.raises(ValueError, match=r"'aux1' cannot be watched.*does not run"):
            names(model, (3, 64, 64), ["aux1"])

    def test_an_output_without_a_row_per_sample_is_named(self):
        class Mean(nn.Module):
            def forward(self, x):
                return x.mean()

        with pytest.raises(ValueError, match="'1' cannot be watched: it returns a single number"):
            names(nn.Sequential(nn.Linear(3, 3), Mean()), (3,), ["1"])
