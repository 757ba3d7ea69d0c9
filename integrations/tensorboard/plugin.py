"""The entry point of TensorBoard's plugin RRA. It loads nothing slow, and it must not fail.

TensorBoard does not start when the module of an entry point cannot be imported, for whatever reason. So everything
that could fail is in other modules, and the tab shows the error.
"""

import traceback
from typing import Any

from tensorboard.plugins import base_plugin

from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.broken import BrokenTab


class RRALoader(base_plugin.TBLoader):  # type: ignore[misc]
    """Loads the tab, or one that shows why it cannot be loaded."""

    def fix_flags(self, flags: Any) -> None:
        """Keep every step: TensorBoard keeps 10 or 100 tensors of a tag unless another number is given."""
        samples = getattr(flags, "samples_per_plugin", None)
        if isinstance(samples, dict):
            samples.setdefault(PLUGIN, 0)  # which means all; the user's own number stands

    def load(self, context: Any) -> Any:
        """The plugin."""
        try:
            from rra_monitor.integrations.tensorboard.tab import Tab

            return Tab(context)
        except Exception as error:
            traceback.print_exc()
            return BrokenTab(f"{type(error).__name__}: {error}")
