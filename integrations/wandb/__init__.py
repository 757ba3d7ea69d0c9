"""Weights & Biases: records as charts, pictures and a table, references from artifacts."""

from rra_monitor.integrations.wandb.references import reference_path
from rra_monitor.integrations.wandb.sink import WandbSink

__all__ = ["WandbSink", "reference_path"]
