from itertools import pairwise

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.features import find_layers
from rra_monitor.capture.layer import Layer
from rra_monitor.capture.thinning import MOST, patterns, thinned


def names(model, *shape, say=pytest.fail, **options):
    sample = rra.FixedSample.from_tensors(torch.rand(5, *shape))
    return [layer.name for layer in find_layers(model, sample, say=say, **options)]


class Plain(nn.Module):
    """A network without blocks, whose activation is one module."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, x):
        return x + self.body(x)


class Stage(nn.Module):
    def __init__(self, depth, block=Residual):
        super().__init__()
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))

    def forward(self, x):
        return self.blocks(self.down(x))


class Encoder(nn.Module):
    def __init__(self, *depths):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.ModuleList(Stage(depth) for depth in depths)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)


BLOCKS = ["stages.0.blocks.0", "stages.1.blocks.0", "stages.1.blocks.1"]


class TestStages:
    @pytest.mark.parametrize(
        ("depths", "blocks"),
        [
            ((1, 2), BLOCKS),
            ((1, 1), ["stages.0.blocks.0", "stages.1.blocks.0"]),
            ((2, 2), ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "stages.1.blocks.1"]),
        ],
    )
    def test_stages_are_looked_into(self, depths, blocks):
        assert names(Encoder(*depths), 3, 16, 16) == ["input", "stem", *blocks, "norm"]

    def test_a_block_with_a_list_of_plain_parts_is_a_block(self):
        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

            def forward(self, x):
                return self.b(self.a(x))

        class Wide(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = nn.Sequential(Part(), Part())

            def forward(self, x):
                return x + self.parts(x)

        model = nn.Sequential(nn.Conv2d(3, 4, 1), Wide(), Wide(), nn.Conv2d(4, 2, 1))
        assert names(model, 3, 8, 8) == ["input", "0", "1", "2", "3"]

    def test_residual_groups_of_residual_blocks_are_looked_into(self):
        class Group(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.Sequential(Residual(), Residual())
                self.conv = nn.Conv2d(4, 4, 1)

            def forward(self, x):
                return x + self.conv(self.blocks(x))

        model = nn.Sequential(nn.Conv2d(3, 4, 1), Group(), Group())
        assert names(model, 3, 8, 8)[1:5] == ["0", "1.blocks.0", "1.blocks.1", "2.blocks.0"]

    def test_a_class_that_occurs_once_among_blocks_is_a_block(self):
        class Other(Residual):
            pass

        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(Other()), nn.Sequential(Residual(), Residual()))
        assert names(nn.Sequential(model, nn.Conv2d(4, 2, 1)), 3, 8, 8) == [
            "input",
            "0.0",
            "0.1.0",
            "0.2.0",
            "0.2.1",
            "1",
        ]

    def test_a_block_that_runs_several_times_is_a_layer_each_time(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.block = nn.Conv2d(3, 4, 1), Residual()

            def forward(self, x):
                x = self.stem(x)
                for _ in range(3):
                    x = self.block(x)
                return x

        assert names(Tied(), 3, 8, 8) == ["input", "stem", "block#1", "block#2", "block#3"]

    def test_attention_between_convolutions_is_not_all_that_is_watched(self):
        class Gate(nn.Module):
            def __init__(self):
                super().__init__()
                self.down, self.up = nn.Linear(8, 2), nn.Linear(2, 8)

            def forward(self, x):
                return x * self.up(self.down(x.mean((2, 3))).relu())[..., None, None].sigmoid()

        convs = [(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), Gate()) for _ in range(3)]
        model = nn.Sequential(nn.Conv2d(3, 8, 1), *(module for three in convs for module in three))
        assert names(model, 3, 8, 8) == ["input", "0", "2", "3", "5", "6", "8", "9"]

    def test_a_network_beside_a_head_is_looked_into(self):
        class Backbone(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.one, self.two = nn.Conv2d(3, 4, 1), Residual(), Residual()
                self.three, self.four = Residual(), Residual()

            def forward(self, x):
                return self.four(self.three(self.two(self.one(self.stem(x)).relu())))

        model = nn.Sequential(Backbone(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
        assert names(model, 3, 8, 8) == ["input", "0.stem", "0.one", "0.two", "0.three", "0.four", "1", "2"]

    def test_pairs_in_nested_lists_are_blocks(self):
        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

            def forward(self, x):
                q, k, v = self.qkv(x).chunk(3, -1)
                return self.out((q @ k.transpose(-1, -2)).softmax(-1) @ v)

        class Transformer(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList(nn.ModuleList([Attention(), Mlp(4)]) for _ in range(2))

            def forward(self, x):
                for attention, mlp in self.layers:
                    x = attention(x) + x
                    x = mlp(x) + x
                return x

        model = nn.Sequential(nn.Linear(3, 4), Transformer(), nn.Linear(4, 2))
        assert names(model, 5, 3) == ["input", "0", *(f"1.layers.{i}.{j}" for i in (0, 1) for j in (0, 1)), "2"]

    def test_a_single_transformer_layer_is_a_block(self):
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoder(layer, 1), nn.Linear(4, 2))
        assert names(model, 5, 3) == ["input", "0", "1.layers.0", "2"]

    def test_parametrised_layers_are_layers(self):
        normed = nn.utils.parametrizations.spectral_norm
        model = nn.Sequential(normed(nn.Conv2d(3, 4, 1)), nn.ReLU(), nn.Flatten(), normed(nn.Linear(256, 2)))
        assert names(model, 3, 8, 8) == ["input", "1", "3"]


class TestPlainNetworks:
    def test_a_convolution_comes_with_its_norm_and_activation_and_without_pools(self):
        model = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Flatten(), nn.Linear(4, 2)),
        )
        assert names(model, 3, 16, 16) == ["input", "2", "5", "9"]

    def test_each_call_of_a_shared_activation_belongs_to_its_convolution(self):
        assert names(Plain(), 3, 8, 8) == ["input", "relu#1", "relu#2", "head"]

    def test_functional_activations_leave_the_convolutions(self):
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

            def forward(self, x):
                return self.fc(self.conv(x).relu().mean((2, 3)))

        assert names(Functional(), 3, 8, 8) == ["input", "conv", "fc"]

    def test_views_of_a_layer_are_no_layers(self):
        class Flat(nn.Module):
            def forward(self, x):
                return x.permute(0, 2, 3, 1)

        model = nn.Sequential(nn.Conv2d(3, 4, 1), Residual(), Residual(), Flat(), nn.Linear(4, 2))
        assert names(model, 3, 8, 8) == ["input", "0", "1", "2", "4"]

    def test_experts_are_left_out_because_each_gets_other_rows(self):
        class Experts(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
                self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

            def forward(self, x):
                x = self.stem(x)
                return self.head(self.experts[1](x) + 0 * self.experts[0](x[:0]).sum())

        said = []
        assert names(Experts(), 3, say=said.append) == ["input", "stem", "head"]
        assert said == ["not measured: 'experts.1', 'experts.0' return another number of rows than samples"]


class Both(nn.Module):
    """Two networks of one class."""

    def __init__(self, make, how):
        super().__init__()
        self.a, self.b, self.how = make(), make(), how

    def forward(self, x):
        return self.how(self.a, self.b, x)


class TestSeveralNetworks:
    def test_an_ensemble_is_looked_into(self):
        class Ensemble(nn.Module):
            def __init__(self):
                super().__init__()
                self.members = nn.ModuleList(Plain() for _ in range(3))

            def forward(self, x):
                return sum(member(x) for member in self.members)

        own = ("relu#1", "relu#2", "head")
        assert names(Ensemble(), 3, 8, 8) == ["input", *(f"members.{i}.{name}" for i in range(3) for name in own)]

    def test_two_views_in_two_networks(self):
        both = Both(Plain, lambda a, b, x: a(x + 1) * b(x + 2))
        own = ("relu#1", "relu#2", "head")
        assert names(both, 3, 8, 8) == ["input", *(f"{net}.{name}" for net in "ab" for name in own)]

    def test_online_and_target_have_their_own_stem_and_end(self):
        both = Both(lambda: Encoder(1, 2), lambda a, b, x: a(x + 1) * b(x + 2))
        own = ["stem", *BLOCKS, "norm"]
        assert names(both, 3, 16, 16) == ["input", *(f"{net}.{name}" for net in "ab" for name in own)]

    def test_a_block_that_each_of_two_networks_has_once_is_a_block(self):
        class Other(Residual):
            pass

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem, self.last = nn.Conv2d(3, 4, 1), Other()
                self.one, self.two, self.three = Residual(), Residual(), Residual()

            def forward(self, x):
                return self.three(self.last(self.two(self.one(self.stem(x)))))

        both = Both(Net, lambda a, b, x: a(x) * b(x + 2))
        own = ("stem", "one", "two", "last", "three")
        assert names(both, 3, 8, 8) == ["input", *(f"{net}.{name}" for net in "ab" for name in own)]

    def test_encoder_and_decoder_of_one_class_are_looked_into(self):
        def mlp():
            return Mlp(3)

        both = Both(mlp, lambda a, b, x: b(a(x)))
        assert names(both, 3) == ["input", "a.layers.1", "a.layers.2", "b.layers.1", "b.layers.2"]

    def test_both_passes_of_one_network_are_kept_apart(self):
        own = ["stem", *BLOCKS, "norm"]
        found = names(Encoder(1, 2), 3, 16, 16, forward=lambda model, batch: model(batch) * model(batch + 1))
        assert found == ["input", *(f"{name}#{view}" for view in (1, 2) for name in own)]


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width))

    def forward(self, x):
        return self.layers(x)


class TestThinning:
    def test_blocks_at_equal_distances_stay_and_the_remark_names_all(self):
        model, said = nn.Sequential(nn.Conv2d(3, 4, 1), *(Residual() for _ in range(60)), nn.Conv2d(4, 2, 1)), []
        found = names(model, 3, 4, 4, say=said.append)
        assert len(found) == MOST
        assert found[:3] == ["input", "0", "1"]
        assert found[-2:] == ["60", "61"]
        assert {int(b) - int(a) for a, b in pairwise(found[2:-1])} == {1, 2}
        (text,) = said
        assert "watches 40 of the 63 layers" in text
        every = names(model, 3, 4, 4, layers=eval(text.partition("layers=[")[2].partition("]")[0] + ","))
        assert len(every) == 63

    def test_it_is_said_once(self, recwarn):
        model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(50)))
        monitor = rra.Monitor({"train": rra.FixedSample.from_tensors(torch.rand(20, 3))})
        for epoch in range(3):
            assert len(monitor.measure(model, step=epoch, epoch=epoch)["train"].layers) == MOST
        assert len([each for each in recwarn if "watches 40 of the 51" in str(each.message)]) == 1

    def test_calls_of_one_module_stay_together(self):
        layers = [Layer(f"{i}#{call + 1}", f"{i}", call, (3,)) for call in range(2) for i in range(30)]
        kept = thinned(layers, set(layers))
        assert [layer.module for layer in kept[:20]] == [layer.module for layer in kept[20:]]
        assert len(kept) == MOST

    def test_patterns_match_no_other_layer(self):
        every = [Layer(name, name, 0, (3,)) for name in ("stem", "stem.0", "a.0.x", "a.1.x", "a.1.y", "b.0", "b.1")]
        wanted = [layer for layer in every if layer.name in ("stem", "a.0.x", "a.1.x", "b.1")]
        assert patterns(wanted, every) == ["stem", "a.*.x", "b.1"]
