"""Everything that needs a GPU, in under 8 minutes: the tests marked gpu, the benches, and a record.

    python -m benches.gpu [--quick] [--out PATH] [--minutes M]
    python -m benches.gpu --table RECORD     prints the tables of a record again

Run from the root of the repository. What uses the device runs in processes of its own, so that a
kernel that fails or hangs ends neither the others nor the record, which is written after every step.
Only NumPy and fastgd with numba-cuda must be there; what else is missing is said. The exit code is 0
if all went well, 1 if a test failed or fastgd failed in a bench, 3 if there is no GPU to run on.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))  # as pytest has it

import cuda_race  # noqa: E402
import cuda_workloads  # noqa: E402
from report import human  # noqa: E402

NO_GPU = 3
MINUTES = 7.5
#: The share of the time that the tests may take, and the most seconds of a work.
TESTS, LONGEST = 0.45, 90.0
#: What a work must at least have left to be begun.
SHORTEST = 15.0
VERSIONED = (
    "fastgd", "numpy", "numba", "numba-cuda", "numba-cuda-mlir", "llvmlite", "cuda-bindings",
    "cuda-core", "torch", "triton", "cupy", "cupy-cuda12x", "cupy-cuda13x", "cuml", "cuml-cu12",
    "cuml-cu13", "pytest", "pytest-benchmark", "hypothesis",
)  # fmt: skip
_MARK = "@result "


# --- what is here --------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Of python and of what is installed."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "fastgd" not in found:  # run from the repository
        from fastgd import __version__

        found["fastgd"] = __version__
    return found


def driver_of_nvidia() -> list[str]:
    """A line "name, driver version, memory" for each GPU that nvidia-smi shows."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    ask = [command, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.splitlines() if line.strip()]


