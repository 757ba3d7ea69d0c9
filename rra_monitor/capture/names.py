"""Names that several packages share: of layers, views and files."""

import re
import reprlib
import unicodedata
from collections.abc import Sequence
from itertools import chain, takewhile

INPUT = "input"
"""The name of the raw data as a layer."""

FULL = "full"
"""The view without pooling; its name is the layer's."""

CLASS_TOKEN = "class-token"
"""The view of a token model's first token."""

VIEW_FORMS = "'full', 'avg<window>', 'max<window>' (avg2, max8, …), 'avg-global', 'max-global', 'class-token'"
_VIEW = re.compile(rf"{FULL}|(avg|max)([1-9]\d*|-global)|{CLASS_TOKEN}")

LONGEST_NAME = 1000
"""Longest name in characters; names of layers have a few dozen."""

LONGEST_FILE_NAME = 200
"""Longest name of a folder in bytes; file systems allow 255."""

_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, lone surrogates, and separators of lines and paragraphs."""
_REVERSING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_name(name: object, what: str) -> str:
    """The name itself, of a layer, a probe or a comparison.

    Raises:
        ValueError: no text, an empty one, one of more than `LONGEST_NAME` characters, or with characters that are not
            shown (control characters, line separators) or that reverse what is shown.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is {reprlib.repr(name)}, expected a name: text of at least one character")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"{what} has {len(name)} characters, at most {LONGEST_NAME} are taken: {name!r:.60}…")
    letter = unseen(name)
    if letter is not None:
        raise ValueError(f"{what} is {name!r:.80}, with the character {letter!r}; take one without")
    return name


def unseen(text: str) -> str | None:
    """The first character that is not shown, or reverses what is shown; None in most texts.

    >>> unseen("layer2.0"), unseen("Größe"), unseen("a\\x1b[2J")
    (None, None, '\\x1b')
    """
    if text.isascii() and text.isprintable():
        return None
    return next((one for one in text if unicodedata.category(one) in _UNSEEN or one in _REVERSING), None)


def check_file_name(name: object, what: str) -> str:
    """The name itself, for a file or folder.

    Raises:
        ValueError: as `check_name`; a path (with a slash, a backslash, or `..`), or one of more than
            `LONGEST_FILE_NAME` bytes.
    """
    text = check_name(name, what)
    if "/" in text or "\\" in text or text in (".", ".."):
        raise ValueError(f"{what} is {text!r:.80}, which is a path; it names a folder, so take it without / and \\")
    if len(text.encode()) > LONGEST_FILE_NAME:
        raise ValueError(f"{what} has {len(text.encode())} bytes, at most {LONGEST_FILE_NAME} are taken: {text!r:.60}…")
    return text


def is_view(name: str) -> bool:
    """Whether the name is of one of the `VIEW_FORMS`."""
    return _VIEW.fullmatch(name) is not None


def layer_view(layer: str, view: str) -> str:
    """The name of a layer's view: the layer's own for the full view.

    >>> layer_view("layer2.0", "avg4"), layer_view("layer2.0", "full")
    ('layer2.0@avg4', 'layer2.0')
    """
    return layer if view == FULL else f"{layer}@{view}"


def split_view(name: str) -> tuple[str, str]:
    """The layer and the view that a name stands for.

    >>> split_view("layer2.0@avg4"), split_view("layer2.0")
    (('layer2.0', 'avg4'), ('layer2.0', 'full'))
    """
    layer, at, view = name.rpartition("@")
    return (layer, view) if at and is_view(view) else (name, FULL)


def aligned(several: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Layer names of several networks, without the module around each network if only that makes them differ.

    A training's `network.layer1.0` is the `layer1.0` of the network by itself. Names that agree with it stay unchanged.

    >>> aligned([["input", "network.conv1", "network.fc"], ["input", "conv1", "fc"]])
    [('input', 'conv1', 'fc'), ('input', 'conv1', 'fc')]
    """
    whole = [tuple(names) for names in several]
    bare = [_bare(names) for names in whole]
    return bare if len(set(chain(*bare))) < len(set(chain(*whole))) else whole


def displayed(names: Sequence[str]) -> tuple[str, ...]:
    """Layer names as tables, pictures and sentences show them: without the module around the network.

    That is what all layers lie in, as long as its name has no digit, which a part of the network would have, and no
    name begins with a number without it. Stored names and keys of logged values are never changed.

    >>> displayed(["input", "network.conv1", "network.layer1.0@avg4"])
    ('input', 'conv1', 'layer1.0@avg4')
    >>> displayed(["features.0", "features.3"]), displayed(["layer1.0.conv1", "layer1.0.conv2"])
    (('features.0', 'features.3'), ('layer1.0.conv1', 'layer1.0.conv2'))
    """
    shared = list(takewhile(lambda module: not any(map(str.isdigit, module)), _shared_modules(names)))
    while shared:
        bare = _without(names, shared)
        if not any(name[:1].isdigit() for name in bare) and len(set(bare)) == len(set(names)):
            return bare
        shared.pop()
    return tuple(names)


def _bare(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names without the modules that all layers lie in."""
    return _without(names, _shared_modules(names))


def _shared_modules(names: Sequence[str]) -> list[str]:
    """The modules that all layers lie in, the outermost first."""
    paths = [split_view(name)[0].split(".")[:-1] for name in names if split_view(name)[0] != INPUT]
    return [modules[0] for modules in takewhile(lambda modules: len(set(modules)) == 1, zip(*paths, strict=False))]


def _without(names: Sequence[str], modules: Sequence[str]) -> tuple[str, ...]:
    start = sum(len(module) + 1 for module in modules)
    return tuple(name if split_view(name)[0] == INPUT else name[start:] for name in names)


def merged_layers(several: Sequence[Sequence[str]]) -> list[str]:
    """All layers of networks that may differ in depth, each network's in its order.

    >>> merged_layers([["input", "block1", "fc"], ["input", "block1", "block2", "fc"]])
    ['input', 'block1', 'block2', 'fc']
    """
    merged: list[str] = []
    for layers in several:
        place = 0
        for layer in layers:
            if layer not in merged:
                merged.insert(place, layer)
            place = merged.index(layer) + 1
    return merged
