"""The scaling curves of a record as pictures: one SVG for each axis; the activations; paths of fits.

python benches/plots.py benches/results/NAME.json [--to FOLDER]
"""

import argparse
import json
import pathlib

AXES = {
    "n": "rows",
    "d": "columns, with rows x columns the same",
    "epochs": "epochs",
    "threads": "threads",
}
#: Okabe and Ito's colours, which the colour-blind can tell apart.
STYLES = {
    "fastgd": {"color": "#D55E00", "marker": "o", "linewidth": 2.2, "zorder": 3},
    "NumPy": {"color": "#0072B2", "marker": "s"},
    "torch": {"color": "#009E73", "marker": "^"},
    "NumPy on X^T X": {"color": "#56B4E9", "marker": "D"},
    "Numba loop": {"color": "#CC79A7", "marker": "v"},
    "scikit-learn": {"color": "#E69F00", "marker": "P"},
}
#: Text as text, which keeps the files small, and nothing in them that changes from run to run.
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastgd",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves(record: dict, axis: str) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """panel -> contestant -> points, in the order of the axis."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    rows = (row for row in record["workloads"].values() if row.get("axis") == axis)
    for row in sorted(rows, key=lambda row: row["at"]):
        panel = panels.setdefault(row["panel"], {})
        for contestant, seconds in row["seconds"].items():
            panel.setdefault(contestant, []).append((row["at"], seconds))
    return panels


def _shape(record: dict, axis: str, panel: str) -> str:
    """What does not change along the axis, from the name of the workload."""
    names = [
        row["shape"]
        for row in record["workloads"].values()
        if row.get("axis") == axis and row["panel"] == panel
    ]
    rows, _, rest = names[0].split(", ", 1)[1].partition("x")
    columns, dtype = rest.split(", ")[0].split(" ")
    return {"n": f"{columns} columns", "d": ""}.get(axis, f"{rows} x {columns}") + f" {dtype}"


def _count(number: float, _=None) -> str:
    """100, 10k, 1M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def _duration(seconds: float, _=None) -> str:
    """10 µs, 1 ms, 100 s."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds > 0.99 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _axes(place, lines, axis: str) -> None:
    """Logarithmic, with ticks that can be read: few, and without exponents."""
    from matplotlib.ticker import LogLocator

    place.set_xscale("log")
    place.set_yscale("log")
    place.minorticks_off()  # each would be a path in the file
    if axis in ("d", "threads"):
        place.set_xticks([at for at, _ in max(lines.values(), key=len)])
    low, high = place.get_ylim()
    place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    place.xaxis.set_major_formatter("{x:g}" if axis == "d" else _count)
    place.yaxis.set_major_formatter(_duration)
    place.set_xlabel(AXES[axis])
    place.grid(True, color="#e5e5e5", linewidth=0.6)


def draw(record: dict, axis: str, file: pathlib.Path) -> None:
    """One picture: the panels next to each other, on one scale of time."""
    import matplotlib.pyplot as plt

    panels = curves(record, axis)
    size = 4 * len(panels), 3.8
    figure, (places,) = plt.subplots(
        1, len(panels), figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    legend = {}
    for place, (panel, lines) in zip(places, panels.items(), strict=True):
        for contestant, points in lines.items():
            style = {"linewidth": 1.4, "markersize": 5} | STYLES.get(contestant, {})
            (legend[contestant],) = place.plot(*zip(*points, strict=True), **style)
        if axis == "threads":
            (first, seconds), *_, (last, _) = lines["fastgd"]
            ideal = (first, last), (seconds, seconds * first / last)
            (legend["ideal"],) = place.plot(*ideal, color="#999999", linestyle=":")
        place.set_title(f"{panel}\n{_shape(record, axis, panel).strip()}", fontsize=10)
    for place, lines in zip(places, panels.values(), strict=True):
        _axes(place, lines, axis)
    places[0].set_ylabel("time")
    figure.legend(
        legend.values(),
        legend,
        loc="outside lower center",
        ncols=2 if len(panels) == 1 else 6,
        frameon=False,
    )
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def draw_activations(file: pathlib.Path) -> None:
    """All activations in one picture, and their derivatives beside them."""
    import matplotlib.pyplot as plt
    import numpy as np

    from fastgd import activations
    from fastgd.formulas.activations import ACTIVATIONS

    colors = (
        "#000000",
        "#D55E00",
        "#0072B2",
        "#009E73",
        "#CC79A7",
        "#E69F00",
        "#56B4E9",
        "#777777",
        "#BBBBBB",
    )
    x = np.linspace(-4, 4, 401)  # zero is among them, where relu has its corner
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for name, color in zip(ACTIVATIONS, colors, strict=True):
        style = {"color": color, "linewidth": 1.6}
        if name in ("relu", "identity"):
            style |= {"linestyle": "--", "zorder": 1}
        left.plot(x, getattr(activations, name)(x), label=name, **style)
        step = name == "relu"
        right.plot(
            x, activations.derivative(name, x), drawstyle="steps-pre" if step else None, **style
        )
    left.set_ylim(-1.3, 1.3)
    right.set_ylim(-0.05, 1.1)
    left.set_title("value", fontsize=10)
    right.set_title("derivative", fontsize=10)
    for place in (left, right):
        place.set_xlabel("x")
        place.grid(True, color="#e5e5e5", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def draw_paths(file: pathlib.Path) -> None:
    """The tutorial's picture, w from 0 down the curve to 2; and two coefficients on their contours."""
    import matplotlib.pyplot as plt
    import numpy as np

    import fastgd

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    x, y = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    fit = fastgd.fit_linear(x, y, lr=0.02, epochs=20, fit_intercept=False, keep_path=True)
    fit.plot_path(x, y, left)
    left.set_title("x = [1, 2, 3], y = [2, 4, 6], lr=0.02", fontsize=10)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 2)) @ [[1.0, 0.6], [0.0, 0.6]]
    t = z @ [2.0, -1.0] + 0.3 * rng.standard_normal(200)
    fit = fastgd.fit_linear(z, t, optimizer="momentum", lr=0.02, epochs=60, keep_path=True)
    fit.plot_path(z, t, right)
    right.set_title('correlated columns, optimizer="momentum"', fontsize=10)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(SETTINGS)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument(
        "--to", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results"
    )
    arguments = parser.parse_args()
    record = json.loads(arguments.file.read_text())
    for axis in AXES:
        if curves(record, axis):
            draw(record, axis, arguments.to / f"scaling-{axis}.svg")
    draw_activations(arguments.to / "activations.svg")
    draw_paths(arguments.to / "path.svg")


if __name__ == "__main__":
    main()
