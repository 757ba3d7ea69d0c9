"""One method of methods.py in a process of its own: takes orders as lines of JSON, answers each with one.

Not for use by hand; cells.py starts it. It needs numpy and the method's own package, nothing else.
"""

import contextlib
import gc
import importlib.metadata
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from methods import METHODS, Method

WARM_UP, NEIGHBOURS = 1000, 10
"""Samples and k of the untimed search before each timed one: it imports, compiles and wakes the threads."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    method = METHODS[sys.argv[1]]
    resting = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer, resting = obey(method, order, resting)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        gc.collect()
        print(json.dumps(answer), file=answers, flush=True)


def obey(method: Method, order: dict[str, Any], resting: int | None) -> tuple[dict[str, Any], int | None]:
    """Search once. Memory counts from what the process held, beside the features, after its first warm-up."""
    points = np.array(np.load(order["features"], mmap_mode="r")[: order["n"]])
    for search in method.warm_up or (method.search,):
        search(points[:WARM_UP], NEIGHBOURS)
    gc.collect()
    if resting is None:
        resting = memory("VmRSS") - points.nbytes
    reset_peak()
    started = time.perf_counter()
    found = method.search(points, order["k"])
    seconds = time.perf_counter() - started
    answer = {
        "seconds": seconds,
        "peak": max(0, memory("VmHWM") - resting - points.nbytes),
        "version": importlib.metadata.version(method.package),
        "backend": getattr(found, "backend", None),
        "reported_recall": getattr(found, "recall", None),
        "reported_error": audit.standard_error(found) if (audit := getattr(found, "audit", None)) else None,
    }
    if order["save"] and found is not None:
        np.save(order["save"], without_self(np.asarray(getattr(found, "indices", found)), order["k"]))
    return answer, resting


def without_self(indices: Any, k: int) -> Any:
    """(n, k): the sample itself removed, or the last where it is not among its own neighbours."""
    if indices.shape[1] == k:
        return indices
    own = indices == np.arange(len(indices))[:, None]
    own[:, -1] |= ~own.any(axis=1)
    own &= own.cumsum(axis=1) == 1
    return indices[~own].reshape(len(indices), -1)[:, :k]


def memory(field: str) -> int:
    """Bytes of this process, from the kernel's account; 0 where it keeps none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def reset_peak() -> None:
    """Let VmHWM start again from the memory held now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
