"""Groups of stored runs against each other: curves, pairs of runs, settling, tables."""
