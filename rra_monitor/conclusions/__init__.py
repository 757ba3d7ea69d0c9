"""What snapshots show, in sentences with a confidence."""
