"""The facts about a snapshot that its files hold beside the arrays; `checks` reads them back."""

import operator
from collections.abc import Mapping
from typing import Any

from rra_monitor.measure.description import described
from rra_monitor.measure.match import Match
from rra_monitor.measure.snapshot import Snapshot


def metadata_of(snapshot: Snapshot, matches: Mapping[str, Match], digest: str, pair: str) -> dict[str, Any]:
    """What a file says about its arrays.

    Args:
        snapshot: snapshot with graphs.
        matches: name to comparison with another snapshot.
        digest: name of the sample's file.
        pair: mark of both files of the snapshot.
    """
    settings = snapshot.settings
    return {
        "probe": snapshot.probe,
        "step": operator.index(snapshot.step),
        "epoch": operator.index(snapshot.epoch),
        "layers": list(snapshot.layers),
        "views": list(settings.views),
        "aliases": dict(snapshot.aliases),
        "seconds": float(snapshot.seconds),
        "weights": snapshot.weights,
        "n": operator.index(settings.n),
        "k": operator.index(settings.k),
        "metric": settings.metric,
        "backend": settings.backend,
        "estimator": settings.estimator,
        "fingerprint": settings.fingerprint,
        "sample": digest,
        "backends": [snapshot.graphs[layer].backend for layer in snapshot.layers],
        "pair": pair,
        "quantities": described(snapshot.quantities, settings),
        "matches": {
            name: {
                "epoch": operator.index(match.epoch),
                "step": operator.index(match.step),
                "layers": list(match.layers),
            }
            for name, match in matches.items()
        },
    }
