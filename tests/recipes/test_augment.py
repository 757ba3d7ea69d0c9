"""Every augmentation against torchvision's: the same image for the same parameters, the same distribution of images."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from rra_monitor.recipes.augment import augmented, blurred, cropped, rotated, uniform_numbers
from rra_monitor.recipes.choices import AUGMENTATIONS, BLUR, COLOUR, FLIP, GREYSCALE, ROTATE, TRANSLATE
from rra_monitor.recipes.colour import grey, hue_shifted, jittered

COPIES = 3000
BLENDS = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)

# Written out once more from Table 4.2, not taken from the recipes.
TORCHVISION = {
    "translate": v2.RandomCrop(32, padding=4),
    "flip": v2.RandomHorizontalFlip(0.5),
    "rotate": v2.RandomRotation(15),
    "colour": v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
    "greyscale": v2.RandomGrayscale(0.2),
    "blur": v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.5),
}


def uniforms(n, one, seed=0):
    return torch.from_numpy(uniform_numbers(seed, 0, 0, n, [one]))


@pytest.fixture(scope="module")
def images():
    """Smooth colours with noise, (20, 3, 32, 32): unlike under every shift, turn and change of colour."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 32, mode="bicubic", align_corners=False)
    return (smooth + 0.1 * torch.rand(20, 3, 32, 32, generator=generator)).clamp(0, 1)


def test_crops_are_torchvisions(images):
    corners = torch.tensor([[row, column] for row in (0, 3, 4, 8) for column in (0, 1, 4, 5, 8)])
    expected = [
        functional.crop(functional.pad(image, [4]), row, column, 32, 32)
        for image, (row, column) in zip(images, corners.tolist(), strict=True)
    ]
    assert torch.equal(cropped(images, corners, 4), torch.stack(expected))


@pytest.mark.parametrize("shape", [(32, 32), (20, 28)])
def test_rotations_are_torchvisions(images, shape):
    images = images[..., : shape[0], : shape[1]]
    angles = torch.linspace(-15, 15, len(images))
    expected = torch.stack(
        [
            functional.rotate(image, angle, InterpolationMode.NEAREST)
            for image, angle in zip(images, angles.tolist(), strict=True)
        ]
    )
    # A pixel's centre may lie between two pixels, where rounding decides.
    assert (rotated(images, angles) != expected).float().mean() < 1e-3


