"""Checks of a stored snapshot: from metadata and arrays that anybody may have written to values that can be used.

Functions raise a ValueError with the value found and the value expected; the caller adds the name of the file.
"""

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rra_monitor.capture.names import FULL, check_file_name, check_name, is_view, layer_view, split_view
from rra_monitor.measure.description import described_only, present_quantities
from rra_monitor.measure.match import Match
from rra_monitor.measure.quantity import Quantity
from rra_monitor.measure.settings import ESTIMATORS, Curve, check_estimator
from rra_monitor.measure.snapshot import WEIGHTS, Weights
from rra_monitor.runs.format import Arrays

MATCH = "match."
"""Prefix of the arrays that compare the snapshot with another one."""

LAST_STEP = 2**63 - 1
LARGEST_N = 2**31 - 1
"""Positions of samples are 32-bit integers."""

MOST_VIEWS = 100
"""Largest number of views of a layer; a few are measured, and readers allocate them for every layer."""

ROUNDING = 1e-9
"""Tolerance of a value outside the range of its quantity."""

COMPARED = Quantity("compared", low=0, high=1)
"""The possible values of a comparison: fractions, or NaN."""


@dataclass(frozen=True)
class About:
    """The metadata of a snapshot.

    Attributes:
        probe: name of the sample.
        step: optimiser steps taken.
        epoch: epochs completed.
        layers: (L,) different names.
        views: requested views.
        aliases: view of a layer to the equal one in `layers`.
        seconds: time that measuring took.
        weights: whose weights the network had, see `Snapshot`; "current" in a run of 0.2.0 and before.
        n: number of samples.
        k: number of neighbours, 1 to n - 1.
        metric: distance metric.
        backend: requested backend.
        backends: (L,) backends that built the graphs.
        estimator: method by which the ID was estimated; "ml" in a run of 0.2.0 and before.
        fingerprint: hash of the inputs.
        sample: digest that names the file of ids and labels.
        pair: mark that both files of a snapshot have if they were written together.
        described: quantities that this package does not know, from their stored descriptions.
        matches: name of each comparison to the epoch, step and layers of the other snapshot.
    """

    probe: str
    step: int
    epoch: int
    layers: tuple[str, ...]
    views: tuple[str, ...]
    aliases: Mapping[str, str]
    seconds: float
    weights: Weights
    n: int
    k: int
    metric: str
    backend: str
    backends: tuple[str, ...]
    estimator: str
    fingerprint: str
    sample: str
    pair: str
    described: tuple[Quantity, ...]
    matches: Mapping[str, tuple[int, int, tuple[str, ...]]]


def checked_about(metadata: Mapping[str, Any], probe: str, step: int) -> About:
    """The metadata of the snapshot of a probe and step.

    Args:
        metadata: names and values, as read from a file.
        probe: name of the probe that the file is named after.
        step: step that the file is named after.

    Raises:
        ValueError: a value that is missing, of another type or out of range; another probe or step.
    """
    try:
        layers = _layers(metadata["layers"])
        n = _whole(metadata["n"], "n", 2, LARGEST_N)
        about = About(
            probe=check_file_name(metadata["probe"], "probe"),
            step=_whole(metadata["step"], "step", 0, LAST_STEP),
            epoch=_whole(metadata["epoch"], "epoch", 0, LAST_STEP),
            layers=layers,
            views=_views(metadata["views"]),
            aliases=_aliases(metadata["aliases"], layers),
            seconds=_seconds(metadata["seconds"]),
            weights=_weights(metadata.get("weights", "current")),
            n=n,
            k=_whole(metadata["k"], "k", 1, n - 1),
            metric=check_name(metadata["metric"], "metric"),
            backend=check_name(metadata["backend"], "backend"),
            backends=_names(metadata["backends"], "backend", different=False),
            estimator=check_estimator(metadata.get("estimator", ESTIMATORS[0])),
            fingerprint=check_name(metadata["fingerprint"], "fingerprint"),
            sample=check_digest(metadata["sample"]),
            pair=check_pair(metadata["pair"]),
            described=described_only(metadata.get("quantities", [])),
            matches=_matches(metadata["matches"]),
        )
    except KeyError as error:
        raise ValueError(f"its {error} is missing") from None
    if len(about.backends) != len(layers):
        raise ValueError(f"it names {len(about.backends)} backends of {len(layers)} layers")
    if (about.probe, about.step) != (probe, step):
        raise ValueError(
            f"it says probe {about.probe!r}, step {about.step}, expected probe {probe!r}, step {step}; it was renamed"
        )
    return about


