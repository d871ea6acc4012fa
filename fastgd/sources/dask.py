"""Rows of a Dask array or data frame: chunks that stay where they lie, and sums that come back.

A pass is one task for each worker, which adds up nothing: it returns the sums of each of its chunks, and
they are added here in the order of the chunks. So the result depends on the chunks, and not on which
worker has which. Parameters are part of each task. Targets and weights lie beside the chunks.

Without a client the chunks are blocks, which are computed one after the other in every pass.
"""

from __future__ import annotations

import functools
import io
import itertools
import pickle
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import inputs
from ..errors import BlockError, InputError
from ..losses import CoupledLoss, Loss
from .blocks import BlockRows, Blocks, Opened, not_finite, sample_of, source_of_block
from .compressed import compressed, is_sparse
from .dask_parts import Parts, chunks_on_gpu, parts_of
from .read_ahead import read_ahead
from .watched import tell, watcher

#: Seconds between two looks at the workers, and those without any worker after which a pass is given up.
_LOOK, _PATIENCE = 1.0, 45.0


def of_dask(
    x: Any, y: Any, weight: Any, columns: Sequence[str] | None = None, categories: Any = None
) -> Opened:
    """x in chunks, with y and weights in memory, which may be collections of Dask too.

    `columns` and `categories` are those of a data frame, as for `categories.opened_table`.

    Raises
    ------
    InputError
        If x has no rows of numbers, or its chunks are on GPUs.
    BlockError
        If a chunk can't be computed.
    """
    client = _client_of(x)
    try:
        table = parts_of(x, y, weight, columns, categories)
        y, weight = (a.compute() if inputs.is_dask(a) else a for a in (table.y, table.weight))
        opened = _in_this_process(table) if client is None else _on_workers(client, table)
        opened.categories = table.categories
        return Opened(opened, y, weight)
    except (InputError, BlockError):
        raise
    except Exception as error:
        raise _told(error) from error.with_traceback(None)


def _on_workers(client: Any, table: Parts) -> Chunks:
    """The parts on the workers of a client; nothing is left of them where one can't be computed."""
    futures = _persisted(client, table.parts)
    try:
        return Chunks(client, list(futures), table)
    except BaseException:
        _release(futures)
        raise


def _client_of(x: Any) -> Any:
    """The caller's client of `distributed`; None where x is computed in this process."""
    from dask.base import get_scheduler

    client = getattr(get_scheduler(collections=[x]), "__self__", None)
    if client is None or not hasattr(client, "who_has"):
        return None
    if client.asynchronous:
        raise InputError(
            "the Dask client is asynchronous, and a fit waits for its results; connect a client "
            "without asynchronous=True."
        )
    return client


def _persisted(client: Any, parts: list[Any]) -> list[Any]:
    """The futures of Delayed objects, which the workers compute and keep."""
    from distributed import futures_of

    by_key = {future.key: future for future in futures_of(client.persist(parts))}
    return [by_key[part.key] for part in parts]


def _release(futures: list[Any]) -> None:
    """Let go of futures, to which errors and the coroutines of Dask may still refer."""
    for future in futures:
        future.release()
    futures.clear()


def _large_tasks() -> Any:
    """A context without a warning of large tasks: numbers of rows are sent on purpose."""
    from dask import config

    return config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})


def _told(error: Exception) -> InputError | BlockError:
    """What is to be said of an error of Dask, or of a task.

    It is another exception. That of a task is held by the client as long as its future is, and where it
    came through, which is here, would hold the future.
    """
    if isinstance(error, InputError | BlockError):
        return type(error)(str(error))
    kind, said = type(error).__name__, str(error).strip().partition("\n")[0].rstrip(".")
    if kind in ("KilledWorker", "MemoryError"):
        said += "; a worker holds all of its chunks: connect more workers, or ones with more memory"
    return BlockError(f"the chunks of x can't be computed: {kind}: {said}.")


# --- what runs on workers ---------------------------------------------------------------------


def _block(chunk: Any) -> Any:
    """A chunk as kernels read it: an aligned array in C or F order, or compressed rows."""
    if is_sparse(chunk):
        return compressed(chunk) if chunk.shape[0] else chunk
    if inputs.on_gpu(chunk):
        raise chunks_on_gpu()
    if hasattr(chunk, "tocsr"):  # of the library `sparse`
        return _block(chunk.tocsr())
    block = np.asarray(chunk)
    if block.dtype.kind not in "fiub" or block.ndim != 2:
        raise InputError(
            f"a chunk of x has shape {block.shape} and dtype {block.dtype}; pass rows of numbers."
        )
    flags = block.flags
    if flags.aligned and (flags.c_contiguous or flags.f_contiguous):
        return block
    return np.array(block, order="C")


