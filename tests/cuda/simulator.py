"""What numba's simulator lacks, and ten times faster: lanes that take turns instead of Python threads.

A lane runs until it has to wait: for its warp in an exchange, for its block or for the whole grid at a
barrier. All blocks of a launch are under way together, so that barriers of the grid work. Lanes that
would wait for ever are an error, and so are lanes of a block at different barriers: on a GPU that would
hang, or silently go on.

Under `watched` every access to shared and to global memory is recorded, and two lanes that meet at one
address without a barrier between them, one of them writing, are an error, whatever the result.
"""

import contextlib
import itertools
import random
import sys

import greenlet
import numpy as np
from numba import types
from numba.cuda.simulator import kernel
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from numba.np.numpy_support import as_dtype

from fastgd.cuda import driver, loads

WARP = 32
#: What a block may have without asking.
SHARED_BYTES = 48 << 10


class Index:
    """threadIdx, blockIdx and their like, in one dimension."""

    def __init__(self, x=0):
        self.x = x


class RaceError(AssertionError):
    """Two lanes met at one address and nothing decides who comes first."""


class Lane(greenlet.greenlet):
    """One CUDA thread."""

    def __init__(self, function, launch, block, number):
        super().__init__(function)
        self.launch, self.block, self.number = launch, block, number
        self.wish = self.answer = None
        self.of_block = self.of_grid = 0  # barriers behind it

    def waits(self, kind, value=None):
        # Where it waits: the lanes of a barrier have to be at the same one.
        frame = sys._getframe(2)
        self.wish = (kind, frame.f_code, frame.f_lasti), value
        return self.launch.hub.switch()

    def before(self, other):
        """Whether a barrier lies between what `other` did, at its time then, and now."""
        lane, of_block, of_grid = other
        if lane is self:
            return True
        return of_block < self.of_block if lane.block == self.block else of_grid < self.of_grid

    @property
    def now(self):
        return self, self.of_block, self.of_grid


class Launch:
    """One grid. The order in which lanes take turns is another at every barrier, and always the same."""

    def __init__(self, function, grid, threads, arguments):
        self.grid, self.threads, self.hub = grid, threads, greenlet.getcurrent()
        self.shared, self.shared_bytes = {}, [0] * grid
        self.touched = {} if _watching else None
        if _watching:
            arguments = [
                Watched(a, self.touched) if isinstance(a, np.ndarray) else a for a in arguments
            ]
        self.lanes = [Lane(function, self, b, t) for b in range(grid) for t in range(threads)]
        self.blocks = [self.lanes[i : i + threads] for i in range(0, grid * threads, threads)]
        self.warps = [b[i : i + WARP] for b in self.blocks for i in range(0, threads, WARP)]
        self.arguments, self.random = arguments, random.Random(0)

    def run(self):
        ready = self.lanes.copy()
        for lane in ready:
            lane.answer = self.arguments
        while ready:
            self.random.shuffle(ready)
            for lane in ready:
                lane.wish = None
                lane.switch(*lane.answer)
            ready = self.released()
        alive = [lane for lane in self.lanes if not lane.dead]
        if alive:
            names = {lane.wish[0][0] for lane in alive}
            raise RuntimeError(
                f"{len(alive)} of {len(self.lanes)} lanes wait for ever ({', '.join(sorted(names))})"
            )

    def released(self):
        ready = []
        for warp in self.warps:
            if self.agree(warp, "warp"):
                for lane in warp:
                    source = lane.wish[1][1]
                    lane.answer = (warp[source].wish[1][0],)
                ready += warp
        for block in self.blocks:
            if self.agree(block, "block"):
                ready += block
                for lane in block:
                    lane.of_block, lane.answer = lane.of_block + 1, ()
        if self.agree(self.lanes, "grid"):
            ready += self.lanes
            for lane in self.lanes:
                lane.of_block, lane.of_grid, lane.answer = lane.of_block + 1, lane.of_grid + 1, ()
        return ready

    @staticmethod
    def agree(lanes, kind):
        """Whether all of them wait, for the same thing at the same place."""
        first = lanes[0].wish
        return (
            first is not None
            and first[0][0] == kind
            and all(lane.wish is not None and lane.wish[0] == first[0] for lane in lanes)
        )


