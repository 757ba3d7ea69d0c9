"""A run on disk: its store, records, sinks and checkpoints, and where runs are found."""
