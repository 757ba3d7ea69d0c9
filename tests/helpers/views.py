"""Every view of features, but the class token."""

EVERY = ("full", "avg2", "avg4", "avg8", "avg-global", "max2", "max4", "max8", "max-global")
