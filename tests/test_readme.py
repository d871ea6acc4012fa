"""The Python of the README and of the guide runs, each in its order; their commands are the real ones."""

import json
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README, GUIDE = ROOT / "README.md", ROOT / "fastgd" / "GUIDE.md"


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(params=[README, GUIDE], ids=["readme", "guide"])
def page(request):
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, but for the digits that the README reads."""
    from test_images import real_mnist, write_mnist

    write_mnist(tmp_path / "data" / "MNIST" / "raw", real_mnist())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.jit  # a minute of plain Python else
def test_every_python_block_runs(page, folder, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    scope: dict = {"__name__": "readme"}
    blocks = blocks_of(page)
    assert len(blocks) >= 4
    checked = 0
    for number, block in enumerate(blocks):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A file that exists, as compiled functions of a block need one.
            path = folder / f"block_{number}.py"
            path.write_text(block, encoding="utf-8")
            exec(compile(block, path, "exec"), scope)
            checked += check_claims(block, scope)
    assert checked >= 4


def check_claims(block, scope):
    """`expression  # → value` is checked, number by number; returns how many there were."""
    claims = [line.partition("  # → ") for line in block.splitlines() if "  # → " in line]
    for expression, _, value in claims:
        result = eval(expression, scope)
        assert repr(result) == value or result == pytest.approx(eval(value, scope), rel=1e-6)
    return len(claims)


def test_the_commands_are_those_that_ci_runs():
    text = README.read_text(encoding="utf-8")
    ci = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install . && python -m fastgd" in text
    tests = re.search(r'pip install -e "\.\[test\]" && (pytest[^#\n]*?) *#', text).group(1)
    assert f"\n{tests}\n" in ci
    assert "\npython -m fastgd\n" in ci


def test_every_error_of_the_table_is_tested():
    from test_inputs import DATA, OPTIONS, Y_LABELS

    text = GUIDE.read_text(encoding="utf-8")
    table = text.split("| input | `InputError` |")[1].split("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) >= 20
    cases = {
        **DATA,
        **OPTIONS,
        **{f"fit_logistic: {name}": case for name, case in Y_LABELS.items()},
    }
    for name, sentence in rows:
        pattern = re.escape(cases[name][-1]).replace("…", ".*")
        assert re.fullmatch(pattern, sentence), name


def test_the_readme_is_read_in_five_minutes():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


PAGES = ["README.md", "fastgd/GUIDE.md", "tests/README.md", "benches/results/README.md"]


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_files(path):
    page = ROOT / path
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_tables_are_those_of_the_record():
    import report

    results = ROOT / "benches" / "results"
    files = [results / name for name in ("cpu-2-cores.json", "cpu-2-cores-zen3.json")]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert report.short(records) in README.read_text(encoding="utf-8")
    page = (results / "README.md").read_text(encoding="utf-8")
    for record in records:
        assert report.tables(record) in page
