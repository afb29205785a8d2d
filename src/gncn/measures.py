"""The names of what ``gncn evaluate`` measures."""

MEASURES = ("likelihood", "tight", "samples", "completion", "probe", "sparsity", "embedding")
