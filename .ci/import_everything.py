"""Import every module of the installed wheel."""

import importlib
import pkgutil
from importlib import metadata
from pathlib import Path

import rra_monitor

where = Path(rra_monitor.__file__).resolve()
assert "site-packages" in where.parts, f"imported from {where}, not from the wheel"
assert (where.parent / "py.typed").exists(), "py.typed is missing from the wheel"
modules = ["rra_monitor", *(found.name for found in pkgutil.walk_packages(rra_monitor.__path__, "rra_monitor."))]
for module in modules:
    importlib.import_module(module)
assert "rra_monitor.integrations.tensorboard.sink" in modules
(plugin,) = metadata.entry_points(group="tensorboard_plugins", name="rra_monitor")
assert plugin.load().__name__ == "RRALoader"
files = importlib.import_module("rra_monitor.page.assets").static_files()
assert {"tensorboard.js", "page.css"} <= files.keys(), f"the page's files are missing from the wheel: {sorted(files)}"
print(f"{len(modules)} modules imported from {where.parent}")