def test_grey_is_torchvisions(images):
    torch.testing.assert_close(grey(images), functional.rgb_to_grayscale(images), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", [3, 5])
def test_blurs_are_torchvisions(images, kernel):
    sigma = torch.linspace(0.1, 2.0, len(images))
    expected = [
        functional.gaussian_blur(image, [kernel] * 2, [width] * 2)
        for image, width in zip(images, sigma.tolist(), strict=True)
    ]
    torch.testing.assert_close(blurred(images, sigma, kernel), torch.stack(expected), atol=1e-5, rtol=0)


def test_shifts_of_the_hue_are_torchvisions(images):
    shift = torch.linspace(-0.5, 0.5, len(images))
    expected = [functional.adjust_hue(image, turn) for image, turn in zip(images, shift.tolist(), strict=True)]
    torch.testing.assert_close(hue_shifted(images, shift), torch.stack(expected), atol=1e-5, rtol=0)


def test_colours_without_a_hue_keep_what_they_have():
    greys = torch.linspace(0, 1, 11)[:, None, None, None].expand(11, 3, 2, 2)
    torch.testing.assert_close(hue_shifted(greys, torch.linspace(-0.5, 0.5, 11)), greys)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("place", range(4))
def test_changes_of_colour_are_torchvisions_in_every_order(images, order, place):
    factors = [[0.7, 1.3, 0.9], [1.4, 0.6, 1.2]]
    shifts = [-0.08, 0.05]
    expected = []
    for image, three, shift in zip(images, factors, shifts, strict=False):
        for turn in range(4):
            if turn == place:
                image = functional.adjust_hue(image, shift)
            if turn < 3:
                image = BLENDS[order[turn]](image, three[order[turn]])
        expected.append(image)
    found = jittered(
        images[:2], torch.tensor(factors), torch.tensor(shifts), torch.tensor([order] * 2), torch.tensor([place] * 2)
    )
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_are_distributed_as_torchvisions(images, name):
    """Two-sample tests of ten numbers of each image, of 3,000 images by each; a probability off by 0.1 is seen."""
    copies = images[:1].expand(COPIES, -1, -1, -1)
    torch.manual_seed(1)
    theirs = torch.stack([TORCHVISION[name](image) for image in copies])
    ours = AUGMENTATIONS[name](copies, uniforms(COPIES, AUGMENTATIONS[name]))
    directions = torch.randn(10, 3 * 32 * 32, generator=torch.Generator().manual_seed(2))
    for mine, other in zip((ours.flatten(1) @ directions.T).T, (theirs.flatten(1) @ directions.T).T, strict=True):
        # What was left alone is the same image, but not to the last bit in the sum of its numbers.
        assert ks_2samp(mine.round(decimals=3), other.round(decimals=3)).pvalue > 1e-4


def test_every_corner_of_a_crop_is_as_likely():
    place = torch.zeros(1, 1, 32, 32)
    place[0, 0, 16, 16] = 1
    found = TRANSLATE(place.expand(8100, -1, -1, -1), uniforms(8100, TRANSLATE)).flatten(1).argmax(1)
    rows, columns = found // 32 - 12, found % 32 - 12
    counts = np.bincount(9 * rows + columns, minlength=81)
    assert len(counts) == 81
    assert chisquare(counts).pvalue > 1e-4


def test_every_order_of_the_changes_of_colour_is_as_likely():
    _, _, order, place = COLOUR.parameters(uniforms(9600, COLOUR))
    counts = np.bincount((4 * (9 * order[:, 0] + 3 * order[:, 1] + order[:, 2]) + place).long())
    assert (counts > 0).sum() == 24
    assert chisquare(counts[counts > 0]).pvalue > 1e-4


def test_factors_are_uniform_between_the_tables_bounds():
    factors, shift, _, _ = COLOUR.parameters(uniforms(10_000, COLOUR))
    bounds = [(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]
    for values, (low, high) in zip([*factors.T, shift], bounds, strict=True):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


@pytest.mark.parametrize(("one", "probability"), [(FLIP, 0.5), (COLOUR, 0.8), (GREYSCALE, 0.2), (BLUR, 0.5)])
def test_as_many_images_are_changed_as_the_table_says(images, one, probability):
    copies = images[:1].expand(4000, -1, -1, -1)
    changed = (one(copies, uniforms(4000, one)) != copies).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 4000))


def test_images_of_one_batch_are_changed_independently(images):
    """No two of 64 copies come out alike, and their parameters are not correlated."""
    everything = tuple(AUGMENTATIONS.values())
    numbers = uniform_numbers(0, 0, 0, 4096, everything)
    found = augmented(images[:1].expand(64, -1, -1, -1), torch.from_numpy(numbers[:64]), everything)
    assert len(torch.unique(found.flatten(1), dim=0)) == 64
    correlations = np.corrcoef(numbers.T) - np.eye(numbers.shape[1])
    assert np.abs(correlations).max() < 5 / math.sqrt(4096)
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 5 / math.sqrt(4096)


def test_images_stay_in_their_range_and_global_streams_alone(images):
    before = torch.get_rng_state()
    everything = tuple(AUGMENTATIONS.values())
    found = augmented(images, torch.from_numpy(uniform_numbers(3, 1, 2, len(images), everything)), everything)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert torch.equal(torch.get_rng_state(), before)


def test_randomness_is_of_seed_epoch_and_step():
    everything = tuple(AUGMENTATIONS.values())
    numbers = {
        where: uniform_numbers(*where, 8, everything).tobytes() for where in itertools.product(range(3), repeat=3)
    }
    assert len(set(numbers.values())) == 27
    assert uniform_numbers(1, 2, 0, 8, everything).tobytes() == numbers[1, 2, 0]


def test_angles_are_uniform_to_fifteen_degrees():
    image = torch.linspace(0, 1, 401).expand(1, 1, 401, 401)
    found = ROTATE(image.expand(300, -1, -1, -1), uniforms(300, ROTATE))
    # Along the vertical line through the centre a horizontal ramp grows by the sine of the angle.
    sines = (found[:, 0, 300, 200] - found[:, 0, 100, 200]) * 400 / 200
    assert kstest(torch.rad2deg(torch.asin(sines)), "uniform", (-15, 30)).pvalue > 1e-3
