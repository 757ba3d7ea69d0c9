"""What a trainer feeds its network: the way of a batch from the loader to `forward`, which a probe goes, too."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import BatchSampler, SequentialSampler, Subset, SubsetRandomSampler, default_collate

from rra_monitor.capture.undisturbed import undisturbed
from rra_monitor.integrations.muted import muted
from rra_monitor.samples.sample import FixedSample
from rra_monitor.utils.attributes import preserved_attributes

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""The hooks of a module or a data module that a batch passes before the training step."""

Kind = Literal["train", "val"]


@dataclass(frozen=True)
class Feed:
    """One of a trainer's loaders.

    Attributes:
        name: name of its probe: `train`, `train-1`, …, `val`, `val-1`, …
        kind: whether it feeds training or validation.
        index: its position among the loaders of its kind.
        key: its name or position in a training batch that is put together from several loaders; None for one loader.
        loader: the loader.
    """

    name: str
    kind: Kind
    index: int
    key: str | int | None
    loader: Any

    @property
    def dataset(self) -> Any:
        """The items that it draws from: those of its sampler, where that is limited to some.

        Raises:
            ValueError: items that are whole batches already.
        """
        dataset, sampler = self.loader.dataset, getattr(self.loader, "sampler", None)
        of_batches = getattr(self.loader, "batch_sampler", None)
        sampler = getattr(of_batches, "sampler", sampler)
        some = sampler.indices if isinstance(sampler, SubsetRandomSampler) else sampler
        if isinstance(some, (np.ndarray, torch.Tensor)):
            some = some.tolist()
        if isinstance(some, (list, tuple, range)) and all(isinstance(index, (int, np.integer)) for index in some):
            return Subset(dataset, [int(index) for index in some])
        if self._hands_items_on and not isinstance(sampler, BatchSampler) and hasattr(dataset, "__getitem__"):
            raise ValueError("its loader has batch_size=None, so an item of its data set is a whole batch")
        return dataset

    @property
    def collate_fn(self) -> Callable[[list[Any]], Any] | None:
        """The loader's function from items to a batch; None if it is torch's default."""
        collate = getattr(self.loader, "collate_fn", None)
        return None if self._hands_items_on or collate is default_collate else collate

    @property
    def ordered(self) -> bool:
        """Whether it goes through its items in their order, which may be sorted."""
        return isinstance(getattr(self.loader, "sampler", None), SequentialSampler)

    @property
    def _hands_items_on(self) -> bool:
        """Whether the loader puts no items together."""
        return getattr(self.loader, "batch_size", 1) is None and getattr(self.loader, "batch_sampler", None) is None


def feeds(trainer: Trainer) -> list[Feed]:
    """The trainer's loaders that have a data set, as far as they are there: it makes those of validation when due."""
    found = []
    kinds: tuple[tuple[Kind, Any], ...] = (("train", trainer.train_dataloader), ("val", trainer.val_dataloaders))
    for kind, loaders in kinds:
        several = isinstance(loaders, (Mapping, list, tuple))
        keyed = (
            list(loaders.items())
            if isinstance(loaders, Mapping)
            else list(enumerate(loaders if several else [loaders]))
        )
        for index, (key, loader) in enumerate(keyed):
            if getattr(loader, "dataset", None) is not None:
                part = key if several and kind == "train" else None
                found.append(Feed(f"{kind}-{index}" if index else kind, kind, index, part, loader))
    return found


def feed_of(name: str, known: list[Feed]) -> Feed | None:
    """The loader whose way a probe of that name goes: of the same name or kind, else the first one."""
    same = [feed for feed in known if feed.name == name]
    alike = [feed for feed in known if name.startswith(feed.kind)]
    return next(iter((*same, *alike, *known)), None)


def as_fed(
    sample: FixedSample, feed: Feed | None, trainer: Trainer, module: LightningModule, folder: str | None
) -> FixedSample:
    """The sample as the network is fed it: after the loader's `collate_fn` and the hooks of batch transfer.

    A training sample passes the hooks as in training. If they are random then, it passes them as in validation, where
    augmentation is commonly off.

    Args:
        sample: sample as its data set has it. One with `prepare=False` stays as it is.
        feed: loader whose way it goes; None for the hooks alone.
        trainer: trainer within a fit.
        module: module that is trained.
        folder: folder for inputs that are too large for memory.

    Raises:
        ValueError: inputs that differ each time, or that the hooks do not take.
    """
    collate_fn = None if feed is None else feed.collate_fn
    if not sample.prepare or (collate_fn is None and not has_batch_hooks(trainer, module)):
        return sample
    failures: list[Exception] = []
    flags = [(each, each.training) for each in module.modules()]
    for training in (True, False) if feed is not None and feed.kind == "train" else (False,):
        try:
            with (
                muted(trainer, module),
                undisturbed(module),
                preserved_attributes(trainer.datamodule),  # type: ignore[attr-defined]
                _stage(trainer, flags if training else None),
            ):
                return sample.through(_change(trainer, module, feed), collate_fn=collate_fn, folder=folder)
        except Exception as error:
            failures.append(error)
    raise failures[-1]


def has_batch_hooks(trainer: Trainer, module: LightningModule) -> bool:
    """Whether the module or the data module has a hook of batch transfer of its own."""
    owners = (module, trainer.datamodule)  # type: ignore[attr-defined]
    return any(_is_own(owner, hook) for owner in owners if owner is not None for hook in HOOKS)


def _is_own(owner: Any, hook: str) -> bool:
    defined = getattr(type(owner), hook, None)
    host = getattr(defined, "__module__", "").partition(".")[0]
    return hook in vars(owner) or (defined is not None and host not in ("lightning", "pytorch_lightning"))


def _change(trainer: Trainer, module: LightningModule, feed: Feed | None) -> Callable[[Any], Any]:
    """The way of a batch from the loader to the training or validation step, as in Lightning's loops."""
    index = feed.index if feed is not None and feed.kind == "val" else 0

    def change(batch: Any) -> Any:
        if feed is not None and feed.key is not None:
            batch = {feed.key: batch} if isinstance(feed.key, str) else [batch]
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=index)
        batch = trainer.strategy.batch_to_device(batch, dataloader_idx=index)
        return batch if feed is None or feed.key is None else batch[feed.key if isinstance(feed.key, str) else 0]

    return change


@contextmanager
def _stage(trainer: Trainer, flags: list[tuple[nn.Module, bool]] | None) -> Iterator[None]:
    """Within `undisturbed`: the trainer's stage of training and the modules' flags then; or that of validation."""
    stage = trainer.state.stage
    for module, training in flags or ():
        module.training = training
    if flags is None:
        trainer.validating = True
    else:
        trainer.training = True
    try:
        yield
    finally:
        trainer.state.stage = stage
