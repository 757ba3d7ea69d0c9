"""Slow and plain: loops over samples in double precision, written from the definitions and not from the package."""
