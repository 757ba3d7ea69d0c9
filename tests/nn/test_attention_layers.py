import math

import pytest
import torch
from torch import nn

from rra_monitor.nn import BAM, STAC, SqueezeExcitation

LAYERS = {
    "stac": lambda: STAC(6, window=4),
    "stac of pairs": lambda: STAC(6, window=(2, 4), kernels=(1, 3), reduction=2),
    "stac of windows that do not divide": lambda: STAC(6, window=3, kernels=(3, 1)),
    "stac global": lambda: STAC(6, "global", kernels=(1, 1)),
    "se": lambda: SqueezeExcitation(6),
    "se reduced": lambda: SqueezeExcitation(6, reduction=3),
    "bam": lambda: BAM(6),
    "bam reduced": lambda: BAM(6, reduction=2, dilation=2),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    return LAYERS[request.param]()


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def fill(convolution, weight, bias):
    convolution.weight.data = torch.tensor(weight)
    convolution.bias.data = torch.tensor(bias)


def windows_by_loop(y, window):
    """Averages of the real pixels of each window, as a small map of double precision."""
    height, width = y.shape[-2:]
    return torch.stack(
        [
            torch.stack(
                [y[..., i : i + window[0], j : j + window[1]].mean((-2, -1)) for j in range(0, width, window[1])], -1
            )
            for i in range(0, height, window[0])
        ],
        -2,
    )


class TestStac:
    def test_a_2x2_map_of_one_window_by_hand(self):
        stac = STAC(1, window=2, kernels=(1, 1))
        fill(stac.conv1, [[[[2.0]]]], [-1.0])
        fill(stac.conv2, [[[[0.5]]]], [0.25])
        # The average is 2.5, times 2 less 1 is 4, halved plus 0.25 is 2.25.
        expected = [[value * sigmoid(2.25) for value in row] for row in ([1.0, 2.0], [3.0, 4.0])]
        assert stac(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0].tolist() == pytest.approx(torch.tensor(expected))

    def test_a_2x2_map_of_four_windows_by_hand(self):
        stac = STAC(1, window=1, kernels=(3, 1))
        # The first convolution takes the right-hand neighbour, zero beyond the border, and ReLU cuts the negative one.
        fill(stac.conv1, [[[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]], [0.0])
        fill(stac.conv2, [[[[3.0]]]], [-1.0])
        expected = [[1.0 * sigmoid(-1), -2.0 * sigmoid(-1)], [3.0 * sigmoid(3 * 4 - 1), 4.0 * sigmoid(-1)]]
        found = stac(torch.tensor([[[[1.0, -2.0], [3.0, 4.0]]]]))
        assert found[0, 0].tolist() == pytest.approx(torch.tensor(expected))

    @pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 3), (4, 3), (5, 7), (7, 2), (7, 9)])
    def test_each_pixel_is_weighed_by_its_own_window_also_where_windows_do_not_divide_the_map(self, window):
        torch.manual_seed(1)
        stac, y = STAC(3, window).double(), torch.randn(2, 3, 7, 9, dtype=torch.float64)
        weights = stac.conv2(stac.conv1(windows_by_loop(y, window)).relu()).sigmoid()
        expected = torch.empty_like(y)
        for i in range(7):
            for j in range(9):
                expected[..., i, j] = y[..., i, j] * weights[..., i // window[0], j // window[1]]
        torch.testing.assert_close(stac(y), expected)

    def test_global_with_1x1_kernels_is_squeeze_and_excitation_of_the_same_weights(self):
        stac, se = STAC(16, "global", kernels=(1, 1)), SqueezeExcitation(16)
        se.load_state_dict(stac.state_dict())
        y = torch.randn(4, 16, 9, 5)
        assert torch.equal(stac(y), se(y))
        whole = STAC(16, (9, 5), kernels=(1, 1))
        whole.load_state_dict(stac.state_dict())
        torch.testing.assert_close(whole(y), se(y))

    def test_on_one_window_3x3_kernels_use_their_centre_alone(self):
        stac, small = STAC(4, "global"), STAC(4, "global", kernels=(1, 1))
        for name in ("conv1", "conv2"):
            getattr(small, name).weight.data = getattr(stac, name).weight.data[:, :, 1:2, 1:2]
            getattr(small, name).bias.data = getattr(stac, name).bias.data
        y = torch.randn(2, 4, 6, 6)
        torch.testing.assert_close(stac(y), small(y))

    @pytest.mark.parametrize(
        ("window", "height", "width", "found"),
        [(8, 4, 4, "8 x 8"), ((2, 5), 4, 4, "2 x 5"), (5, 4, 9, "5 x 5")],
    )
    def test_a_window_larger_than_the_map_is_refused_with_what_is_possible(self, window, height, width, found):
        stac = STAC(2, window)
        message = f"^a window of {found} .* the map of {height} x {width}; possible is up to {height} x {width}, or 'gl"
        with pytest.raises(ValueError, match=message):
            stac(torch.randn(1, 2, height, width))
        stac.place = "stage 3"
        with pytest.raises(ValueError, match=r"^stage 3: a window of"):
            stac(torch.randn(1, 2, height, width))

    @pytest.mark.parametrize("window", [0, -2, (4, 0), (4, 4, 4), "glob", "8", "GLOBAL"])
    def test_other_windows_are_refused(self, window):
        with pytest.raises(ValueError, match=r"window.*(must be at least 1|integer, \(height, width\) or 'global')"):
            STAC(4, window)

    def test_windows_of_fractions_are_refused(self):
        with pytest.raises(TypeError, match=r"window must be an integer of at least 1, not 2.5"):
            STAC(4, 2.5)

    @pytest.mark.parametrize("kernels", [(5, 3), (3, 2), (3,), 3, "33"])
    def test_other_kernels_are_refused(self, kernels):
        with pytest.raises(ValueError, match=r"kernels are two sides, each 1 or 3, as in \(3, 3\), not"):
            STAC(4, kernels=kernels)


class TestSqueezeExcitation:
    def test_squeeze_and_excitation_of_two_channels_by_hand(self):
        se = SqueezeExcitation(2)
        fill(se.conv1, [[[[1.0]], [[0.0]]], [[[0.0]], [[-1.0]]]], [0.0, 0.0])
        fill(se.conv2, [[[[0.0]], [[0.0]]], [[[2.0]], [[5.0]]]], [0.0, 0.5])
        y = torch.tensor([[[[1.0, 3.0]], [[4.0, 8.0]]]])
        # Means 2 and 6; hidden 2 and relu(-6); weights of the channels sigmoid(0) and sigmoid(2 * 2 + 0.5).
        expected = [0.5, 1.5, 4 * sigmoid(4.5), 8 * sigmoid(4.5)]
        assert se(y).flatten().tolist() == pytest.approx(expected)


class TestBAM:
    def test_bam_adds_the_map_weighed_by_channel_and_pixel_by_hand(self):
        bam = BAM(1, dilation=1)
        for convolution in (module for module in bam.modules() if isinstance(module, nn.Conv2d)):
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        fill(bam.channel[0], [[[[1.0]]]], [0.0])
        fill(bam.channel[2], [[[[1.0]]]], [-1.0])
        for position in (0, 2, 4):
            bam.spatial[position].weight.data[0, 0, -1, -1] = 1.0
        fill(bam.spatial[6], [[[[1.0]]]], [0.0])
        y = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
        # The channel's weight is 5 - 1. Two kernels that look one pixel right and down: the pixel two right and down.
        weights = torch.full((3, 3), sigmoid(4.0))
        weights[0, 0] = sigmoid(4.0 + 9.0)
        torch.testing.assert_close(bam(y)[0, 0], y[0, 0] * (1 + weights))

    def test_bam_sees_as_far_as_its_dilation(self):
        torch.manual_seed(0)
        y = torch.rand(1, 2, 32, 32, requires_grad=True)
        bam = BAM(2, dilation=4)
        # Without the channel's part, and with nothing negative so that no ReLU is shut.
        nn.init.zeros_(bam.channel[2].weight)
        for position in (0, 2, 4, 6):
            nn.init.uniform_(bam.spatial[position].weight, 0.01, 0.1)
            nn.init.zeros_(bam.spatial[position].bias)
        bam(y)[0, 0, 16, 16].backward()
        seen = y.grad[0].abs().sum(0).nonzero()
        assert seen.min(0).values.tolist() == [8, 8]
        assert seen.max(0).values.tolist() == [24, 24]


class TestAttentionLayers:
    def test_gradients_are_right_in_double_precision(self, layer):
        y = torch.randn(2, 6, 8, 8, dtype=torch.float64, requires_grad=True)
        weights = [weight.double().detach().requires_grad_() for weight in layer.parameters()]
        names = [name for name, _ in layer.named_parameters()]

        def call(y, *weights):
            return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (y,))

        assert torch.autograd.gradcheck(call, (y, *weights), fast_mode=True)

    def test_channels_last_gives_the_same_values_and_stays_so(self, layer):
        y = torch.randn(3, 6, 8, 8)
        found = layer.to(memory_format=torch.channels_last)(y.to(memory_format=torch.channels_last))
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found, layer.to(memory_format=torch.contiguous_format)(y))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_autocast_keeps_the_precision_of_the_map(self, layer, dtype):
        y = torch.randn(3, 6, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(y.to(dtype))
        assert found.dtype is dtype
        torch.testing.assert_close(found.float(), layer(y), rtol=0.03, atol=0.03)

    def test_weights_are_made_where_and_in_what_precision_they_are_asked_for(self):
        for kind in (STAC, SqueezeExcitation, BAM):
            weights = list(kind(4, device="meta", dtype=torch.bfloat16).parameters())
            assert {(weight.device.type, weight.dtype) for weight in weights} == {("meta", torch.bfloat16)}

    @pytest.mark.parametrize("kind", [STAC, SqueezeExcitation, BAM])
    def test_channel_counts_and_reductions_that_leave_nothing_are_refused(self, kind):
        for channels in (0, -3):
            with pytest.raises(ValueError, match=f"channels must be at least 1, not {channels}"):
                kind(channels)
        with pytest.raises(TypeError, match=r"channels must be an integer of at least 1, not 16\.0"):
            kind(16.0)
        with pytest.raises(ValueError, match="reduction must be at least 1, not 0"):
            kind(8, reduction=0)
        with pytest.raises(ValueError, match="reduction 9 leaves none of 8 channels; use a reduction from 1 to 8"):
            kind(8, reduction=9)

    @pytest.mark.parametrize(
        ("kind", "count"),
        [
            (lambda: STAC(64), 18 * 64**2 + 2 * 64),
            (lambda: STAC(64, kernels=(3, 1), reduction=4), 10 * 64 * 16 + 64 + 16),
            (lambda: SqueezeExcitation(64, 16), 2 * 64 * 4 + 64 + 4),
            (lambda: BAM(64, 4), 3 * 64 * 16 + 18 * 16**2 + 5 * 16 + 64 + 1),
        ],
    )
    def test_parameters_are_as_the_docstrings_say(self, kind, count):
        assert sum(weight.numel() for weight in kind().parameters()) == count
