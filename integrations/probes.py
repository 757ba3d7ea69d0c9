"""Probes of a trainer: drawn from its own data, or the user's, as its network is fed them."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from rra_monitor.integrations.feeding import Feed, as_fed, feed_of, feeds
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.ranks import ALONE, Ranks
from rra_monitor.utils.text import reason_of


class Probes:
    """The fixed samples of a fit, by name.

    Those of validation data come later where the trainer makes its loaders later: asking for them early would be
    another training, where they are split at random, or none, where they are not ready.

    Args:
        given: the user's samples; None to draw them from the trainer's loaders.
        n: number of samples to draw.
        seed: seed of the draw.

    Attributes:
        ready: name to sample.
        refused: name of each probe that cannot be measured to the reason.
    """

    def __init__(self, given: Mapping[str, FixedSample] | None, n: int, seed: int) -> None:
        self.ready: dict[str, FixedSample] = {}
        self.refused: dict[str, str] = {}
        self._feeds: dict[str, Feed] = {}
        self._given = given
        self._n, self._seed = n, seed

    def awaited(self, trainer: Trainer) -> bool:
        """Whether validation data are to come."""
        return self._given is None and trainer.enable_validation and not any(map(_is_val, self._named()))

    def draw(self, trainer: Trainer, module: LightningModule, folder: str | None, ranks: Ranks = ALONE) -> None:
        """Draw what is there and not drawn yet; what one rank cannot draw is refused on all.

        Args:
            trainer: trainer within a fit.
            module: module that is trained.
            folder: folder for inputs that are too large for memory.
            ranks: processes that measure together, all of which call this.
        """
        for rank, refused in enumerate(ranks.values(lambda: self._drawn(trainer, module, folder))):
            for name in [name for name in refused if name not in self.refused]:
                self.refuse(name, ValueError(f"rank {rank}: {refused[name]}"))

    def differences(self, batch: Any, name: str) -> list[str]:
        """What tells a batch, or what it has of the loader whose way a sample goes, from the sample."""
        feed = self._feeds.get(name)
        part = batch if feed is None or feed.key is None else batch[feed.key]
        return self.ready[name].differences(part, ordered=self.ordered(name))

    def ordered(self, name: str) -> bool:
        """Whether the loader whose way a sample goes has its items in an order that may be sorted."""
        feed = self._feeds.get(name)
        return feed is not None and feed.ordered

    def refuse(self, name: str, error: Exception) -> None:
        """Leave a sample out for a reason."""
        self.ready.pop(name, None)
        self.refused[name] = reason_of(error)

    def reasons(self) -> str:
        """The refused probes with the reason for each."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())

    def _drawn(self, trainer: Trainer, module: LightningModule, folder: str | None) -> dict[str, str]:
        """The refused probes, after what can be drawn on this rank was."""
        known = feeds(trainer)
        wanted: dict[str, tuple[Feed | None, Callable[[], FixedSample]]]
        if self._given is None:
            wanted = {feed.name: (feed, _drawing(feed, self._n, self._seed, folder)) for feed in known}
        else:
            wanted = {name: (feed_of(name, known), _as_it_is(sample)) for name, sample in self._given.items()}
        for name, (feed, sample) in wanted.items():
            if name in self._named():
                continue
            try:
                self.ready[name] = as_fed(sample(), feed, trainer, module, folder)
                if feed is not None:
                    self._feeds[name] = feed
            except Exception as error:
                self.refuse(name, error)
        return self.refused

    def _named(self) -> set[str]:
        return {*self.ready, *self.refused}


def _is_val(name: str) -> bool:
    return name == "val" or name.startswith("val-")


def _drawing(feed: Feed, n: int, seed: int, folder: str | None) -> Callable[[], FixedSample]:
    """The draw from a loader's data, whose worker starts as the loader's do."""
    return lambda: FixedSample.from_dataset(
        feed.dataset,
        n,
        seed,
        shrink=True,
        collate_fn=feed.collate_fn,
        multiprocessing_context=getattr(feed.loader, "multiprocessing_context", None),
        worker_init_fn=feed.loader.worker_init_fn if getattr(feed.loader, "num_workers", 0) else None,
        folder=folder,
    )


def _as_it_is(sample: FixedSample) -> Callable[[], Any]:
    return lambda: sample
