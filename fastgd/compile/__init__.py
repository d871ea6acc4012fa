"""Everything about Numba, once: flags, calls by address, and the disk cache of compiled kernels."""
