"""The files of the front end: our modules and style in `static/`, and plotly's bundle from the installed package.

Imports neither plotly nor anything else that is slow to import, since TensorBoard loads its plugins at start.
"""

import importlib.util
from pathlib import Path

STATIC = Path(__file__).with_name("static")
PLOTLY = "plotly.min.js"
"""The name under which the front end asks for plotly."""


def static_files() -> dict[str, Path]:
    """Name to file of our modules and the style sheet, without plotly."""
    return {path.name: path for path in sorted(STATIC.iterdir()) if path.suffix in (".js", ".css")}


def plotly_bundle() -> Path:
    """The bundle of plotly.js within the installed package plotly.

    Raises:
        ValueError: plotly is not installed, or its bundle is not in the expected place.
    """
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the page draws with plotly, which is not installed here; pip install 'rra-monitor[report,tensorboard]'"
        )
    bundle = Path(spec.origin).parent / "package_data" / PLOTLY
    if not bundle.exists():
        raise ValueError(f"{bundle} does not exist, though plotly is installed; install it again")
    return bundle
