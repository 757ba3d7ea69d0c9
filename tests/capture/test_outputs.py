"""Outputs that are no plain tensors of one row per sample are measured rightly, or left out with the reason."""

import warnings
from dataclasses import dataclass

import pytest
import torch
import torch.ao.quantization as quantization
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rra_monitor as rra
from rra_monitor.capture.features import CallError, find_layers
from rra_monitor.capture.layers import LayerNameError
from rra_monitor.capture.passes import grouped

GENERATOR = torch.Generator().manual_seed(0)
FLAT = torch.randn(40, 12, generator=GENERATOR)
LENGTHS = torch.randint(3, 11, (40,), generator=GENERATOR)
TOKENS = torch.arange(10) < LENGTHS[:, None]
TEXTS = torch.randn(40, 10, 6, generator=GENERATOR) * TOKENS[..., None]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*prototype"),
    pytest.mark.filterwarnings("ignore:.*beta state"),
    pytest.mark.filterwarnings("ignore:.*sparse CSR"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@dataclass
class Fields:
    """What a module of a user's own may return."""

    hidden: torch.Tensor
    step: int = 0


def features(network, inputs=FLAT, layers=("1",), batch_size=16, **options):
    torch.manual_seed(0)
    sample = rra.FixedSample.from_tensors(inputs)
    return dict(rra.iter_features(network, sample, layers, batch_size=batch_size, **options))


def between(function, back=lambda h: h, width=8):
    """A network in which a function stands between two layers; what it returns is layer 1."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, width), Function(function), Function(back), nn.Linear(width, 3))


def hidden(network, inputs=FLAT):
    with torch.no_grad():
        return network[0](inputs)


@pytest.mark.parametrize("form", ["to_sparse", "to_sparse_csr", "to_mkldnn"])
def test_sparse_outputs_are_measured_densely(form):
    network = between(lambda h: getattr(h.relu(), form)(), lambda h: h.to_dense())
    torch.testing.assert_close(features(network)["1"], hidden(network).relu())


def test_data_classes_are_looked_into_as_tuples_are():
    network = between(Fields, lambda fields: fields.hidden)
    torch.testing.assert_close(features(network)["1"], hidden(network))


def test_masked_tensors_are_left_out_with_the_remedy():
    network = between(lambda h: torch.masked.masked_tensor(h, h > 0), lambda masked: masked.to_tensor(0.0))
    with pytest.raises(LayerNameError, match="it returns a masked tensor; let it return a plain one"):
        features(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(features(network, layers="auto")) == ["input", "2", "3"]


class TestComplex:
    def test_distances_are_those_of_the_complex_numbers(self):
        network = between(torch.fft.fft, torch.abs)
        found = features(network)["1"]
        assert found.dtype is torch.float32
        theirs = torch.fft.fft(hidden(network))
        torch.testing.assert_close(
            torch.cdist(found.flatten(1), found.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"),
            (theirs[:, None] - theirs[None]).abs().square().sum(-1).sqrt(),
        )

    def test_a_view_pools_positions_and_not_the_parts(self):
        network = nn.Sequential(nn.Conv1d(6, 8, 3), Function(lambda h: torch.fft.fft(h)), Function(torch.abs))
        inputs = TEXTS.transpose(1, 2).contiguous()
        found = features(network, inputs, views=["full", "avg2", "avg-global"])
        theirs = torch.fft.fft(hidden(network, inputs))
        assert found["1"].shape == (40, 8, 8, 2)
        torch.testing.assert_close(torch.view_as_complex(found["1@avg-global"]), theirs.mean(-1))
        torch.testing.assert_close(torch.view_as_complex(found["1@avg2"]), theirs.unflatten(-1, (4, 2)).mean(-1))

    def test_the_memory_of_both_parts_is_counted(self):
        network, sample = between(torch.fft.fft, torch.abs), rra.FixedSample.from_tensors(FLAT)
        layers = find_layers(network, sample, ["0", "1"])
        assert [layer.dim for layer in layers] == [8, 16]
        assert len(grouped(layers, 40, 4 * 40 * (8 + 16))) == 1
        assert len(grouped(layers, 40, 4 * 40 * (8 + 15))) == 2

    def test_raw_data_are_measured(self):
        signals = torch.fft.fft(FLAT)
        network = nn.Sequential(Function(torch.abs), nn.Linear(12, 3))
        found = features(network, signals, layers=["input"])["input"]
        torch.testing.assert_close(torch.view_as_complex(found), signals)


def test_truth_values_and_bytes_are_measured_as_numbers():
    for function in (lambda h: h > 0, lambda h: (h > 0).to(torch.int8)):
        network = between(function, lambda h: h.float())
        snapshot = rra.Monitor({"p": rra.FixedSample.from_tensors(FLAT)}, layers=["1"], k=3).measure(
            network, step=0, epoch=0
        )["p"]
        ours = features(network)["1"]
        assert (ours.float() == (hidden(network) > 0).float()).all()
        assert snapshot.graphs["1"].n == 40


def test_class_numbers_have_no_distances():
    class Codes(nn.Linear):
        def forward(self, x):
            return super().forward(x).argmax(1)

    network = nn.Sequential(nn.Linear(12, 8), Codes(8, 8), nn.Embedding(8, 4))
    with pytest.warns(UserWarning, match=r"not measured: '1' returns whole numbers.*\(torch.int64\)"):
        assert list(features(network, layers="auto")) == ["input", "0", "2"]
    with pytest.raises(LayerNameError, match="'1' cannot be watched: it returns whole numbers"):
        features(network, layers=["0", "1"])


def test_a_loss_before_the_output_is_passed_over():
    network = between(lambda h: (h.square().mean(), h), lambda both: both[1])
    assert torch.equal(features(network)["1"], hidden(network))


class TestTokensOfASample:
    """Outputs that know the length of each sample give the mean over its own tokens."""

    class Nested(nn.Module):
        def __init__(self, layout):
            super().__init__()
            self.layout, self.layer = layout, nn.Linear(6, 8)

        def forward(self, texts, lengths):
            parts = [text[:length] for text, length in zip(texts, lengths.tolist(), strict=True)]
            return self.layer(torch.nested.nested_tensor(parts, layout=self.layout))

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.layer = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, texts, lengths):
            packed = pack_padded_sequence(texts, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.layer(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])

    @staticmethod
    def mean(values):
        return torch.stack([row[:length].mean(0) for row, length in zip(values, LENGTHS.tolist(), strict=True)])

    @pytest.mark.parametrize("layout", [torch.jagged, torch.strided], ids=str)
    def test_of_nested_tensors(self, layout):
        network = self.Nested(layout)
        found = features(network, (TEXTS, LENGTHS), ["layer"], forward=lambda model, batch: model(*batch))["layer"]
        with torch.no_grad():
            torch.testing.assert_close(found, self.mean(network.layer(TEXTS)))

    def test_of_packed_sequences_and_of_what_is_cut_to_the_longest_of_a_batch(self):
        network = self.Packed()
        found = features(network, (TEXTS, LENGTHS), "auto", forward=lambda model, batch: model(*batch))
        with torch.no_grad():
            states = network.rnn(TEXTS)[0]
            torch.testing.assert_close(found["rnn"], self.mean(states))
            torch.testing.assert_close(found["layer"], self.mean(network.layer(states)))

    def test_nested_images_are_refused_with_the_remedy(self):
        images = [torch.rand(3, 4 + index % 3, 5) for index in range(40)]

        def nested(rows):
            return torch.nested.nested_tensor(images[: len(rows)])

        network = nn.Sequential(nn.Linear(12, 4), Function(nested), Function(lambda h: h.to_padded_tensor(0.0)))
        with pytest.raises(LayerNameError, match=r"'1' cannot be watched: it returns a nested tensor.*to_padded_"):
            features(network)


class TestQuantised:
    """A statically quantised network is compared layer by layer with the one it was made of."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv, self.relu, self.fc = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Linear(288, 4)

        def forward(self, x):
            return self.dequant(self.fc(self.relu(self.conv(self.quant(x))).flatten(1)))

    def test_layers_are_near_those_of_the_network_in_floats(self, digits, monkeypatch):
        engines = torch.backends.quantized.supported_engines
        engine = next((each for each in ("fbgemm", "qnnpack") if each in engines), None)
        if engine is None:
            pytest.skip("no engine for quantised networks")
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = engine
        try:
            torch.manual_seed(0)
            network, images = self.Net().eval(), digits[0][:200]
            monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images)}, layers=["conv", "fc"], k=10)
            as_floats = monitor.measure(network, step=0, epoch=0)["p"]
            network.qconfig = quantization.get_default_qconfig(engine)
            prepared = quantization.prepare(network)
            prepared(images)
            quantised = quantization.convert(prepared)
            found = monitor.measure(quantised, step=0, epoch=0)["p"]
            assert found.layers == as_floats.layers == ("conv", "fc")
            for layer in found.layers:
                assert rra.metrics.nnls(as_floats.graphs[layer], found.graphs[layer]) > 0.7
            with torch.no_grad():
                theirs = quantised.conv(quantised.quant(images)).dequantize()
            ours = features(quantised, images, ["conv"], batch_size=64)["conv"]
            assert torch.equal(ours, theirs)
        finally:
            torch.backends.quantized.engine = before


