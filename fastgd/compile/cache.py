"""The disk cache of compiled functions: one file for each, with its key.

The name of a file is a digest of its key; the file holds the key and a digest of its contents. It is
loaded only if it is undamaged and of this function, these types, this processor and these versions. Files
are written under another name and renamed, so that processes need no lock.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import pathlib
import pickle
import re
import secrets
import time
import uuid
from typing import Any

from numba.core import entrypoints
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from .fingerprint import fingerprint

#: The files that the cache may remove: its own, also unfinished ones of killed processes.
_OURS = re.compile(r"-[0-9a-f]{32}\.nbc(\.[0-9a-f]{32})?$")
#: Seconds after which a file that no process has loaded is removed, and after which a load is noted.
_KEPT, _NOTED = 90 * 86400, 86400


def _number_functions() -> None:
    """Let Numba number functions from a random number on.

    Machine code is found by the name of its function and its number in the process that compiled it. Two
    variants of a helper, in kernels that two processes cached, may have the same name and number: one
    would run instead of the other.
    """
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))


_number_functions()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_number_functions)


class KernelCache(NullCache):
    """The cache of a dispatcher, as Numba calls it; its failures never make a call fail."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher, self._function = dispatcher, dispatcher.py_func
        self._name = self._function.__qualname__
        self._keys: dict[Any, str | None] = {}

    @functools.cached_property
    def _numba(self) -> Any:
        """Take Numba's folder and its serialisation; RuntimeError without a folder."""
        return CompileResultCacheImpl(self._function)

    @property
    def cache_path(self) -> str | None:
        with contextlib.suppress(RuntimeError):
            return self._numba.locator.get_cache_path()
        return None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The cached function of a signature, or None: then it is compiled."""
        _prepare(target_context)
        key = self._keys[sig] = self._key(sig, target_context.codegen())
        if key is None:
            return None
        # Variants of one function have names of their own.
        self._function.__qualname__ = f"{self._name}_{_digest(key)[:16]}"
        try:
            return self._numba.rebuild(target_context, pickle.loads(_read(self._path(key), key)))
        except Exception:  # whatever is wrong with the file: compile
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, unless its sources changed meanwhile or can't be traced."""
        key = self._keys.pop(sig)
        # A folder that is read-only, full or gone: the function is compiled, but not kept.
        with contextlib.suppress(Exception):
            if key is None or key != self._key(sig, data.codegen):
                return
            if self._numba.check_cachable(data):
                self._numba.locator.ensure_cache_path()
                _write(self._path(key), key, dumps(self._numba.reduce(data)))

    def _key(self, sig: Any, codegen: Any) -> str | None:
        try:
            found = fingerprint(self._dispatcher, *normalize_signature(sig))
        except Exception:  # what can't be traced isn't cached
            return None
        return "\n".join(
            [
                str(self._function.__module__),
                self._name,
                str(sig),
                repr(codegen.magic_tuple()),
                found,
            ]
        )

    def _path(self, key: str) -> pathlib.Path:
        name = f"{self._function.__name__}-{_digest(key)}.nbc"
        return pathlib.Path(self._numba.locator.get_cache_path(), name)


def _prepare(target_context: Any) -> None:
    """Make ready to load machine code: Numba's allocator, and its extensions, which keys depend on.

    Numba's own cache calls `refresh`, which makes ready to compile: 0.3 s for thousands of
    implementations and SciPy's import. A compilation calls it itself.
    """
    rtsys.initialize(target_context)
    entrypoints.init_all()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _head(key: str) -> bytes:
    return f"fastgd {len(key.encode())}\n{key}\n".encode()


def _read(path: pathlib.Path, key: str) -> bytes:
    """The payload of a file; ValueError if it is damaged or under another key."""
    with open(path, "rb") as file:
        if time.time() - os.fstat(file.fileno()).st_mtime > _NOTED:
            with contextlib.suppress(OSError):
                os.utime(path)
        digest, data = file.read(32), file.read()
    head = _head(key)
    if not data.startswith(head) or hashlib.sha256(data).digest() != digest:
        raise ValueError(f"{path} is damaged, or of another function")
    return data[len(head) :]


def _write(path: pathlib.Path, key: str, payload: bytes) -> None:
    data = _head(key) + payload
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(hashlib.sha256(data).digest() + data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _remove_old(path.parent)


@functools.cache
def _remove_old(folder: pathlib.Path) -> None:
    """Remove files that no process has loaded for long, as of earlier versions; once per process."""
    for path in folder.iterdir():
        if _OURS.search(path.name):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT:
                    path.unlink()