def checked_curves(arrays: Arrays, about: About) -> tuple[tuple[Quantity, ...], dict[str, Curve], dict[str, Curve]]:
    """The quantities of a snapshot, the curves of those of layers, and the matrices of those of pairs.

    Raises:
        ValueError: an array that is missing, of another type or shape than its layers need, or out of range.
    """
    count = len(about.layers)
    full = sum(split_view(layer)[1] == FULL for layer in about.layers)
    shapes = {"graph pairs": (count, count), "gram pairs": (full, full)}
    quantities = present_quantities(about.described, arrays, about.estimator)
    curves: dict[str, Curve] = {}
    matrices: dict[str, Curve] = {}
    for one in quantities:
        if one.name in arrays:
            values = _values(arrays[one.name], one.name, shapes.get(one.of, (count,)), one)
            (matrices if one.of_pairs else curves)[one.name] = values
        elif one.always:
            raise ValueError(f"its array {one.name!r} is missing")
    return quantities, curves, matrices


def checked_matches(arrays: Arrays, about: About) -> dict[str, Match]:
    """The comparisons stored with a snapshot.

    Raises:
        ValueError: an array that is missing, of another shape than the layers of both, or with values outside 0 to 1.
    """
    matches = {}
    for name, (epoch, step, layers) in about.matches.items():
        if f"{MATCH}{name}" not in arrays:
            raise ValueError(f"its array '{MATCH}{name}' is missing")
        nnls = _values(arrays[f"{MATCH}{name}"], f"{MATCH}{name}", (len(about.layers), len(layers)), COMPARED)
        matches[name] = Match(name, epoch, step, layers, nnls)
    return matches


def checked_sample(arrays: Arrays) -> Arrays:
    """The ids, and the labels if there are any, as (n,) int64.

    Raises:
        ValueError: no ids, different lengths, or values that are not integers.
    """
    if "ids" not in arrays:
        raise ValueError("its array 'ids' is missing")
    sample: Arrays = {}
    for name in ("ids", "labels"):
        if name in arrays:
            array = arrays[name]
            if array.dtype.kind not in "iu" or array.shape != (arrays["ids"].size,):
                raise ValueError(
                    f"its {name} are {array.dtype} of shape {array.shape}, expected integers, one per sample"
                )
            sample[name] = array.astype(np.int64, copy=False)
    return sample


def check_sample_of(sample: Arrays, about: About, quantities: Sequence[Quantity], curves: Mapping[str, Curve]) -> None:
    """Refuse a sample of another size than the snapshot's, or standard quantities of labels without labels.

    Raises:
        ValueError: n is not the number of ids; labels without a quantity that needs them, or the reverse.
    """
    if len(sample["ids"]) != about.n:
        raise ValueError(f"it says n={about.n}, and its sample has {len(sample['ids'])} ids")
    for one in quantities:
        if one.needs_labels and one.defined and ("labels" in sample) != (one.name in curves):
            have, lack = ("labels", one.symbol) if "labels" in sample else (one.symbol, "labels")
            raise ValueError(f"it has {have} and no {lack}")


def check_digest(digest: object) -> str:
    """The digest itself, which names a file of `samples/`.

    Raises:
        ValueError: anything but 16 hexadecimal digits.
    """
    return _hexadecimal(digest, "sample", 16)


def check_pair(pair: object) -> str:
    """The mark itself, which is part of the names of temporary files.

    Raises:
        ValueError: anything but 32 hexadecimal digits.
    """
    return _hexadecimal(pair, "pair", 32)


def _hexadecimal(value: object, name: str, digits: int) -> str:
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"its {name} is {reprlib.repr(value)}, expected {digits} hexadecimal digits")
    return value