def _itself(block: Any, n_threads: int) -> Any:
    return block


def _kind(block: Any, n_threads: int) -> tuple[tuple[int, int], np.dtype]:
    return block.shape, block.dtype


def _not_finite(name: str, names: Any, block: Any, n_threads: int) -> tuple[int, str] | None:
    return not_finite(block, name, names)


def _applied(work: Callable[[Any], np.ndarray], block: Any, n_threads: int) -> np.ndarray:
    return work(block)


def _sample(block: Any, n_threads: int) -> np.ndarray:
    return sample_of(block)


def _beside(chunk: Any, *samples: Any) -> tuple[Any, ...]:
    """Samples, by a task that depends on their chunk and so runs where it lies."""
    return samples


def _of_chunk(
    work: Any, dtype: Any, asked: int | None, k: int, block: Any, n_threads: int,
    samples: tuple[Any, ...], *per_row: Any,
) -> Any:  # fmt: skip
    """What `work` returns for a source of the block."""
    y, weight, offset = (a if a is None else np.require(a, None, "A") for a in samples)
    assert y is not None
    _require_rows(block, y.shape[1])
    return work(source_of_block(block, y, weight, dtype, asked or n_threads, k, offset), *per_row)


def _of_kept(
    work: Callable[..., Any], block: Any, n_threads: int, kept: tuple[np.ndarray], *beside: Any
) -> Any:
    """What `work` returns for some rows of the block."""
    _require_rows(block, len(kept[0]))
    return work(block[np.flatnonzero(kept[0])], n_threads, *beside)


def _require_rows(block: Any, rows: int) -> None:
    if block.shape[0] != rows:
        raise BlockError(
            f"a chunk of x has {block.shape[0]} rows now, and had {rows} at first; it must be the same "
            "whenever it is computed."
        )


def _on_worker(work: Callable[..., Any], chunks: list[Any], beside: list[tuple[Any, ...]]) -> Any:
    """The address of the worker, and what `work` returns for each of its chunks."""
    from distributed import get_worker

    worker = get_worker()
    n_threads = worker.state.nthreads
    found = [
        work(_block(chunk), n_threads, *of_chunk)
        for chunk, of_chunk in zip(chunks, beside, strict=True)
    ]
    return worker.address, found


class _Sent(NamedTuple):
    """A function on its way to workers, where it arrives as itself."""

    pickled: bytes

    def __reduce__(self) -> Any:
        return pickle.loads, (self.pickled,)


