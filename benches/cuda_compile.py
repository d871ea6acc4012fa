"""fastgd's kernels compiled to PTX without a GPU, for one generation of devices."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

#: An H100.
CAPABILITY = (9, 0)


def kernels():
    """Name, kernel and the types of its arguments."""
    import cuda_bandwidth
    from numba import types

    from fastgd.cuda import dense, layout, loop, statistics, stochastic
    from fastgd.losses import LOSSES

    f8, i8 = types.float64, types.int64

    def array(dtype, ndim):
        return types.Array(dtype, ndim, "C")

    numbers = array(types.float32, 1)
    yield "a read", cuda_bandwidth.reader(), (numbers, numbers)
    yield "a copy", cuda_bandwidth.copier(), (numbers, numbers)
    for dtype in (types.float32, types.float64):
        size = dtype.bitwidth // 8
        v, m, t = (array(dtype, ndim) for ndim in (1, 2, 3))
        for name, loss in LOSSES.items():
            if loss.coupled:
                continue
            for make in (layout.row_layout, layout.column_layout):
                lay = make(32, size, size, True)
                title = f"{name}, {dtype}, {make.__name__}"
                yield (
                    f"accumulate, {title}",
                    dense.accumulate(loss, lay, dtype.name),
                    (m, m, v, m, dtype, v, m, v, i8, t),
                )
                yield (
                    f"descend, {title}",
                    loop.batch_epochs(loss, lay, dtype.name, 32),
                    (
                        m, m, v, m, m, v,
                        *(array(f8, ndim) for ndim in (2, 1, 2, 1, 2, 1, 3, 1, 1, 1, 3)),
                        array(i8, 1), t, m, array(f8, 2), array(f8, 1), i8, i8, i8,
                    ),
                )  # fmt: skip
            lay = layout.row_layout(32, size, size, True, 64)
            order = array(types.int32, 1)
            yield (
                f"per_sample, {name}, {dtype}",
                stochastic.per_sample(loss, lay, dtype.name),
                (m, m, v, m, order, m, v, v, v, i8, i8, array(f8, 1)),
            )
        yield (
            f"moments, {dtype}",
            statistics.moments_kernel(),
            (m, m, v, array(f8, 1), array(f8, 1), array(f8, 1), i8, array(f8, 4)),
        )
        yield f"add_up, {dtype}", dense.add_up(32, 512), (m, array(f8, 1))


def compiled() -> Iterator[tuple[str, float, str | None]]:
    """Name, seconds and what went wrong, if anything did, of every kernel."""
    from numba.cuda import dispatcher

    from fastgd.cuda.driver import cuda

    # Device functions ask the device that they are compiled for.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    for name, kernel, types in kernels():
        start = time.perf_counter()
        try:
            cuda.compile_ptx(kernel.py_func, types, cc=CAPABILITY)
            failure = None
        except Exception as error:
            failure = f"{type(error).__name__}: {str(error)[:300]}"
        yield name, time.perf_counter() - start, failure
