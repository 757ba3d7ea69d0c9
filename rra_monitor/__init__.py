"""Representational response analysis: what every layer of a network knows, while it trains.

The public names are resolved on first use, so importing this package loads neither torch nor any dashboard.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
