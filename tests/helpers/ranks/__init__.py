"""Scripts that a test starts as the ranks of one process group."""
