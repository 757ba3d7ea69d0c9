"""Which layers of a network are watched, and their features for the samples, without changing the network."""
