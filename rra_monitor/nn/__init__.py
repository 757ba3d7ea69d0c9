"""Networks and layers of the thesis."""

from rra_monitor.nn.resnet import ResNet, resnet20

__all__ = ["ResNet", "resnet20"]
