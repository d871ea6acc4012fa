"""The same kernels for CUDA, and the only package that imports numba.cuda.

All arrays are on the GPU. Arguments with the names that `fastgd.cpu` describes have the same meaning;
these are common to the kernels here:

    name       dir     shape              meaning
    partials   OUT     (parts, k, d+2)    sums of each part of the rows, in the dtype of the computation
    part_rows  IN      int                rows of a part
    target     IN      int                the row of y: for one output of many, or 0 for a common target
    c          IN      int                the output
    totals     OUT     k·(d+2) float64    sums over the parts, overwritten
    losses     OUT     (k,) float64       sum of the losses, each before its update

A device function is called by all threads of a block. "Free at the next barrier" says that the caller
must pass a barrier before it uses the memory again.
"""
