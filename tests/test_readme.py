"""The Python of the README runs, in its order, in one namespace; its commands are the real ones."""

import re
import warnings
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, but for the digits that the README reads."""
    from test_images import real_mnist, write_mnist

    write_mnist(tmp_path / "data" / "MNIST" / "raw", real_mnist())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.jit  # a minute of plain Python else
def test_every_python_block_runs(folder, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    assert len(BLOCKS) >= 5
    scope: dict = {"__name__": "readme"}
    for number, block in enumerate(BLOCKS):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A file that exists, as compiled functions of a block need one.
            path = folder / f"block_{number}.py"
            path.write_text(block, encoding="utf-8")
            exec(compile(block, path, "exec"), scope)


@pytest.mark.jit
@pytest.mark.usefixtures("folder")
def test_every_claimed_value_is_true():
    """`expression  # → value` in the README is checked, number by number."""
    scope: dict = {"__name__": "readme"}
    checked = 0
    for block in BLOCKS:
        exec(block, scope)
        for line in block.splitlines():
            expression, arrow, value = line.partition("  # → ")
            if not arrow:
                continue
            result = eval(expression, scope)
            assert repr(result) == value or result == pytest.approx(eval(value, scope), rel=1e-6)
            checked += 1
    assert checked >= 4


def test_the_commands_are_those_that_ci_runs():
    text = README.read_text(encoding="utf-8")
    ci = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install . && python -m fastgd" in text
    tests = re.search(r'pip install -e "\.\[test\]" && (pytest[^#\n]*?) *#', text).group(1)
    assert f"\n{tests}\n" in ci
    assert "\npython -m fastgd\n" in ci


def test_every_error_of_the_table_is_tested():
    from test_inputs import DATA, OPTIONS, Y_LABELS

    text = README.read_text(encoding="utf-8")
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
