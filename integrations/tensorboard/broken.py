"""The tab for a plugin that cannot be loaded: it shows the reason."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from tensorboard.plugins import base_plugin

from rra_monitor.integrations.tensorboard import PLUGIN


class BrokenTab(base_plugin.TBPlugin):  # type: ignore[misc]
    """A tab with one sentence.

    Args:
        reason: reason why the plugin cannot be loaded.
    """

    plugin_name = PLUGIN

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def get_plugin_apps(self) -> dict[str, Any]:
        """The script that writes the sentence."""
        return {"/tensorboard.js": self._script}

    def is_active(self) -> bool:
        """Always true, so that the reason is seen."""
        return True

    def frontend_metadata(self) -> Any:
        """The tab's name and its script."""
        return metadata()

    def _script(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        text = f"The RRA tab cannot be shown. {self._reason}"
        script = (
            "export function render() {\n"
            '  const message = document.createElement("p");\n'
            f"  message.textContent = {json.dumps(text)};\n"
            '  message.style.cssText = "font: 15px sans-serif; padding: 2em; background: white; color: black";\n'
            "  document.body.append(message);\n"
            "}\n"
        )
        headers = [("Content-Type", "text/javascript; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        start_response("200 OK", headers)
        return [script.encode()]


def metadata() -> Any:
    """The name of the tab and its module, for TensorBoard."""
    return base_plugin.FrontendMetadata(es_module_path="/tensorboard.js", tab_name="RRA")