def _sent(work: Callable[..., Any]) -> _Sent:
    """A function on its way, whose losses arrive as one object in all passes: it has compiled kernels."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, Loss | CoupledLoss):
                return _arrived, (_pickled(thing),)
            return super().reducer_override(thing)

    file = io.BytesIO()
    Pickler(file).dump(work)
    return _Sent(file.getvalue())


@functools.lru_cache(maxsize=64)
def _pickled(loss: Any) -> bytes:
    import cloudpickle

    return bytes(cloudpickle.dumps(loss))


@functools.lru_cache(maxsize=64)
def _arrived(pickled: bytes) -> Any:
    return pickle.loads(pickled)


# --- chunks on workers ------------------------------------------------------------------------


class Chunks(Blocks):
    """x in chunks on the workers of a client.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
        One for each chunk, in order.
    table : Parts
    """

    def __init__(self, client: Any, futures: list[Any], table: Parts):
        self.client, self.futures, self.watch = client, futures, watcher()
        #: The sources whose samples lie beside the chunks.
        self.sources: weakref.WeakSet[DaskRows] = weakref.WeakSet()
        #: The chunks of each worker, by its address; empty where that is to be found out.
        self._groups: dict[str, list[int]] = {}
        shapes = self.each(_kind, range(len(futures)))
        for number, ((_, d), _) in enumerate(shapes):
            if d != table.d:
                raise InputError(f"chunk {number} of x has {d} columns, and x has {table.d}.")
        rows = [shape[0] for shape, _ in shapes]
        kept = [number for number, m in enumerate(rows) if m]
        ends = list(itertools.accumulate(rows))
        self.futures, self._groups = [futures[i] for i in kept], {}
        inputs.check_shape((ends[-1], table.d), "x")
        self.slices = [slice(ends[i] - rows[i], ends[i]) for i in kept]
        dtype = np.result_type(*{shapes[i][1] for i in kept})
        super().__init__(self._blocks, (ends[-1], table.d), dtype, table.names, _place_of(ends))

    def _blocks(self) -> Iterator[Any]:
        """The chunks themselves, one after the other."""
        for number in range(len(self.futures)):
            yield from self.each(_itself, [number])

    def joined(self, work: Callable[[Any], np.ndarray]) -> np.ndarray:
        """The arrays ``work(chunk)`` of the chunks, one after the other."""
        return np.concatenate(self.each(functools.partial(_applied, work)))

    def sample(self) -> np.ndarray:
        """Rows of the first chunk, float64, evenly spaced."""
        if self._sample is None:
            self._sample = self.each(_sample, [0])[0]
        return self._sample

    def require_finite(self, name: str) -> None:
        """Raise `InputError` with row, column, value and place of the first entry that is not finite."""
        look = functools.partial(_not_finite, name, self.names)
        for own, found in zip(self.slices, self.each(look), strict=True):
            self._refuse(found, own.start)

    def require_order(self, shuffle: bool | str) -> None:
        """Refused: rows one after the other would be read by one worker."""
        raise InputError(
            "x lies on the workers of a Dask cluster, which see all rows in an epoch; leave batch_size "
            "out, or pass x.compute()."
        )

    def each(
        self, work: Callable[..., Any], which: Any = None, *beside: Sequence[Any]
    ) -> list[Any]:
        """``work(block, n_threads, *(a[i] for a in beside))`` of the chunks, in order; all by default.

        Raises
        ------
        InputError
            That of a task.
        BlockError
            If a task fails, or no worker is left.
        """
        of_all = which is None
        which = range(len(self.futures)) if of_all else which
        groups = [
            (address, own)
            for address, numbers in self._placed().items()
            if (own := [i for i in numbers if i in which])
        ]
        tasks: list[Any] = []
        try:
            tasks += self._begun(work, groups, beside)
            answers = self._answers(tasks, [own for _, own in groups] if of_all else None)
        finally:
            _release(tasks)
        if of_all:
            self._tell(len(self))
        found: dict[int, Any] = {}
        for (address, own), (ran_at, results) in zip(groups, answers, strict=True):
            found.update(zip(own, results, strict=True))
            if ran_at != address:
                self._groups = {}
        return [found[i] for i in which]

    def _begun(
        self, work: Callable[..., Any], groups: list[tuple[str, list[int]]], beside: tuple[Any, ...]
    ) -> list[Any]:
        """The tasks of the workers, sent in one message, each for the worker that has its chunks."""
        from dask.base import annotate

        name = f"fastgd-{uuid.uuid4().hex}"
        keys = [f"{name}-{i}" for i in range(len(groups))]
        addresses = [[address] if address else [] for address, _ in groups]
        at = dict(zip(keys, addresses, strict=True)).get
        chunks = [[self.futures[i] for i in own] for _, own in groups]
        samples = [[tuple(a[i] for a in beside) for i in own] for _, own in groups]
        with _large_tasks(), annotate(workers=at, allow_other_workers=True):
            return list(
                self.client.map(
                    _on_worker, [work] * len(keys), chunks, samples, key=keys, pure=False
                )
            )

    def _placed(self) -> dict[str, list[int]]:
        """The chunks of each worker; those that are on none count as one worker's."""
        if not self._groups:
            self._answers(self.futures, gather=False)
            holders = self.client.who_has(self.futures)
            groups: dict[str, list[int]] = {}
            for number, future in enumerate(self.futures):
                at = sorted(holders.get(future.key) or [""])
                address = min(at, key=lambda one: len(groups.get(one, ())))
                groups.setdefault(address, []).append(number)
            self._groups = groups
        return self._groups

    def _answers(
        self, futures: list[Any], numbers: list[list[int]] | None = None, gather: bool = True
    ) -> Any:
        """The results of tasks of a pass over these chunks, or None once all have ended."""

        def look() -> None:
            if numbers is not None:
                ended = zip(futures, numbers, strict=True)
                done = [i for future, own in ended if future.status == "finished" for i in own]
                self._tell(sum(self.slices[i].stop - self.slices[i].start for i in done))
            elif self.watch is not None:
                self.watch(0, 0)

        try:
            return self._waited(futures, gather, look)
        except Exception as error:
            raise _told(error) from error.with_traceback(None)

    def _waited(self, futures: list[Any], gather: bool, look: Callable[[], None]) -> Any:
        """As `_answers`, for as long as there are workers; calls `look` while tasks run.

        Results may be lost after the tasks have ended, and are then computed again during the transfer.
        """
        from distributed import wait

        client, last, transfers = self.client, time.monotonic(), 0
        while True:
            try:
                wait(futures, timeout=_LOOK)
                if not gather:
                    return None
                transfers += 1
                return client.sync(
                    lambda: client.gather(futures, asynchronous=True),
                    callback_timeout=_LOOK * 2**transfers,
                )
            except TimeoutError:
                look()
                for future in futures:
                    if future.status == "error":
                        raise future.exception() from None
                workers = client.scheduler_info()["workers"].values()
                if any(worker["status"] == "running" for worker in workers):
                    last = time.monotonic()
                elif time.monotonic() - last > _PATIENCE:
                    raise BlockError(
                        f"the cluster has had no worker for {_PATIENCE:g} seconds that takes tasks, of "
                        f"{len(workers)}; connect some, and fit again. Why others ended or paused is in "
                        "their logs: memory, or a module that they can't import."
                    ) from None

    def close(self) -> None:
        """Let go of the chunks and of what lies beside them, whatever still refers to them."""
        _release(self.futures)
        for rows in self.sources:
            _release(vars(rows).pop("_samples_there", []))


