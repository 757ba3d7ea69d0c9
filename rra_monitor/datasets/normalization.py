"""Mean and standard deviation of the channels, for the normalisation of images."""

from collections.abc import Sequence

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel."""

CIFAR10_NORMALIZATION: Normalization = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET_NORMALIZATION: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel in 0 to 1, for the normalisation of inputs. The thesis does not state
them; these are the usual ones of the training images. Those of ImageNet, at full size, are used for 64 pixels, too."""
