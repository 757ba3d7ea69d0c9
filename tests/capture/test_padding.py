"""Which tokens are a sample's own, and layers whose number of tokens differs between batches."""

import pytest
import torch
from torch import nn

import rra_monitor as rra
from rra_monitor.capture.layers import LayerNameError
from rra_monitor.capture.padding import trial_positions, valid_tokens

GENERATOR = torch.Generator().manual_seed(0)
LENGTHS = torch.randint(3, 11, (60,), generator=GENERATOR)
VALID = torch.arange(10) < LENGTHS[:, None]
TEXTS = torch.randn(60, 10, 6, generator=GENERATOR) * VALID[..., None]
NUMBERS = torch.randint(1, 20, (60, 10), generator=GENERATOR) * VALID


class Trimming(nn.Module):
    """Cuts a batch to its longest sample, as many networks of texts do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.conv, self.head = nn.Linear(6, 8), nn.Conv1d(8, 4, 1), nn.Linear(4, 3)

    def forward(self, texts, valid):
        part = valid.any(0)
        maps = self.conv(self.layer(texts[:, part]).transpose(1, 2))
        return self.head((maps * valid[:, None, part]).sum(2) / valid.sum(1, keepdim=True))


WAYS = {
    "a mask by name": ({"x": TEXTS, "attention_mask": VALID.long()}, lambda batch: batch["attention_mask"].bool()),
    "a padding mask by name": ({"x": TEXTS, "src_key_padding_mask": ~VALID}, lambda b: ~b["src_key_padding_mask"]),
    "a mask without a name": ((TEXTS, VALID), lambda batch: batch[1]),
    "a padding mask without a name": ((TEXTS, ~VALID), lambda batch: ~batch[1]),
    "lengths": ((TEXTS, LENGTHS), lambda batch: torch.arange(10) < batch[1][:, None]),
    "a mask of padding before the tokens": ((TEXTS.flip(1), VALID.flip(1)), lambda batch: batch[1]),
}


@pytest.mark.parametrize("way", WAYS)
def test_layers_of_varying_length_give_the_mean_over_the_samples_own_tokens(way):
    inputs, valid = WAYS[way]
    network = Trimming()

    def forward(model, batch):
        return model(batch["x"] if isinstance(batch, dict) else batch[0], valid(batch))

    found = dict(rra.iter_features(network, rra.FixedSample.from_tensors(inputs), forward=forward, batch_size=8))
    assert list(found) == ["layer", "conv", "head"]
    with torch.no_grad():
        hidden = network.layer(TEXTS)
        maps = network.conv(hidden.transpose(1, 2)).transpose(1, 2)
    for name, values in (("layer", hidden), ("conv", maps)):
        own = torch.stack([row[:length].mean(0) for row, length in zip(values, LENGTHS.tolist(), strict=True)])
        torch.testing.assert_close(found[name], own)


class OfKeyword(nn.Module):
    """A block that is told of padding by a keyword, of a batch that holds token numbers alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, numbers):
        numbers = numbers[:, : int((numbers != 0).sum(1).max())]
        hidden = self.block(self.embed(numbers), src_key_padding_mask=numbers == 0)
        return self.head(hidden[:, 0])


def test_a_keyword_of_the_call_tells_the_padding_and_what_has_none_is_named():
    network, sample = OfKeyword(), rra.FixedSample.from_tensors(NUMBERS)
    with pytest.warns(UserWarning, match=r"not measured: 'embed' returns another shape in other batches.*one length"):
        found = dict(rra.iter_features(network, sample, batch_size=8))
    assert {name: tuple(values.shape) for name, values in found.items()} == {"block": (60, 16), "head": (60, 3)}
    with torch.no_grad():
        # Batches cut to another length differ in the last bits.
        hidden = network.eval().block(network.embed(NUMBERS), src_key_padding_mask=NUMBERS == 0)
    own = torch.stack([row[:length].mean(0) for row, length in zip(hidden, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(found["block"], own, rtol=1e-4, atol=1e-5)
    with pytest.raises(LayerNameError, match="'embed' cannot be watched: it returns another shape in other batches"):
        dict(rra.iter_features(network, sample, ["embed"], batch_size=8))


def test_a_length_that_shows_in_a_later_batch_alone_is_named_with_its_layer():
    network = nn.Sequential(nn.Linear(6, 8))

    def forward(model, batch):
        return model(batch[:, : 10 if len(batch) < 8 else 9])

    sample = rra.FixedSample.from_tensors(torch.randn(60, 10, 6, generator=GENERATOR))
    with pytest.raises(RuntimeError, match=r"'0' cannot be measured: .* \(10, 8\) and \(9, 8\)\); pad all samples"):
        dict(rra.iter_features(network, sample, ["0"], forward=forward, batch_size=8))


class TestValidTokens:
    def test_padding_to_a_multiple_leaves_the_side_to_the_name(self):
        valid = torch.arange(16) < torch.tensor([3, 10, 12])[:, None]
        assert torch.equal(valid_tokens({"attention_mask": valid}, 3, 16), valid)
        assert torch.equal(valid_tokens({"padding_mask": ~valid}, 3, 16), valid)
        assert valid_tokens({"mask": valid}, 3, 16) is None

    def test_a_mask_without_padding_holds_every_token(self):
        for mask in (torch.ones(3, 7), torch.zeros(3, 7)):
            assert valid_tokens((torch.rand(3, 7, 2), mask), 3, 7).all()

    def test_what_is_no_mask_of_these_tokens_is_passed_over(self):
        valid = torch.arange(10) < torch.tensor([3, 10, 6])[:, None]
        assert valid_tokens({"mask": valid}, 3, 9) is None
        assert valid_tokens({"mask": valid}, 3, 11) is None
        assert valid_tokens({"mask": valid}, 4, 10) is None
        assert valid_tokens({"classes": torch.tensor([2, 0, 1])}, 3, 10) is None


@pytest.mark.parametrize(
    "inputs",
    [VALID, ~VALID, NUMBERS, NUMBERS.flip(1), LENGTHS, {"x": TEXTS}],
    ids=["mask", "padding mask", "numbers", "numbers padded before", "lengths", "zeros"],
)
def test_trial_batches_have_the_longest_and_the_shortest_samples(inputs):
    larger, smaller = trial_positions(inputs, 60, 5)
    assert (len(larger), len(smaller)) == (5, 3)
    extremes = {int(LENGTHS[larger].max()), int(LENGTHS[smaller].max())}
    assert int(LENGTHS.max()) in extremes
    assert min(extremes) <= 5


def test_trial_batches_of_other_data_are_the_first_samples():
    assert trial_positions(torch.rand(60, 3, 8, 8), 60, 5) == ([0, 1, 2, 3, 4], [0, 1, 2])