def slug(name: str) -> str:
    """A file's name: "NVIDIA H100 80GB HBM3" is "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


def environment() -> dict[str, str]:
    """For the processes that use the device."""
    found = dict(os.environ)
    found["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"
    found.pop("NUMBA_ENABLE_CUDASIM", None)
    found["PYTHONUNBUFFERED"] = "1"
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), found.get("PYTHONPATH")]))
    return found


# --- a process that uses the device --------------------------------------------------------------


def child(job: str, options: list[str], env: dict[str, str], patience) -> Any:
    """Results of `python -m benches.gpu --job JOB OPTIONS` one by one; other lines are shown.

    ``patience()`` gives the seconds to wait for the next; when they are over the process is ended. A
    dictionary with "ended" comes last: None if all went well, else how it ended.
    """
    command = [sys.executable, "-m", "benches.gpu", "--job", job, *options]
    process: Any = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    end, ended = time.monotonic() + patience(), None
    try:
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                ended = "it did not end in time"
                break
            if line is None:
                break
            if line.startswith(_MARK):
                yield json.loads(line.removeprefix(_MARK))
                end = time.monotonic() + patience()
            else:
                print(line, end="", flush=True)
        if ended is None and (code := process.wait()):
            ended = f"it ended with exit code {code}"
    finally:  # also where nobody asks for more
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
    yield {"ended": ended}


def _hand_over(result: dict) -> None:
    print(_MARK + json.dumps(result), flush=True)


def job_info() -> None:
    """What the device is, and what is missing."""
    from fastgd.cuda import driver

    found: dict[str, Any] = {"missing": driver.missing()}
    if driver.SIMULATED:
        found["missing"] = "this is the simulator"
    if found["missing"] is None:
        device = driver.cuda.get_current_device()
        name = device.name
        found["device"] = name.decode() if isinstance(name, bytes) else str(name)
        asked = {
            "capability": lambda: device.compute_capability,
            "driver_cuda": lambda: driver.cuda.cudadrv.driver.get_version(),
        }
        for key, ask in asked.items():
            try:
                found[key] = ".".join(map(str, ask()))
            except Exception as failure:  # in versions of numba-cuda not known here
                print(f"{key} can't be asked: {failure}")
    _hand_over(found)


def job_bench(names: list[str], quick: bool) -> None:
    """The bandwidths, then the result of every work."""
    import cuda_bandwidth

    works = cuda_workloads.works(quick)
    seconds_of = cuda_race.clock()
    measured = cuda_bandwidth.measured(seconds_of)
    _hand_over({"measured": measured})
    for name in names:
        print(name, flush=True)
        result = cuda_race.hold(works[name], seconds_of, measured, _told)
        _hand_over({"work": name, "result": result})


def _told(line: str) -> None:
    print(line, flush=True)


def job_compile() -> None:
    """Kernels to PTX, for which no GPU is needed."""
    if importlib.util.find_spec("numba_cuda") is None:
        sys.exit("  nothing, as numba-cuda is not installed")
    from cuda_compile import compiled

    failures = 0
    for name, seconds, failure in compiled():
        failures += failure is not None
        print(f"  {name}: {failure or f'{seconds:.2f} s'}", flush=True)
    _hand_over({"failures": failures})


# --- the tests -----------------------------------------------------------------------------------


def commands_of_tests() -> list[list[str]]:
    """A pytest command for each file of tests/cuda and half of its tests, by dtype."""
    plain = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-m", "gpu", "-W", "default"]
    plain += ["-p", "no:cacheprovider"]
    if importlib.util.find_spec("pytest_benchmark") is None:
        plain += ["-o", "addopts=--import-mode=importlib"]
    files = sorted((ROOT / "tests" / "cuda").glob("test_*.py"))
    halves = ["float32", "not float32"]
    return [[*plain, "-k", half, str(f.relative_to(ROOT))] for f in files for half in halves]


_OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)


def counted(output: str) -> dict[str, int]:
    """How many tests passed, failed and were skipped, of pytest's lines, even of a part of them."""
    outcomes = [outcome for _, outcome in _OUTCOME.findall(output)]
    failed = outcomes.count("FAILED") + outcomes.count("ERROR")
    if not failed and re.search(r"^ERROR |^E  ", output, re.MULTILINE):
        failed = 1  # a file that could not be read
    return {
        "passed": outcomes.count("PASSED"),
        "failed": failed,
        "skipped": outcomes.count("SKIPPED"),
    }


