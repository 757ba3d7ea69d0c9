"""TensorBoard: what is logged for it, and the plugin RRA, a tab of its own."""

PLUGIN = "rra"
"""The name under which TensorBoard knows the plugin and its data."""
