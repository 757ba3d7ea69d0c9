"""TensorBoard: the sink that logs to it, and the plugin with the tab RRA."""

PLUGIN = "rra"
"""The name of the plugin and its data in TensorBoard."""
