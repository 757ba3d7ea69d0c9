"""The fixed samples that are measured: drawn from a data set, read gently, labelled with care, kept."""
