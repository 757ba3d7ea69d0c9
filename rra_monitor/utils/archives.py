"""How much a zip archive may unpack to."""

UNPACKED, SPARE = 10, 200 << 20
"""Limit of the unpacked size: this many times the archive's size, plus bytes. torch.save does not compress."""


def check_unpacked(size: int, unpacked: int) -> None:
    """Refuse an archive that would unpack to far more than its size.

    Args:
        size: bytes of the archive.
        unpacked: bytes of the entries that will be read.

    Raises:
        ValueError: more than `UNPACKED` times its size and `SPARE`.
    """
    if unpacked > UNPACKED * size + SPARE:
        raise ValueError(f"its {size} bytes unpack to {unpacked}")
