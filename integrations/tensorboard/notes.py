"""Remarks for the reader on what cannot be read."""

from collections.abc import Sequence

FEW = 5
"""Largest number of notes of one kind."""

LONGEST = 200
"""Longest name and longest reason in a note, in characters."""


def left_out(what: str, why: object) -> str:
    """The note on one thing that is not shown."""
    return f"{what[:LONGEST]} is left out: {str(why)[:LONGEST]}"


def few(notes: Sequence[str]) -> list[str]:
    """The first notes of many, and the number of the others."""
    return list(notes) if len(notes) <= FEW + 1 else [*notes[:FEW], f"And {len(notes) - FEW} more."]
