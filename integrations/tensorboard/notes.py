"""What cannot be read, in words for a reader."""

from collections.abc import Sequence

FEW = 5
"""Notes of one kind that a reader still reads."""

LONGEST = 200
"""Letters of a name and of a reason within a note."""


def left_out(what: str, why: object) -> str:
    """The note on one thing that is not shown."""
    return f"{what[:LONGEST]} is left out: {str(why)[:LONGEST]}"


def few(notes: Sequence[str]) -> list[str]:
    """The first notes of many, and how many more there are."""
    return list(notes) if len(notes) <= FEW + 1 else [*notes[:FEW], f"And {len(notes) - FEW} more."]