class Watched:
    """An array whose accesses are recorded, by address: {address: [last write, reads since]}."""

    def __init__(self, array, touched):
        self.array, self.touched = array, touched
        self.shape, self.ndim, self.dtype, self.size = (
            array.shape,
            array.ndim,
            array.dtype,
            array.size,
        )
        self.base = array.__array_interface__["data"][0]

    def address(self, index):
        steps = zip(
            index if isinstance(index, tuple) else (index,), self.array.strides, strict=True
        )
        return self.base + sum(int(i) * step for i, step in steps)

    def __getitem__(self, index):
        found = self.array[index]
        if isinstance(found, np.ndarray):
            return Watched(found, self.touched)
        me = greenlet.getcurrent()
        entry = self.touched.setdefault(self.address(index), [None, {}])
        if entry[0] is not None and not me.before(entry[0]):
            raise RaceError(f"read of [{index}] beside a write, shape {self.shape}")
        entry[1][me] = me.now
        return found

    def __setitem__(self, index, value):
        me = greenlet.getcurrent()
        entry = self.touched.setdefault(self.address(index), [None, {}])
        accesses = itertools.chain(entry[1].values(), [] if entry[0] is None else [entry[0]])
        if not all(map(me.before, accesses)):
            raise RaceError(f"write of [{index}] beside another access, shape {self.shape}")
        entry[:] = me.now, {}
        self.array[index] = value


_watching = False


@contextlib.contextmanager
def watched():
    """Launches in this block are checked for races."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False


# --- the names that kernels know ---------------------------------------------------------------------


class _Of:
    """An index that is each lane's own."""

    def __init__(self, get):
        self._get = get

    @property
    def x(self):
        return self._get(greenlet.getcurrent())


def _empty(shape, dtype):
    """Memory as a kernel finds it: with nothing to rely on."""
    array = np.empty(shape, as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
    array.fill(np.nan)
    return array


class _Local:
    array = staticmethod(_empty)


class _Shared:
    @staticmethod
    def array(shape, dtype):
        """The array of this block and of this line of the kernel."""
        lane, frame = greenlet.getcurrent(), sys._getframe(1)
        key = lane.block, frame.f_code, frame.f_lineno
        launch = lane.launch
        if key not in launch.shared:
            array = _empty(shape, dtype)
            launch.shared_bytes[lane.block] += array.nbytes
            assert launch.shared_bytes[lane.block] <= SHARED_BYTES, "too much shared memory"
            launch.shared[key] = array if launch.touched is None else Watched(array, launch.touched)
        return launch.shared[key]


class _Grid:
    @staticmethod
    def sync():
        greenlet.getcurrent().waits("grid")


class _Groups:
    @staticmethod
    def this_grid():
        return _Grid


def _syncthreads():
    greenlet.getcurrent().waits("block")


def _shfl_xor_sync(mask, value, distance):
    assert mask == 0xFFFFFFFF
    lane = greenlet.getcurrent()
    return lane.waits("warp", (value, (lane.number % WARP) ^ distance))


def _shfl_sync(mask, value, source):
    assert mask == 0xFFFFFFFF
    assert 0 <= source < WARP
    return greenlet.getcurrent().waits("warp", (value, source))


def _position(dimensions):
    lane = greenlet.getcurrent()
    return lane.block * lane.launch.threads + lane.number


def _positions(dimensions):
    launch = greenlet.getcurrent().launch
    return launch.grid * launch.threads


_NAMES = {
    "threadIdx": _Of(lambda lane: lane.number),
    "blockIdx": _Of(lambda lane: lane.block),
    "blockDim": _Of(lambda lane: lane.launch.threads),
    "gridDim": _Of(lambda lane: lane.launch.grid),
    "grid": _position,
    "gridsize": _positions,
    "shared": _Shared,
    "local": _Local,
    "cg": _Groups,
    "syncthreads": _syncthreads,
    "shfl_xor_sync": _shfl_xor_sync,
    "shfl_sync": _shfl_sync,
}


def _call(self, *arguments):
    if self._device:
        return self.fn(*arguments)
    (grid, *_), (threads, *_) = self.grid_dim, self.block_dim
    arrays = [getattr(a, "_ary", a) if isinstance(a, FakeCUDAArray) else a for a in arguments]
    return Launch(self.fn, grid, threads, arrays).run()


def _checked(elements):
    """Loads of several elements, only at addresses that a GPU can read at once."""

    def checked(x, at, count):
        array = getattr(x, "array", x)
        address = array.__array_interface__["data"][0] + int(at) * array.itemsize
        assert address % min(16, count * array.itemsize) == 0, f"{count} elements at {address}"
        assert array.flags.c_contiguous
        return elements(x, at, count)

    return checked


def install():
    """Put all this in place of what numba has."""
    for name, value in _NAMES.items():
        setattr(driver.cuda, name, value)
    kernel.FakeCUDAKernel.__call__ = _call
    loads._elements = _checked(loads._elements)
