import random

import numpy as np
import pytest
import torch
from torch import nn

import rra_monitor as rra
from tests.helpers.digit_runs import LAYERS, network, overlap


@pytest.fixture(scope="module")
def trained(digits):
    """A small network after eight epochs on digits."""
    images, labels = digits
    torch.manual_seed(0)
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(8):
        for batch in torch.randperm(1400).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    return net


def noise(images):
    return images + 0.2 * torch.randn_like(images)


def found(net, sample, **variants):
    return rra.invariance(net, sample, variants, layers=LAYERS, k=6)


def test_the_identity_changes_no_layer(trained, sample):
    assert found(trained, sample, same=lambda images: images)["same"].nnls.tolist() == [1.0] * 4


def test_noise_changes_the_neighbours_at_the_input(trained, sample):
    noisy = found(trained, sample, noise=noise)["noise"]
    assert noisy.layers == LAYERS
    assert noisy.chance < noisy.nnls[0] < 0.8


def test_more_noise_changes_more(trained, sample):
    both = found(trained, sample, little=lambda x: x + 0.02 * torch.randn_like(x), much=noise)
    assert list(both) == ["little", "much"]
    assert (both["little"].nnls > both["much"].nnls).all()


def test_a_network_that_ignores_the_change_is_invariant_from_there_on(sample):
    torch.manual_seed(0)
    blind = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    with torch.no_grad():
        blind[1].weight[:, :32] = 0

    def upper_half(images):
        images[:, :, :4] += torch.rand_like(images[:, :, :4])
        return images

    hidden = rra.invariance(blind, sample, {"upper half": upper_half}, layers=["input", "1", "3"])["upper half"]
    assert hidden.nnls[0] < 0.9
    assert hidden.nnls[1:].tolist() == [1.0, 1.0]
    assert hidden.onset() == "1"


def test_a_change_that_keeps_every_distance_is_none_from_the_input_on(sample):
    flat = nn.Sequential(nn.Flatten(), nn.ReLU())
    assert rra.invariance(flat, sample, {"mirror": lambda images: images.flip(-1)})["mirror"].onset() == "input"


def test_no_layer_is_named_where_the_last_one_changes(trained, sample):
    assert found(trained, sample, noise=noise)["noise"].onset(least=0.999) is None


def test_the_values_are_overlaps_of_the_two_graphs(trained, sample):
    noisy = found(trained, sample, noise=noise)["noise"]
    clean = rra.Monitor({"s": sample}, layers=LAYERS, k=6).measure(trained, step=0, epoch=0)["s"]
    for layer, value in zip(noisy.layers, noisy.nnls, strict=True):
        assert value == pytest.approx(overlap(clean.graphs[layer], noisy.snapshot.graphs[layer]))


def test_one_seed_gives_one_result_whatever_stands_beside_it(trained, sample):
    alone = found(trained, sample, noise=noise)["noise"].nnls
    beside = found(trained, sample, other=noise, noise=noise)
    assert beside["noise"].nnls.tolist() == beside["other"].nnls.tolist() == alone.tolist()
    other = rra.invariance(trained, sample, {"noise": noise}, seed=1, layers=LAYERS, k=6)["noise"].nnls
    assert other.tolist() != alone.tolist()


def test_an_attack_is_a_variant_and_leaves_no_gradient(trained, sample):
    def attack(images):
        images.requires_grad_()
        logits = trained(images)
        nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
        return images + 0.1 * images.grad.sign()

    trained.zero_grad()
    attacked = found(trained, sample, attack=attack)["attack"]
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert attacked.nnls[0] < 1
    # Its aim: a class similarity below that of noise of the same size.
    noisy = found(trained, sample, noise=lambda x: x + 0.1 * torch.randn_like(x).sign())["noise"]
    assert attacked.snapshot.nncs[-1] < noisy.snapshot.nncs[-1]


def test_network_random_streams_and_inputs_are_left_as_they_were(small_net, sample):
    small_net(sample.read(range(8))).sum().backward()
    small_net[1].eval()
    before = {name: value.clone() for name, value in small_net.state_dict().items()}
    gradients = [parameter.grad for parameter in small_net.parameters()]
    values = [gradient.clone() for gradient in gradients]
    flags = [module.training for module in small_net.modules()]
    inputs = sample.read(range(8)).clone()
    streams = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    def greedy(images):
        small_net(images).sum().backward()
        random.random(), np.random.rand()
        return images.add_(torch.rand_like(images))

    rra.invariance(small_net, sample, {"greedy": greedy}, k=4)
    assert all(torch.equal(value, before[name]) for name, value in small_net.state_dict().items())
    assert all(p.grad is kept for p, kept in zip(small_net.parameters(), gradients, strict=True))
    assert all(torch.equal(kept, value) for kept, value in zip(gradients, values, strict=True))
    assert [module.training for module in small_net.modules()] == flags
    assert torch.equal(sample.read(range(8)), inputs)
    assert streams == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert torch.is_grad_enabled()


def test_another_size_of_the_images_is_a_variant(sample):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    larger = rra.invariance(net, sample, {"twice": lambda x: nn.functional.interpolate(x, scale_factor=2.0)})["twice"]
    # Every pixel four times: every distance twice.
    assert larger.nnls[0] == 1.0


def test_inputs_of_several_tensors_keep_their_nesting(digits):
    images, labels = digits
    pair = {"image": images[:60], "scale": torch.ones(60, 1)}
    sample = rra.FixedSample.from_tensors(pair, labels[:60])
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    same = rra.invariance(
        net,
        sample,
        {"dimmer": lambda batch: {**batch, "scale": batch["scale"] / 2}},
        layers=["1"],
        forward=lambda model, batch: model(batch["image"] * batch["scale"][:, :, None, None]),
    )
    assert same["dimmer"].layers == ("1",)
    assert same["dimmer"].nnls[0] > 0.99


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        (lambda images: images[:3], "variant 'bad': it returned shapes .* for .* inputs; return one row per input"),
        (lambda images: None, "variant 'bad': it returned NoneType without a tensor"),
        (lambda images: images / 0, "variant 'bad': layer 'input'"),
    ],
)
def test_a_variant_that_does_not_fit_is_named(trained, sample, variant, text):
    with pytest.raises(ValueError, match=text):
        found(trained, sample, bad=variant)


def test_no_variants_is_an_error(trained, sample):
    with pytest.raises(ValueError, match="variants is empty"):
        rra.invariance(trained, sample, {})
