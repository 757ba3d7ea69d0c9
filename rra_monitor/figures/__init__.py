"""Pictures of snapshots with matplotlib: curves over the layers, heatmaps of NNLS, the ratios behind the ID."""

from rra_monitor.figures.ratios import ratios_figure
from rra_monitor.figures.snapshot import curves_figure, montage, nnls_figure, views_figure

__all__ = ["curves_figure", "montage", "nnls_figure", "ratios_figure", "views_figure"]