class SelectedChunks(Chunks):
    """Some rows of x, which the workers pick out of its chunks in every pass.

    Parameters
    ----------
    x : Chunks
    kept : ndarray (n,) of bool
    """

    def __init__(self, x: Chunks, kept: np.ndarray):
        of_chunks = [(kept[own], i) for i, own in enumerate(x.slices) if kept[own].any()]
        rows = [int(own.sum()) for own, _ in of_chunks]
        ends = list(itertools.accumulate(rows))
        self._x, self.client, self.sources, self._groups = x, x.client, x.sources, {}
        self.futures = [x.futures[i] for _, i in of_chunks]
        self.slices = [slice(end - m, end) for end, m in zip(ends, rows, strict=True)]
        with _large_tasks():
            masks = [own for own, _ in of_chunks]
            self._kept = list(self.client.map(_beside, self.futures, masks, pure=False))
        Blocks.__init__(self, self._blocks, (ends[-1], x.shape[1]), x.dtype, x.names)

    def each(
        self, work: Callable[..., Any], which: Any = None, *beside: Sequence[Any]
    ) -> list[Any]:
        """As of `Chunks`, of the rows of each chunk that are kept."""
        return super().each(functools.partial(_of_kept, work), which, self._kept, *beside)

    def _tell(self, rows: int) -> None:
        """As rows of x."""
        self._x._tell(rows * len(self._x) // len(self))

    def close(self) -> None:
        """Let go of what lies beside the chunks, which are those of x."""
        _release(self._kept)


class DaskRows(BlockRows):
    """x in `Chunks`, y (k, n), weight and offset as a source; the parameters are those of `HostRows`."""

    x: Chunks

    @functools.cached_property
    def _samples_there(self) -> list[Any]:
        """Targets, weights and offset of each chunk, beside it."""
        columns: list[list[Any]] = [[], [], []]
        for own in self.x.slices:
            columns[0].append(np.ascontiguousarray(self.y[:, own]))
            columns[1].append(self.weight[own] if len(self.weight) else None)
            columns[2].append(
                np.ascontiguousarray(self.offset[:, own]) if len(self.offset) else None
            )
        self.x.sources.add(self)
        with _large_tasks():
            return list(self.x.client.map(_beside, self.x.futures, *columns, pure=False))

    def _results(
        self, work: Callable[..., Any], per_row: np.ndarray | None = None
    ) -> Iterator[tuple[slice, Any]]:
        on_chunk = functools.partial(_of_chunk, _sent(work), self.dtype, self._n_threads, self.k)
        beside = [self._samples_there]
        if per_row is not None:
            beside.append([per_row[own] for own in self.x.slices])
        yield from zip(self.x.slices, self.x.each(on_chunk, None, *beside), strict=True)


# --- chunks in this process -------------------------------------------------------------------


def _in_this_process(table: Parts) -> Blocks:
    """Blocks that are computed one after the other, at first to find out their rows if need be."""

    def read(order: Sequence[int] = range(len(table.parts))) -> Iterator[Any]:
        for number in order:
            block = _block(table.parts[number].compute())
            if block.shape[0]:
                yield block

    rows, dtype = table.rows, table.dtype
    if rows is None:
        rows = ()
        for block in read_ahead(read()):
            rows += (block.shape[0],)
            tell(sum(rows), sum(rows) * table.d * dtype.itemsize)
    n = sum(rows)
    inputs.check_shape((n, table.d), "x")
    place_of = _place_of(itertools.accumulate(rows))
    return Blocks(read, (n, table.d), dtype, table.names, place_of, lambda: rows)


def _place_of(ends: Any) -> Callable[[int], str]:
    """Which chunk has a row, and as which of its rows, as text."""
    ends = list(ends)

    def place_of(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        if number >= len(ends):
            return ""
        return f" (row {row - (ends[number - 1] if number else 0)} of chunk {number})"

    return place_of
