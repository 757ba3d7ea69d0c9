"""The entry point of TensorBoard's plugin RRA. Nothing heavy is loaded here, and nothing here may fail.

TensorBoard does not start when the module of an entry point cannot be imported, for whatever reason. So everything
that could fail lies in other modules, and the tab says what did.
"""

import traceback
from typing import Any

from tensorboard.plugins import base_plugin

from rra_monitor.integrations.tensorboard import PLUGIN
from rra_monitor.integrations.tensorboard.broken import BrokenTab


class RRALoader(base_plugin.TBLoader):  # type: ignore[misc]
    """Loads the tab, or one that tells why there is none."""

    def fix_flags(self, flags: Any) -> None:
        """Keep every step: TensorBoard keeps 10 or 100 tensors of a tag unless it is told another number."""
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
