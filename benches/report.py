"""pytest-benchmark's JSON as tables in Markdown, and as a compact record in `results/`.

    pytest --benchmark-only --benchmark-json=bench.json
    python benches/report.py bench.json --save benches/results/NAME.json
    python benches/report.py benches/results/NAME.json
    python benches/report.py benches/results/NAME.json --into benches/results/README.md
    python benches/report.py benches/results/{NAME,OTHER}.json --short --into README.md

The third prints the tables again from the record, and the last two write them between the markers of a
file that name the last record. Of several records a row is from the last one that has it. `plots.py`
draws the scaling curves.
"""

import argparse
import json
import pathlib
import re

#: What is kept of a workload, and of each contestant's result, beside the seconds.
OF_ROW = ("table", "axis", "at", "panel", "shape", "bytes", "read_GBps", "x_bytes")
OF_RESULT = {"cost": 6, "error": 2, "tol": 2, "memory": 4}  # digits


def compact(raw: dict) -> dict:
    """The machine, the versions, and for each workload the median seconds of each contestant."""
    machine = raw["machine_info"]
    rows: dict[str, dict] = {}
    for bench in raw["benchmarks"]:
        info = bench["extra_info"]
        row = rows.setdefault(bench["group"], {"seconds": {}, "rounds": {}})
        row["seconds"][info["contestant"]] = float(f"{bench['stats']['median']:.4g}")
        row["rounds"][info["contestant"]] = bench["stats"]["rounds"]
        row |= {key: info[key] for key in OF_ROW if key in info}
        for key, digits in OF_RESULT.items():
            if info.get(key) is not None:
                number = float(f"{info[key]:.{digits}g}")
                row.setdefault(key, {})[info["contestant"]] = number
    return {
        "date": raw["datetime"][:10],
        "cpu": machine["cpu"].get("brand_raw", machine["machine"]),
        "threads": machine["threads"],
        "python": machine["python_version"],
        "versions": machine["versions"],
        "workloads": rows,
    }


def human(seconds: float) -> str:
    """Three digits and a unit."""
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((u for u, size in units.items() if seconds >= size), "µs")
    number = seconds / units[unit]
    return f"{number:.{0 if number >= 99.5 else 1 if number >= 9.95 else 2}f} {unit}"


