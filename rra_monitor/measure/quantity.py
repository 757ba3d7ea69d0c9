"""A quantity: one number for each layer, or for each pair of layers, with its description.

A quantity is defined once. Snapshots, the store, the records, every dashboard, tables and comparisons go over the
quantities that a snapshot has, and none of them refers to a quantity by its name.
"""

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rra_monitor.measure.settings import Curve, Settings

Source = Literal["graph", "gram", "features", "graph pairs", "gram pairs"]
"""What a quantity is computed from."""

Rank = Literal["main", "side", "check"]
"""How prominently a quantity is shown."""

PAIRED = "nnls_"
"""Prefix of the names of curves that compare a snapshot with another one. No quantity's name may begin with it."""

RESERVED = {
    "aliases",
    "epoch",
    "estimator",
    "fingerprint",
    "group",
    "k",
    "layer",
    "layers",
    "mean",
    "metric",
    "n",
    "probe",
    "runs",
    "sd",
    "step",
    "value",
    "view",
    "views",
}
"""Names of columns and entries that are not quantities."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TEXT = {"title": 80, "symbol": 24, "unit": 40}


def last_layer(curve: Curve) -> float:
    """The value of the last layer."""
    return float(curve[-1])


def _last_layer_only() -> Mapping[str, Callable[[Curve], float]]:
    return {"last": last_layer}


@dataclass(frozen=True)
class Quantity:
    """One number for each layer of a snapshot (or for each pair of layers), by a function and a name.

    Args:
        name: name in keys, files and `snapshot.curves`: lower-case letters, digits and '_', at most 40.
        compute: function of the input that `of` names. It returns a number, or an array for pairs of layers, NaN where
            undefined. None for a quantity that was read from a stored run.
        of: input of the function.
            "graph": a layer's `KnnGraph`, and the labels (n,) or None.
            "gram": the layer's `LinearKernel`, which has the eigenvalues and the entries of the centred n × n Gram
            matrix. It exists also where the features of a layer are never together in memory.
            "features": the layer's features, an (n, …) tensor. Undefined where they are never together.
            "graph pairs": the graphs of all L layers, for an (L, L) array.
            "gram pairs": the kernels of all layers without their pooled views, for an array of these.
        title: title over a chart; the name if empty.
        symbol: abbreviation; the title if empty.
        unit: unit of the values, such as "dimensions".
        low: smallest possible value.
        high: largest possible value. With a `low` of 0 and a `high` of 1 it is drawn as a fraction.
        better: good direction, "higher" or "lower"; None where neither is good.
        digits: number of decimals in tables.
        chance: value of features without structure, or a function of the snapshot's `Settings` that returns it; None
            where there is none.
        needs_labels: whether it is left out for unlabelled data.
        depends_on_k: whether values of different k / n cannot be compared; False for those that depend on n alone.
        rank: prominence. "main" is logged layer by layer to every tracker and shown first, "side" is shown after the
            comparisons, "check" is in files and at the end of lists.
        error_of: name of the quantity whose standard error this is; empty if it is none.
        beside: name of the quantity in whose chart it is drawn, too, as a thin second line; empty for none.
        beside_where: name of the quantity that is above 0 in some layer where this line is drawn.
        method: name of the method, where there are several; values of different ones are not compared.
        warning: sentence that is said once, in a warning that names the layers, where the value is above 0.
        summaries: suffix to function of the (M,) values of the layers without their pooled views, for one number per
            probe: `rra/<probe>/<name>_<suffix>`.
        worst: function of the (L,) values of all layers and views, for one number per probe that is logged as
            `rra/<probe>/<name>` where it is not NaN.
        always: whether every stored snapshot has it, so that a file without it is damaged.
        defined: whether NaN is impossible.

    Raises:
        TypeError: a function that cannot be called.
        ValueError: a name of another form, or that of a comparison; a text that is too long; an unknown `of`, `rank` or
            `better`; a `low` above `high`.

    Example::

        def mean_distance(graph, labels):
            return graph.distances[:, 0].mean()

        monitor = rra.Monitor({"train": sample}, quantities=[rra.Quantity("nearest", mean_distance, low=0)])
        monitor.measure(model, step=0, epoch=0)["train"].curves["nearest"]
    """

    name: str
    compute: Callable[..., Any] | None = None
    of: Source = "graph"
    title: str = ""
    symbol: str = ""
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    better: Literal["higher", "lower"] | None = None
    digits: int = 3
    chance: float | Callable[[Settings], float | None] | None = None
    needs_labels: bool = False
    depends_on_k: bool = True
    rank: Rank = "main"
    error_of: str = ""
    beside: str = ""
    beside_where: str = ""
    method: str = ""
    warning: str = ""
    summaries: Mapping[str, Callable[[Curve], float]] = field(default_factory=_last_layer_only)
    worst: Callable[[Curve], float] | None = None
    always: bool = False
    defined: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name.startswith(PAIRED):
            raise ValueError(
                f"the name of a quantity is {self.name!r:.80}; expected up to 40 lower-case letters, digits and '_', "
                f"a letter first, and not {PAIRED!r} at the beginning, as in 'mean_distance'"
            )
        if self.name in RESERVED:
            raise ValueError(f"{self.name!r} names something else in tables and files; name the quantity otherwise")
        if self.compute is not None and not callable(self.compute):
            raise TypeError(f"quantity {self.name!r}: compute={self.compute!r:.80}; expected a function")
        self._check_choices()
        object.__setattr__(self, "title", self.title or self.name.replace("_", " ").capitalize())
        object.__setattr__(self, "symbol", self.symbol or (self.title if len(self.title) <= 24 else self.name[:24]))
        for part, most in _TEXT.items():
            text = getattr(self, part)
            if not isinstance(text, str) or not text.isprintable() or len(text) > most:
                raise ValueError(
                    f"quantity {self.name!r}: {part} is {reprlib.repr(text)}; expected up to {most} printable letters"
                )

    def _check_choices(self) -> None:
        for part, kind in (("of", Source), ("rank", Rank), ("better", Literal["higher", "lower"])):
            value, known = getattr(self, part), get_args(kind)
            if value not in known and not (part == "better" and value is None):
                raise ValueError(
                    f"quantity {self.name!r}: {part}={value!r:.80}; expected one of {', '.join(map(repr, known))}"
                )
        if not self.low < self.high:
            raise ValueError(
                f"quantity {self.name!r}: low={self.low!r:.40}, high={self.high!r:.40}; expected the lower one first"
            )
        if type(self.digits) is not int or not 0 <= self.digits <= 12:
            raise ValueError(f"quantity {self.name!r}: digits={self.digits!r:.80}; expected a whole number, 0 to 12")

    @property
    def summary_names(self) -> list[str]:
        """Names of its summaries, in their order: `id_peak`."""
        return [f"{self.name}_{suffix}" for suffix in self.summaries]

    @property
    def bounds(self) -> str:
        """Its range in words."""
        return f"{self.low:g} to {self.high:g}"

    @property
    def of_pairs(self) -> bool:
        """Whether it has a value for each pair of layers."""
        return self.of.endswith(" pairs")

    @property
    def lower_title(self) -> str:
        """The title within a sentence: "intrinsic dimension", but "k-NN accuracy"."""
        first = self.title[:1].lower() if self.title[1:2].islower() else self.title[:1]
        return first + self.title[1:]

    @property
    def phrase(self) -> str:
        """Title and symbol within a sentence: "intrinsic dimension (ID)"; the title alone if it ends in brackets."""
        whole = self.symbol == self.title or self.title.endswith(")")
        return self.lower_title if whole else f"{self.lower_title} ({self.symbol})"

    @property
    def fraction(self) -> bool:
        """Whether its values lie in 0 to 1."""
        return (self.low, self.high) == (0, 1)

    def chance_for(self, settings: Settings) -> float | None:
        """The value of features without structure; None where there is none, or the data have no labels for it."""
        if self.chance is None or (self.needs_labels and settings.labels is None):
            return None
        return self.chance(settings) if callable(self.chance) else float(self.chance)

    def outside(self, values: npt.NDArray[np.floating[Any]], rounding: float) -> npt.NDArray[np.bool_]:
        """Which values are impossible: infinite, or outside `low` to `high` by more than `rounding`."""
        within = (values >= self.low - rounding) & (values <= self.high + rounding)
        return np.asarray(np.isinf(values) | ~(np.isnan(values) | within))