def run_tests(commands, env: dict[str, str], budget, at_once: int) -> dict[str, Any]:
    """Run the commands side by side while there is time; what failed is shown."""
    total: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "unfinished": []}
    lock, waiting = threading.Lock(), list(commands)

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                command = waiting.pop(0)
            name, left, finished, output = (
                f"{command[-1]} ({command[-2]})",
                budget.left(),
                False,
                "",
            )
            if left > 0:
                with subprocess.Popen(
                    command, cwd=ROOT, env=env, text=True, errors="replace",
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                ) as process:  # fmt: skip
                    try:
                        output, _ = process.communicate(timeout=left)
                        finished = True
                    except subprocess.TimeoutExpired:
                        process.kill()
                        output, _ = process.communicate()
            code = process.returncode if finished else None
            count = counted(output)
            if finished and code not in (0, 1, 5) and not count["failed"]:
                count["failed"] = 1  # a crash; 5 is "no tests"
            with lock:
                for key, number in count.items():
                    total[key] += number
                if not finished:
                    total["unfinished"].append(name)
                end = "" if finished else " … and did not end in time"
                print(f"  {name}: {_told_counts(count)}{end}", flush=True)
                if count["failed"]:
                    print(output[-12_000:], flush=True)
                for reason in sorted(set(re.findall(r"SKIPPED \((.+)\)", output))):
                    print(f"    skipped: {reason}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(max(1, at_once))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total


def _told_counts(count: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in count.items())


# --- the benches ---------------------------------------------------------------------------------


def run_benches(names: list[str], quick: bool, env, budget, save) -> dict[str, Any]:
    """The result of every work, in one process or, after one that ended badly, the next.

    ``save(measured, results)`` is called after every one.
    """
    measured: dict[str, float] = {}
    results: dict[str, dict] = {}
    waiting, attempts = list(names), 0
    while waiting and budget.left() > SHORTEST:
        attempts += 1
        known = len(results)
        options = [*(["--quick"] if quick else []), *waiting]
        for told in child("bench", options, env, lambda: min(LONGEST, budget.left())):
            if "measured" in told:
                measured = told["measured"]
            elif "work" in told:
                results[told["work"]] = told["result"]
                waiting.remove(told["work"])
            elif told.get("ended") and waiting and (measured or attempts > 1):  # by this work
                print(f"{waiting[0]}: {told['ended']}", flush=True)
                results[waiting.pop(0)] = {"ended": told["ended"]}
            save(measured, results)
            if waiting and budget.left() < SHORTEST:
                break
        if len(results) == known and attempts > 2:
            break
    for name in waiting:
        print(f"{name}: no time was left, or nothing runs")
        results[name] = {"skipped": "no time was left"}
    save(measured, results)
    return results


# --- what is told --------------------------------------------------------------------------------


def table(results: dict[str, dict]) -> str:
    """Contestants by work: median seconds, bandwidth, deviation from torch, or why there are none."""
    lines = []
    for name, result in results.items():
        lines += ["", name]
        for reason in filter(None, (result.get("skipped"), result.get("ended"))):
            lines.append(f"  {reason}")
        seconds = result.get("seconds", {})
        own = seconds.get("fastgd", seconds.get("fastgd, whole call"))
        for who, median in sorted(seconds.items(), key=lambda row: row[1]):
            cells = [f"{human(median):>9}"]
            if own:
                cells.append(f"{median / own:7.2f}x")
            cells.append(f"{result['GBps'][who]:8.0f} GB/s")
            for kind in ("read", "copy"):
                if who in result.get(f"of_{kind}", {}):
                    cells.append(f"{100 * result[f'of_{kind}'][who]:4.0f} % of {kind}")
            if who in result.get("passes", {}):
                cells.append(f"{result['passes'][who]} passes")
            cells.append(f"off by {result['deviation'][who]:.1e}")
            lines.append(f"  {who:<20}" + ", ".join(cells))
        if not seconds and result.get("deviation"):
            lines += [f"  off by {off:.1e} a step" for off in result["deviation"].values()]
        lines += [f"  {who:<20}{why}" for who, why in result.get("failed", {}).items()]
    return "\n".join(lines)


def table_of_figures(found: list[dict]) -> str:
    """What was wanted, and what came of it."""
    lines = ["", "Figures"]
    for row in found:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[row["met"]]
        number = "-" if row["found"] is None else f"{row['found']:.3g}"
        lines.append(
            f"  {row['work']}: {row['contestant']}, {row['figure']} {number}, "
            f"wanted {row['wanted']}: {verdict}"
        )
    return "\n".join(lines)


def rounded(value: Any) -> Any:
    """The same with numbers of four digits, for a record that can be read."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


class Record:
    """The results as a file, written anew whenever there is more; without a date."""

    def __init__(self, path: pathlib.Path, known: dict[str, Any], works: dict):
        self.path, self.known, self._works = path, dict(known), works

    def add(self, **more: Any) -> None:
        self.known |= more
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(rounded(self.known), indent=1, ensure_ascii=False)
        self.path.write_text(text + "\n", encoding="utf-8")

    def add_benches(self, measured: dict, results: dict) -> None:
        self.add(**measured, workloads=results, figures=self.figures(results))

    def figures(self, results: dict) -> list[dict]:
        rows = [cuda_race.figures(work, results.get(n, {})) for n, work in self._works.items()]
        return [row for several in rows for row in several]


# --- the command ---------------------------------------------------------------------------------


def examined(env: dict[str, str]) -> dict[str, Any]:
    """What the device is; with CUDA_HOME set in `env` if only that is missing."""
    found = _info(env)
    toolkit = pathlib.Path("/usr/local/cuda")
    if "CUDA_HOME" not in env and "libnvvm" in (found["missing"] or "") and toolkit.exists():
        env["CUDA_HOME"] = str(toolkit)
        print(f"libnvvm is not found: CUDA_HOME is set to {toolkit}")
        found = _info(env)
    return found


def _info(env) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for told in child("info", [], env, lambda: 120.0):
        found |= told
    found.setdefault("missing", f"numba.cuda can't be used: {found['ended']}")
    return found


def without_device(env: dict[str, str]) -> int:
    """No GPU: say so, and compile what can be compiled."""
    print("There is no GPU to run on. Compiling what can be compiled:")
    for told in child("compile", [], env, lambda: 240.0):
        if told.get("ended"):
            print(f"  no further: {told['ended']}")
        elif told.get("failures"):
            print(f"  {told['failures']} kernels did not compile")
    return NO_GPU


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benches.gpu", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--out", type=pathlib.Path, help="where the record goes")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the time for all of it")
    parser.add_argument(
        "--table", type=pathlib.Path, metavar="RECORD", help="print it, run nothing"
    )
    parser.add_argument("--job", choices=("info", "bench", "compile"), help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    known: dict[str, Any]
    if options.table:
        known = json.loads(options.table.read_text(encoding="utf-8"))
        print(table(known["workloads"]), table_of_figures(known["figures"]), sep="\n")
        return 0
    if options.job == "info":
        return job_info() or 0
    if options.job == "bench":
        return job_bench(options.names, options.quick) or 0
    if options.job == "compile":
        return job_compile() or 0

    budget, env = cuda_race.Budget(60 * options.minutes), environment()
    known = {"versions": versions()}
    for name, version in known["versions"].items():
        print(f"{name} {version}")
    gpus = driver_of_nvidia()
    print("\n".join(gpus) or "nvidia-smi shows no GPU")
    found = examined(env)
    for name in cuda_workloads.CONTESTANTS:
        if reason := cuda_workloads.missing(name):
            print(f"{name} does not run: {reason}")
    if found["missing"]:
        print(found["missing"])
        return without_device(env)
    known |= {key: found[key] for key in ("device", "capability", "driver_cuda") if key in found}
    known["driver"] = gpus[0].split(", ")[1] if gpus and ", " in gpus[0] else None
    print(f"{found['device']}, compute capability {found.get('capability', 'unknown')}")
    works = cuda_workloads.works(options.quick)
    ending = "-quick" if options.quick else ""
    path = options.out or HERE / "results" / f"{slug(found['device'])}{ending}.json"
    record = Record(path, known, works)
    record.add()

    tests: dict[str, Any] = {"failed": 0}
    if importlib.util.find_spec("pytest") is None:
        print("pytest is not installed: the tests do not run; the benches compare with torch too.")
    else:
        cores = os.cpu_count() or 1
        print(f"Tests, {budget.left():.0f} s left in all")
        tests = run_tests(commands_of_tests(), env, budget.part(TESTS), min(12, max(1, cores - 2)))
        print(f"  in all: {_told_counts({k: v for k, v in tests.items() if k != 'unfinished'})}")
        record.add(tests=tests)

    print(f"Benches, {budget.left():.0f} s left")
    results = run_benches(list(works), options.quick, env, budget, record.add_benches)
    print(table(results))
    print(table_of_figures(record.figures(results)))
    print(f"\nRecord: {path}")
    broken = [
        name for name, result in results.items()
        if "ended" in result or any(who.startswith("fastgd") for who in result.get("failed", {}))
    ]  # fmt: skip
    for name in broken:
        print(f"fastgd failed in: {name}")
    return 1 if tests["failed"] or broken else 0


if __name__ == "__main__":
    sys.exit(main())