def _markdown(head: list[str], rows: list[list[str]], words: int = 1) -> list[str]:
    """The first columns, of `words`, to the left, and numbers to the right."""
    rule = "| " + " | ".join(["---"] * words + ["---:"] * (len(head) - words)) + " |"
    return ["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(r) + " |" for r in rows)]


def _bold_best(seconds: dict[str, float]) -> dict[str, str]:
    best = min(seconds.values())
    return {name: f"**{human(s)}**" if s == best else human(s) for name, s in seconds.items()}


def comparison(rows: dict[str, dict]) -> list[str]:
    """A row a workload, a column a contestant, the fastest in bold."""
    names = dict.fromkeys(c for row in rows.values() for c in row["seconds"])
    rivals = [name for name in names if name != "fastgd"]
    shares = any("read_GBps" in row for row in rows.values())
    of_read = ["of the read bandwidth"] if shares else []
    lines = []
    for name, row in rows.items():
        ours, shown = row["seconds"].get("fastgd"), _bold_best(row["seconds"])
        others = [s for c, s in row["seconds"].items() if c != "fastgd"]
        cells = [name, shown.get("fastgd", "–")]
        cells.append(f"{min(others) / ours:.2g}x" if ours and others else "–")
        if shares and ours and "read_GBps" in row:
            cells.append(f"{row['bytes'] / ours / row['read_GBps'] / 1e9:.0%}")
        elif shares:
            cells.append("–")
        lines.append(cells + [shown.get(c, "–") for c in rivals])
    return _markdown(["workload", "fastgd", "best rival / fastgd", *of_read, *rivals], lines)


def optimum(rows: dict[str, dict]) -> list[str]:
    """A row a contestant: its time, and how near it came."""
    lines = []
    for name, row in rows.items():
        ours, shown = row["seconds"].get("fastgd"), _bold_best(row["seconds"])
        for contestant in sorted(row["seconds"], key=row["seconds"].__getitem__):
            error, tol = (row.get(k, {}).get(contestant) for k in ("error", "tol"))
            ratio = f"{row['seconds'][contestant] / ours:.2g}x" if ours else "–"
            how = f"{tol:g}" if tol is not None else "–"
            # Below one rounding of the objective is none.
            off = "–" if error is None else f"{error:.0e}" if error > 2e-16 else "0"
            lines.append([name, contestant, shown[contestant], ratio, how, off])
            name = ""
    return _markdown(["workload", "who", "time", "time / fastgd", "tol", "error"], lines, words=2)


def memory(rows: dict[str, dict]) -> list[str]:
    """A row a path: what it takes above its inputs."""
    lines = [
        [
            name.removeprefix("memory, "),
            contestant,
            f"{row['x_bytes'] / 1e6:,.0f} MB",
            f"{peak / 1e6:,.1f} MB",
            f"{peak / row['x_bytes']:.1%}",
            human(row["seconds"][contestant]),
        ]
        for name, row in rows.items()
        for contestant, peak in row["memory"].items()
    ]
    return _markdown(["path", "who", "X", "above the inputs", "of X", "time"], lines, words=2)


#: The value of "table" in a row -> what is said before the table, and who prints it.
TABLES = {
    None: ("", comparison),
    "orders": ("What a block shuffle costs beside the given order:", comparison),
    "optimum": (
        "To the optimum. The error is that of the coefficients for least squares without a penalty, else "
        "how far the objective is above the optimum, both relative; tol is the loosest that reaches "
        "1e-6:",
        optimum,
    ),
    "text": (
        "Sparse rows of text. The error is how far the objective is above the optimum, relatively, or "
        "after an epoch of SGD how far from that of the plain loop; tol is the loosest that comes as "
        "near as the row says:",
        optimum,
    ),
    "activations": ("Activations of an array, into a new one:", comparison),
    "networks": ("Back-propagation:", comparison),
    "estimators": ("Estimators of scikit-learn's names:", comparison),
    "optimizers": ("Optimizers, in batches of 256 (L-BFGS on all rows):", comparison),
    "softmax": ("More than two labels:", comparison),
    "small": ("Calls on a few numbers:", comparison),
    "memory": ("Peak of memory above the inputs:", memory),
}


def tables(record: dict) -> str:
    """All tables in Markdown, and the machine they are from."""
    lines: list[str] = []
    for kind, (before, show) in TABLES.items():
        rows = {n: r for n, r in record["workloads"].items() if r.get("table") == kind}
        if rows:
            lines += [*([before, ""] if before else []), *show(rows), ""]
    lines.append(
        f"{_machine(record)} A share of the read bandwidth above 100 % is an epoch that did not read X."
    )
    return "\n".join(lines)


#: The workloads of the README's table, and what they are called there.
SHORT = {
    "linear, 1,000,000x32 float64, batch, 30 epochs": "least squares, 1,000,000×32, 30 epochs",
    "logistic, 1,000,000x32 float64, batch, 30 epochs": "logistic, the same",
    "linear, 500,000x50, condition 1000, to the solution": "least squares, 500,000×50, to the solution",
    "logistic, 500,000x50, condition 1000, l2 0.0001, to 1e-6 of the optimum": (
        "logistic with l2, 500,000×50, to 1e-6 of the optimum"
    ),
    "softmax, 100,000x32, 5 classes, float64, optimum, l2=0.01": (
        "softmax with l2, 100,000×32, 5 classes, to the optimum"
    ),
    "linear, 100,000x200, l1, to 1e-6 of the optimum": "lasso, 100,000×200, to 1e-6 of the optimum",
    "adam, logistic, 50,000x100 float32, batches of 256, 2 epochs": (
        "Adam, logistic, 50,000×100 float32, batches of 256, 2 epochs"
    ),
    "poisson, 500,000x50, condition 10, l2 0.0001, to 1e-8 of the optimum": (
        "Poisson with l2, 500,000×50, to 1e-8 of the optimum"
    ),
    "quantile, 100,000x20, to 1e-6 of the optimum": (
        "quantile regression, 100,000×20, to 1e-6 of the optimum"
    ),
    "logistic, 500,000x32 float64, shuffled SGD, 1 epoch": (
        "logistic, 500,000×32, an epoch of shuffled SGD"
    ),
    "linear, 500,000x8 float64, SGD in given order, 1 epoch": (
        "least squares, 500,000×8, an epoch of SGD in the given order"
    ),
    "logistic, 500,000x32 float64, SGD in given order, 1 epoch": "logistic, 500,000×32, the same",
    "10,000x784 float32, 128 units, 10 classes, batches of 64, 1 epoch": (
        "network 784-128-10, 10,000 rows float32, an epoch in batches of 64"
    ),
    "linear, 3 points, 100 epochs, no option": "least squares, 3 points, 100 epochs",
    "first fit of a process, linear, 3 points, warm cache": "first fit of a process, 3 points",
}


def short(records: list[dict]) -> str:
    """A dozen rows: fastgd, the fastest rival, and how many times as long that takes."""
    lines = []
    for name, shown in SHORT.items():
        number = max(i for i, record in enumerate(records) if name in record["workloads"])
        seconds = records[number]["workloads"][name]["seconds"]
        ours = seconds["fastgd"]
        rivals = {who: s for who, s in seconds.items() if not who.startswith("fastgd")}
        best = min(rivals, key=rivals.__getitem__)
        cells = [human(ours), f"{human(rivals[best])} ({best})"]
        cells[rivals[best] < ours] = f"**{cells[rivals[best] < ours]}**"
        lines.append([shown + r"\*" * number, *cells, f"{rivals[best] / ours:.2g}x"])
    machines = [r"\*" * number + _machine(record) for number, record in enumerate(records)]
    table = _markdown(["workload", "fastgd", "fastest rival", "ratio"], lines)
    return "\n".join([*table, "", "\n\n".join(machines)])


def _machine(record: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{record['cpu']}, {record['threads']} threads, {record['date']}; "
        f"Python {record['python']}, {versions}. Medians of interleaved rounds."
    )


def write_into(path: pathlib.Path, record: str, text: str) -> None:
    """Put the text between ``<!-- table: … record … -->`` and ``<!-- end of table -->`` of a file."""
    marker = rf"(<!-- table: [^\n]*{re.escape(record)}[^\n]*-->\n)"
    pattern = re.compile(marker + r".*?(\n<!-- end of table -->)", re.DOTALL)
    found = path.read_text(encoding="utf-8")
    written, count = pattern.subn(lambda m: m[1] + text + m[2], found)
    if count != 1:
        raise SystemExit(f"{path} has {count} places for a table; expected one.")
    path.write_text(written, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    parser.add_argument("--save", type=pathlib.Path, help="where to keep the compact record")
    parser.add_argument("--short", action="store_true", help="the dozen rows of the README")
    parser.add_argument(
        "--into", type=pathlib.Path, help="the file that has a place for the tables"
    )
    arguments = parser.parse_args()
    records = [json.loads(file.read_text()) for file in arguments.files]
    records = [compact(record) if "benchmarks" in record else record for record in records]
    record = records[-1]
    if arguments.save:
        arguments.save.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    text = short(records) if arguments.short else tables(record)
    if arguments.into:
        write_into(arguments.into, arguments.files[-1].name, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
