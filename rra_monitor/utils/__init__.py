"""Random streams, nested tensors, texts, paths, archives, optional packages, checked arguments, collectives."""
