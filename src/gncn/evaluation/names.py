"""The names of what ``gncn evaluate`` measures."""

MEASURES = (
    "likelihood",
    "tight",
    "samples",
    "completion",
    "yardsticks",
    "probe",
    "sparsity",
    "embedding",
)
