"""The ways to the k nearest neighbours that this benchmark compares. Each runs in a process of its own (worker.py).

Every import stands in its function: DADApy's interpreter has no torch, and memory is measured method by method.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))

HALF_PRODUCT, EXACT, AUTO = "half product", "rra exact", "rra auto"


@dataclass(frozen=True)
class Method:
    """A search, called with (n, d) float32 features and k.

    Attributes:
        search: returns a graph, or indices (n, k or more) that may contain the sample itself; None for a mere product.
        package: the distribution it comes from.
        module: what must be importable.
        warm_up: what to call once before, untimed, with few samples: whatever the search may take; itself if empty.
        growth: its time grows with n to this power, to predict the next larger run.
    """

    search: Callable[[Any, int], Any]
    package: str
    module: str
    growth: float = 2.0
    warm_up: tuple[Callable[[Any, int], Any], ...] = ()


def half_product(points: Any, k: int) -> None:
    """n² d / 2 multiply-adds: the first half of the rows with all, in blocks that fit beside the features."""
    import torch

    features = torch.from_numpy(points)
    block = torch.empty(min(2048, len(features) // 2), len(features))
    for rows in features[: len(features) // 2].split(len(block)):
        torch.mm(rows, features.T, out=block[: len(rows)])


def rra(backend: str) -> Callable[[Any, int], Any]:
    def search(points: Any, k: int) -> Any:
        from rra_monitor import knn_graph

        return knn_graph(points, k, backend=backend)

    return search


def cdist_topk(points: Any, k: int) -> Any:
    import torch

    features = torch.from_numpy(points)
    found = [torch.cdist(block, features).topk(k + 1, largest=False).indices for block in features.split(1000)]
    return torch.cat(found).numpy()


def scikit_learn(points: Any, k: int) -> Any:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", n_jobs=THREADS).fit(points)
    return index.kneighbors(points)[1]


def scikit_learn_intelex(points: Any, k: int) -> Any:
    from sklearnex.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", n_jobs=THREADS).fit(points)
    return index.kneighbors(points)[1]


def faiss_flat(points: Any, k: int) -> Any:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    return index.search(points, k + 1)[1]


def dadapy(points: Any, k: int) -> Any:
    from dadapy import Data

    data = Data(points)
    data.compute_distances(maxk=k, n_jobs=THREADS)
    return data.dist_indices


def pynndescent(points: Any, k: int) -> Any:
    from pynndescent import NNDescent

    return NNDescent(points, n_neighbors=k + 1, random_state=0, n_jobs=THREADS).neighbor_graph[0]


PEERS = {
    "faiss-cpu flat": Method(faiss_flat, "faiss-cpu", "faiss"),
    "torch.cdist + topk": Method(cdist_topk, "torch", "torch"),
    "scikit-learn brute": Method(scikit_learn, "scikit-learn", "sklearn"),
    "scikit-learn-intelex brute": Method(scikit_learn_intelex, "scikit-learn-intelex", "sklearnex"),
    "DADApy": Method(dadapy, "dadapy", "dadapy"),
    "pynndescent": Method(pynndescent, "pynndescent", "pynndescent", growth=1.2),
}

METHODS = {
    HALF_PRODUCT: Method(half_product, "torch", "torch"),
    EXACT: Method(rra("exact"), "rra-monitor", "rra_monitor"),
    "rra nndescent": Method(rra("nndescent"), "rra-monitor", "rra_monitor", growth=1.2),
    AUTO: Method(rra("auto"), "rra-monitor", "rra_monitor", warm_up=(rra("exact"), rra("nndescent"), rra("auto"))),
    **PEERS,
}
"""In the order in which they run: the exact graph, which gives the recall of all others, first of the searches."""
