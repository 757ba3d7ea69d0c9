"""Networks and layers of the thesis, and its attention for other networks."""

from rra_monitor.nn.bam import BAM
from rra_monitor.nn.cost import Cost, network_cost
from rra_monitor.nn.insert import insert_attention
from rra_monitor.nn.resnet import ResNet, resnet20, resnet34
from rra_monitor.nn.squeeze_excitation import SqueezeExcitation
from rra_monitor.nn.stac import STAC

__all__ = [
    "BAM",
    "STAC",
    "Cost",
    "ResNet",
    "SqueezeExcitation",
    "insert_attention",
    "network_cost",
    "resnet20",
    "resnet34",
]