class TestMeta:
    def network(self, forward):
        network = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 3))
        network.add_module("side", nn.Linear(12, 4, device="meta"))
        network.forward = lambda x: forward(network, x)
        return network

    def test_a_network_without_values_is_refused_with_the_remedy(self):
        with pytest.raises(CallError, match=r"'0.weight', '0.bias' hold no values \(meta device\).*to_empty"):
            features(nn.Sequential(nn.Linear(12, 8)).to("meta"), layers=["0"])

    def test_a_part_without_values_that_does_not_run_is_no_obstacle(self):
        found = features(self.network(lambda net, x: net[1](net[0](x))), layers="auto")
        assert list(found) == ["input", "0", "1"]

    def test_a_part_without_values_is_left_out_by_name(self):
        def forward(net, x):
            net.side(x.to("meta"))
            return net[1](net[0](x))

        with pytest.warns(UserWarning, match="not measured: 'side' returns tensors on the meta device"):
            assert list(features(self.network(forward), layers="auto")) == ["input", "0", "1"]


def test_a_lazy_layer_that_does_not_run_is_no_obstacle():
    network = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 3))
    network.add_module("side", nn.LazyLinear(4))
    network.forward = lambda x: network[1](network[0](x))
    assert list(features(network, layers="auto")) == ["input", "0", "1"]
    assert isinstance(network.side.weight, nn.UninitializedParameter)


