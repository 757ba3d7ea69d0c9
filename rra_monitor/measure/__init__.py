"""From a network and samples to numbers: the Monitor, its Snapshot, and matching two of them."""
