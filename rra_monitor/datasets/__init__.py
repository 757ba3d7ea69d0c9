"""Images with labels, from disk or a package, without Lightning."""