def check_shape(array: npt.NDArray[Any], name: str, shape: tuple[int, ...], dtypes: tuple[npt.DTypeLike, ...]) -> None:
    """Refuse an array of another shape or type.

    Raises:
        ValueError: another shape or type; the one found and the one expected are named.
    """
    if array.shape != shape or array.dtype not in dtypes:
        names = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise ValueError(
            f"its array {name!r} is {array.dtype} of shape {array.shape}, expected {names} of shape {shape}"
        )


def _values(array: npt.NDArray[Any], name: str, shape: tuple[int, ...], quantity: Quantity) -> Curve:
    check_shape(array, name, shape, (np.float64, np.float32))
    outside = quantity.outside(array, ROUNDING)
    if quantity.defined:
        outside |= np.isnan(array)
    if outside.any():
        bounds = quantity.bounds + ("" if quantity.defined else " or NaN")
        raise ValueError(f"its array {name!r} holds {array[outside][0]:g}, expected finite values, {bounds}")
    return array.astype(np.float64, copy=False)


def _whole(value: object, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"its {name} is {reprlib.repr(value)}, expected a whole number, {least} to {most}")
    return value


def _weights(value: object) -> Weights:
    if value not in WEIGHTS:
        raise ValueError(f"its weights are {reprlib.repr(value)}, expected one of {', '.join(WEIGHTS)}")
    return value  # type: ignore[return-value]


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf or value > 1e300:  # type: ignore[operator]
        raise ValueError(f"its seconds are {reprlib.repr(value)}, expected a finite number from 0 on")
    return float(value)  # type: ignore[arg-type]


def _names(value: object, what: str, different: bool = True) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"its {what}s are {reprlib.repr(value)}, expected a list of at least one name")
    names = tuple(check_name(name, f"the name of a {what}") for name in value)
    if different and len(set(names)) < len(names):
        raise ValueError(f"its {what}s have one name twice among {reprlib.repr(names)}")
    return names


def _layers(value: object) -> tuple[str, ...]:
    layers = _names(value, "layer")
    views = [split_view(layer) for layer in layers]
    if FULL not in {view for _, view in views} or [layer_view(*each) for each in views] != list(layers):
        raise ValueError(
            f"its layers are {reprlib.repr(layers)}, expected at least one as it is, beside views of layers"
        )
    return layers


def _views(value: object) -> tuple[str, ...]:
    views = _names(value, "view")
    if len(views) > MOST_VIEWS:
        raise ValueError(f"it has {len(views)} views, at most {MOST_VIEWS} are taken")
    wrong = [view for view in views if len(view) > 20 or not is_view(view)]
    if wrong or FULL not in views:
        raise ValueError(f"its views are {reprlib.repr(views)}, expected {FULL!r} and others that poolings have")
    return views


def _aliases(value: object, layers: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"its aliases are {reprlib.repr(value)}, expected names of views to names of layers")
    stored = set(layers)
    for name, same in value.items():
        layer, view = split_view(check_name(name, "an alias"))
        if view == FULL or name in stored or layer not in stored or not isinstance(same, str) or same not in stored:
            raise ValueError(
                f"its aliases have {name!r:.60} as {reprlib.repr(same)}, expected a layer's view as a stored one"
            )
        if split_view(same)[0] != layer:
            raise ValueError(f"its aliases have {name!r:.60} as {same!r:.60}, a view of another layer")
    return value


def _matches(value: object) -> dict[str, tuple[int, int, tuple[str, ...]]]:
    if not isinstance(value, dict) or not all(isinstance(other, dict) for other in value.values()):
        raise ValueError(
            f"its matches are {reprlib.repr(value)}, expected names to the epoch, step and layers of others"
        )
    return {
        check_name(name, "the name of a match"): (
            _whole(other["epoch"], f"match {name!r:.40}: epoch", 0, LAST_STEP),
            _whole(other["step"], f"match {name!r:.40}: step", 0, LAST_STEP),
            _names(other["layers"], f"match {name!r:.40}: layer"),
        )
        for name, other in value.items()
    }
