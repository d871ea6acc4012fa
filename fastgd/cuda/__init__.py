"""The same kernels for CUDA, and all that imports numba.cuda."""