class TestAxisOfSamples:
    def test_outputs_of_tokens_samples_and_features_are_measured_by_sample(self):
        class Sequence(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.head = nn.GRU(6, 8), nn.Linear(8, 3)

            def forward(self, texts):
                return self.head(self.rnn(texts.transpose(0, 1))[0][-1])

        network = Sequence()
        # As many tokens as the trial batches, and as a batch, have samples.
        for tokens in (3, 5, 10):
            inputs = TEXTS[:, :tokens].contiguous()
            found = features(network, inputs, ["rnn"], batch_size=tokens)["rnn"]
            with torch.no_grad():
                torch.testing.assert_close(found, network.rnn(inputs.transpose(0, 1))[0].transpose(0, 1))

    def test_two_views_in_one_batch_are_named_with_the_remedy(self):
        network = nn.Sequential(nn.Linear(12, 8), nn.ReLU())
        with pytest.raises(ValueError, match=r"'0', '1' return two rows for each sample.*model\(batch\[0\]\)"):
            features(network, (FLAT, FLAT + 1), "auto", forward=lambda model, batch: model(torch.cat(batch)))

    def test_experts_that_get_some_of_the_samples_are_named_once(self):
        class Experts(nn.Module):
            def __init__(self):
                super().__init__()
                self.gate, self.experts = nn.Linear(12, 4), nn.ModuleList(nn.Linear(12, 4) for _ in range(4))
                self.head = nn.Linear(4, 2)

            def forward(self, x):
                out, which = x.new_zeros(len(x), 4), self.gate(x).argmax(1)
                for index, expert in enumerate(self.experts):
                    out[which == index] = expert(x[which == index])
                return self.head(out)

        torch.manual_seed(0)
        monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(FLAT)}, k=3)
        network = Experts()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = [monitor.measure(network, step=step, epoch=step)["p"] for step in range(2)]
        assert [each.layers for each in found] == [("input", "gate", "head")] * 2
        (said,) = [str(one.message) for one in caught if "not measured" in str(one.message)]
        assert "'experts.3' return another number of rows than samples (shape (0, 4) for 5 samples)" in said


class TestPaddedEncoder:
    """`nn.TransformerEncoder` of batches with a padding mask."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.fc = nn.Linear(6, 16), nn.Linear(16, 5)
            block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(block, 2)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, batch):
            texts, valid = batch["x"], batch["valid"]
            hidden = self.encoder(self.embed(texts), src_key_padding_mask=~valid)
            hidden, _ = self.attention(hidden, hidden, hidden, key_padding_mask=~valid, need_weights=False)
            return self.fc((hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True))

    LAYERS = ("embed", "encoder.layers.0", "encoder.layers.1", "encoder", "attention", "fc")

    def test_is_measured_as_with_the_fused_path_off_bit_for_bit(self):
        inputs, network = {"x": TEXTS, "valid": TOKENS}, self.Net()
        found = features(network, inputs, self.LAYERS)
        alone = features(network, inputs, ["fc"])
        assert torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            off = features(network, inputs, self.LAYERS)
            with torch.no_grad():
                theirs = torch.cat([network.eval()({"x": x, "valid": v}) for x, v in zip(*split(), strict=True)])
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert list(found) == list(self.LAYERS)
        assert all(torch.equal(found[layer], off[layer]) for layer in self.LAYERS)
        assert torch.equal(found["fc"], theirs)
        assert torch.equal(found["fc"], alone["fc"])

    def test_snapshot_equals_that_with_the_fused_path_off(self):
        network = self.Net()
        monitor = rra.Monitor({"p": rra.FixedSample.from_tensors({"x": TEXTS, "valid": TOKENS}, LENGTHS % 3)}, k=5)
        found = monitor.measure(network, step=0, epoch=0)["p"]
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            off = monitor.measure(network, step=0, epoch=0)["p"]
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert found.layers == off.layers == ("embed", "encoder.layers.0", "encoder.layers.1", "attention", "fc")
        for layer in found.layers:
            assert (found.graphs[layer].distances == off.graphs[layer].distances).all()
        assert (found.id == off.id).all()
        assert (found.nncs == off.nncs).all()


def split():
    ends = [13, 26]  # as a sample of 40 is cut into batches of up to 16
    return TEXTS.tensor_split(ends), TOKENS.tensor_split(ends)
