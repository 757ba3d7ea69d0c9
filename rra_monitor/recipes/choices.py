"""What the thesis does not print and a training needs, each with its reason; what it prints is in the catalogue.

What concerns the data (normalisation, the subset of ImageNet64x64, sizes of probes) stands in `rra_monitor/datasets`.

Two choices are in the code of the networks that they shape; both follow the thesis's printed counts (docs/networks.md):

- the reduction of BAM is 1, which alone gives the printed parameters, not the text's 4: `nn/bam.py`;
- sqrt(2) times the channels is truncated in the first stage, then doubled, nearest to them: `recipes/networks.py`.
"""

from rra_monitor.recipes.augment import Augmentation, Blur, ColourJitter, Flip, Greyscale, Rotate, Translate

BATCH = 128
"""Of chapter 4, where none is printed: that of chapter 7 for the same network and data."""

MOMENTUM = 0.9
"""Printed in 4.1; taken for chapter 7, too, which prints none."""

WEIGHT_DECAY = 5e-4
"""Printed nowhere; the usual value for these networks on CIFAR-10. `--weight-decay 0` is the other value to try."""

LAST_RATE = 0.01
"""The cosine ends at this fraction of the base rate: printed in 4.1, taken for chapter 7."""

WARM_UP = 0.1
"""Fraction of the training with a linear warm-up: 10 of 100 epochs in 4.1; as much of the 40 epochs of chapter 7.

Rates change with every step, from base / steps on, so that the schedule is the same for any number of epochs.
"""

TRANSLATE = Translate(pixels=4)
"""Table 4.2 prints 4 pixels; 7.2 calls it crops, so it is the usual padding and random crop, at 64 pixels as at 32."""

FLIP = Flip(probability=0.5)
"""Table 4.2."""

ROTATE = Rotate(degrees=15.0)
"""Table 4.2. Nearest pixel and black corners, which are torchvision's defaults."""

COLOUR = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, probability=0.8)
"""Table 4.2, whose four rows carry 80 % each: read as one joint draw, as in self-supervised recipes with this list."""

GREYSCALE = Greyscale(probability=0.2)
"""Table 4.2."""

BLUR = Blur(kernel=3, sigma=(0.1, 2.0), probability=0.5)
"""Table 4.2 prints sigma alone; kernel (a tenth of 32 pixels) and probability are those of the same recipes."""

AUGMENTATIONS: dict[str, Augmentation] = {
    "translate": TRANSLATE,
    "flip": FLIP,
    "rotate": ROTATE,
    "colour": COLOUR,
    "greyscale": GREYSCALE,
    "blur": BLUR,
}
"""By name, in the order in which they are applied: that of Table 4.2, since none is printed."""


SAMPLE_SEED = 0
"""Seed of the draw of the probes: the same for all seeds of a recipe, so that their runs can be compared."""

SHORT_EPOCHS, SHORT_RATE = 8, 0.1
"""The schedule of `--short`: one cycle (Smith 2018) of 8 epochs up to this rate; about 15 minutes on two CPU cores."""

ABLATION_RATE = 0.1
"""Learning rate of ResNet20 on CIFAR-10 in 7.3: its text refers to the training of 4.1 (0.01), but its base and STAC
rows (89.9 and 90.6 %) are those of Table 7.1, trained with 0.1. For ImageNet64x64-50 both readings give 0.01."""
