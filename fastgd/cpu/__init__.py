"""Kernels that loop over rows or columns on the CPU, and only kernels.

With n rows, d columns and k outputs, these arguments have one meaning in all kernels. The table of a
kernel lists the others. Arrays are in the dtype of the computation where no dtype is named.

    name         dir     shape                  meaning
    x            IN      (n, d)                 rows in C order, or `xt` (d, n): columns in C order
    order        IN      (n,) int, or (0,)      the row visited at each place; (0,): 0, 1, 2, …
    y            IN      (k, n)                 targets; (1, n) class indices for a coupled loss
    weight       IN      (n,) or (0,)           sample weights; (0,): none
    offset       IN      (k|1, n) or (0, …)     fixed parts of the raw predictions; (0, …): none
    p            IN      scalar                 parameter of the loss
    center       IN      (d,) or (0,)           subtracted from the rows by centred passes
    coef         IN      (k, d)                 coefficients
    intercept    IN      (k,)                   intercepts
    first, last  IN      int                    range of rows, or of places in `order`
    shift       IN      int                    row i of x is sample i + shift of y, weight …
    totals       IN OUT  (k, d+2) float64       sums of the gradient, its intercept part, and the cost
    settings     IN      (6,)                   the numbers of `Settings.array`
    rates        IN      (epochs, k) or (1, k)  learning rates; one row: constant
    hyper        IN      (HYPER,) float64       parameters of the optimizer
    memory       IN OUT  (SLOTS, k, d+1)        optimizer state; (0, k, d+1): none
    state        IN OUT  (3,) float64           FIRST_NORM, COST and EPOCHS of `fastgd.settings`
    costs        OUT     (epochs,) float64      cost of each epoch, before its updates
    norms        OUT     (epochs,) float64      norm of the gradient of each epoch
    path         OUT     (epochs, k, d)         coefficients after each epoch; (0, k, d): not kept
    previous     OUT     (k, d+1)               parameters before the last epoch

A kernel calls what it needs once a block, a batch or an epoch by address (`one_pass`, `losses`, `step`):
each piece is compiled once, and not for every combination with others. Such a piece returns a float, as
`fastgd.compile.functions.call` needs; 0.0 where there is nothing to tell.

A loss is *coupled* if the loss of a row depends on all its k raw predictions, as softmax does.
"""
