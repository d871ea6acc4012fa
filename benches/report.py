"""pytest-benchmark's JSON as the README's table, and as a compact record in `results/`.

    pytest --benchmark-only --benchmark-json=bench.json
    python benches/report.py bench.json --save benches/results/NAME.json
    python benches/report.py benches/results/NAME.json

The last prints the table again from the record.
"""

import argparse
import json
import pathlib


def compact(raw: dict) -> dict:
    """The machine, the versions, and for each workload the median seconds of each contestant."""
    machine = raw["machine_info"]
    rows: dict[str, dict] = {}
    for bench in raw["benchmarks"]:
        info = bench["extra_info"]
        row = rows.setdefault(bench["group"], {"seconds": {}, "rounds": {}})
        row["seconds"][info["contestant"]] = float(f"{bench['stats']['median']:.4g}")
        row["rounds"][info["contestant"]] = bench["stats"]["rounds"]
        row |= {key: info[key] for key in ("bytes", "read_GBps") if key in info}
        if info.get("cost") is not None:
            row.setdefault("cost", {})[info["contestant"]] = float(f"{info['cost']:.6g}")
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


def table(record: dict) -> str:
    """Markdown: a row a workload, a column a contestant, the fastest in bold."""
    rows = record["workloads"]
    names = dict.fromkeys(c for row in rows.values() for c in row["seconds"])
    rivals = [name for name in names if name != "fastgd"]
    lines = [
        "| workload | fastgd | best rival / fastgd | of the read bandwidth | "
        + " | ".join(rivals) + " |",
        "| --- |" + " ---: |" * (3 + len(rivals)),
    ]  # fmt: skip
    for name, row in rows.items():
        seconds = row["seconds"]
        ours, best = seconds.get("fastgd"), min(seconds.values())
        others = [s for c, s in seconds.items() if c != "fastgd"]
        shown = {c: f"**{human(s)}**" if s == best else human(s) for c, s in seconds.items()}
        ratio = f"{min(others) / ours:.2g}x" if ours and others else "–"
        share = "–"
        if ours and "read_GBps" in row:
            share = f"{row['bytes'] / ours / row['read_GBps'] / 1e9:.0%}"
        cells = [name, shown.get("fastgd", "–"), ratio, share, *(shown.get(c, "–") for c in rivals)]
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += [
        "",
        f"{record['cpu']}, {record['threads']} threads, {record['date']}; "
        f"Python {record['python']}, {versions}. "
        "Medians of interleaved rounds; a share of the read bandwidth above 100 % is an epoch that did "
        "not read X.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--save", type=pathlib.Path, help="where to keep the compact record")
    arguments = parser.parse_args()
    record = json.loads(arguments.file.read_text())
    if "benchmarks" in record:
        record = compact(record)
    if arguments.save:
        arguments.save.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
