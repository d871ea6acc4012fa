"""Real text without a network: the functions and classes in the source files of the installed packages.

A document is the text of a function, or that of a class up to its first method; its label is the
package. scikit-learn's HashingVectorizer with its defaults and 2**18 columns makes it a row of length 1.
`python benches/corpus.py` makes the matrix, in some minutes, and keeps it in the user's cache folder: it
differs with the packages that are installed, so a record of figures has to say how large it was.
"""

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLUMNS = 2**18
#: Packages with fewer documents are left out: a label needs some.
FEWEST = 100


class Corpus(NamedTuple):
    """Hashed documents, ordered by package and file, and where they are from."""

    x: object  # csr_matrix of float64, 32-bit indices
    package: np.ndarray  # of each document, a number
    file: np.ndarray  # of each document, a number: what is held out is whole files
    names: np.ndarray  # of the packages, by number


def place() -> Path:
    """The file that holds the corpus."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "fastgd-benches" / "sources.npz"


def load() -> Corpus:
    """The corpus, as it was made before."""
    from scipy.sparse import csr_matrix

    with np.load(place()) as kept:
        parts = kept["data"], kept["indices"], kept["indptr"]
        x = csr_matrix(parts, shape=(len(kept["package"]), COLUMNS))
        return Corpus(x, kept["package"], kept["files"], kept["names"])


def make(folder: str | None = None) -> Corpus:
    """Read, hash and keep the packages in a folder; by default those of this Python."""
    from sklearn.feature_extraction.text import HashingVectorizer

    root = Path(folder or sysconfig.get_path("purelib"))
    package, file, names = [], [], []

    def texts() -> Iterator[str]:
        n_files = 0
        for name, paths in sorted(_packages(root).items()):
            found = [(n, text) for n, path in enumerate(paths) for text in _documents(path)]
            if len(found) < FEWEST:
                continue
            package.extend([len(names)] * len(found))
            file.extend(n_files + n for n, _ in found)
            names.append(name)
            n_files += len(paths)
            yield from (text for _, text in found)

    x = HashingVectorizer(n_features=COLUMNS).transform(texts())
    x.sort_indices()
    arrays = {"data": x.data, "indices": x.indices.astype(np.int32)}
    arrays |= {"indptr": x.indptr.astype(np.int32), "names": np.array(names)}
    arrays |= {"package": np.array(package, np.int16), "files": np.array(file, np.int32)}
    place().parent.mkdir(parents=True, exist_ok=True)
    part = place().with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(place())
    return load()


def _packages(root: Path) -> dict[str, list[Path]]:
    return {
        entry.name: sorted(entry.rglob("*.py"))
        for entry in root.iterdir()
        if entry.is_dir() and entry.name.isidentifier()
    }


def _documents(path: Path) -> Iterator[str]:
    try:
        text = path.read_text("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    lines = text.split("\n")
    function = ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, function | ast.ClassDef):
            end = node.end_lineno
            if isinstance(node, ast.ClassDef):
                end = min((m.lineno - 1 for m in node.body if isinstance(m, function)), default=end)
            yield "\n".join(lines[node.lineno - 1 : end])


if __name__ == "__main__":
    corpus = make()
    print(
        f"{corpus.x.shape[0]:,} documents, {corpus.x.nnz:,} nonzeros, {len(corpus.names)} packages"
    )
