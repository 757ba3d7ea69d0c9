"""Representational response analysis: what every layer of a network knows, while it trains.

The public names are resolved on first use, so importing this package loads neither torch nor any dashboard.
"""

__version__ = "0.2.0"

try:
    import lazy_loader
except ImportError:
    # TensorBoard imports this package when it starts, for the plugin, and a failure would keep it from starting.
    __all__: list[str] = []

    def __getattr__(name: str) -> object:
        raise AttributeError(f"rra_monitor.{name} needs the package lazy_loader, which is broken or not installed here")

else:
    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
