"""A run on disk: its store, records, sinks and checkpoints, and the search for runs."""
