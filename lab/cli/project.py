"""`lab run / test / lab / check / publish / figures / bench / corpus`: of the project as a whole."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Literal

import tyro

from lab.cli.errors import errors_told

ROOT = Path(__file__).resolve().parents[2]
Names = tyro.conf.Positional[tuple[str, ...]]
Profile = Literal["smoke", "standard", "full"]


def run(
    notebooks: Names = (), profile: Profile = "standard", corpus: str | None = None, seed: int | None = None
) -> None:
    """Run the notebooks, print a line of each with its answer, write all to build/index.html.

    Exit status: 0 where all claims hold, 1 where one fails, 3 where nothing fails but the text lacks what some notebook
    is about.

    Args:
        notebooks: beginnings of notebook names, such as 00 or 01_tok; all when none is given.
        profile: smoke (seconds), standard (about two minutes a notebook) or full (research numbers).
        corpus: a name (`lab corpus` lists them) or the path of your own text; the notebooks' own choice if absent.
        seed: the random seed of every notebook.
    """
    from lab.notebooks.report import exit_status, run_and_report
    from lab.text import NAMES, load

    with errors_told():
        if corpus is not None:
            load(corpus)  # what is wrong with it is told once, before any notebook
            # The kernels work elsewhere.
            corpus = corpus if corpus in NAMES else str(Path(corpus).absolute())
        runs = run_and_report(notebooks, profile, ROOT / "build", {"corpus": corpus, "seed": seed})
    sys.exit(exit_status(runs))


def publish(notebooks: Names = ()) -> None:
    """Run the notebooks at `standard` and write their outputs, and README's table, back into the project.

    Args:
        notebooks: beginnings of notebook names; all when none is given.
    """
    from lab.notebooks.publish import publish_all
    from lab.notebooks.report import run_and_report

    with errors_told():
        runs = run_and_report(notebooks, "standard", ROOT / "build", {})
        publish_all(runs, ROOT / "README.md")
    sys.exit(any(not run.passed for run in runs))


def test(fast: bool = False) -> None:
    """Run the tests, every notebook at profile `smoke` among them.

    Args:
        fast: leave out the tests marked slow.
    """
    sys.exit(_python("-X", "utf8", "-m", "pytest", *(["-m", "not slow"] if fast else [])))


def matrix(chosen: str = "") -> None:
    """Run every notebook at `smoke` on texts of other kinds than ours: each passes, or says what the text lacks.

    Args:
        chosen: of the pairs those whose name holds this, such as chinese or 03-poem; all if absent.
    """
    sys.exit(_python("-m", "pytest", "tests/matrix.py", "-k", chosen))


def check(evidence: bool = False, lessons: bool = False, seed: int | None = None) -> None:
    """Lint, formatting, import order, the size of each room, the state and shape of the notebooks, their evidence.

    Args:
        lessons: instead, see that the claims of each lesson fail without what it writes by hand, and that the solutions
            of its exercises solve them: some minutes.
        evidence: instead, train one cheap row of the evidence again, drawn at random, and compare its scores.
        seed: of that draw.
    """
    from lab.notebooks import publish, shape, stale, stubs
    from lab.notebooks.runner import TEMPLATE, all_notebooks

    if lessons:
        sys.exit("\n".join(stubs.complaints([*all_notebooks(), TEMPLATE])) or 0)
    if evidence:
        with errors_told():
            sys.exit("\n".join(stale.check_again(seed=seed)) or 0)
    failed = _python("-m", "ruff", "check", ".") + _python("-m", "ruff", "format", "--check", ".")
    failed += _python("-m", "pytest", "tests/test_imports.py")
    failed += _python("tests/rooms.py")
    for remark in [remark for path in all_notebooks() for remark in shape.remarks(path)]:
        print(remark)
    found = [text for path in all_notebooks() for text in publish.complaints(path) + shape.complaints(path)]
    found += publish.complaints(TEMPLATE) + shape.complaints(TEMPLATE)
    for complaint in found + stale.complaints():
        print(complaint)
        failed += 1
    sys.exit(bool(failed))


def lab(flags: Names = ()) -> None:
    """Open JupyterLab on the notebooks: this computer only (127.0.0.1), with a token, at 00_start_here.

    Args:
        flags: Jupyter's own, after two dashes: lab lab -- --no-browser --port 9000.
    """
    # These settings keep JupyterLab from asking the network for news and updates, and make it ask for the token.
    os.environ["JUPYTER_CONFIG_PATH"] = str(ROOT / "notebooks" / ".jupyter")
    token = os.environ.setdefault("JUPYTER_TOKEN", secrets.token_hex(24))
    print(f"if no browser opens, go to the address below with the token {token}", flush=True)
    sys.exit(_python("-m", "jupyter", "lab", "--ip=127.0.0.1", *flags, "notebooks/00_start_here.ipynb"))


def figures() -> None:
    """Draw the architecture diagrams again, into figures/."""
    from lab.show.diagrams import write_figures

    for path in write_figures(ROOT / "figures"):
        print(path.relative_to(ROOT))


def bench(names: Names = ()) -> None:
    """Run the benchmarks; each prints a table and writes benchmarks/results/<name>.json.

    Args:
        names: which of benchmarks/*.py, without the .py; all when none is given.
    """
    scripts = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py"))}
    for name in names:
        if name not in scripts:
            raise SystemExit(f"no benchmark {name!r}: there are {', '.join(scripts)}")
    failed = [name for name in names or scripts if _python(str(scripts[name])) != 0]
    if failed:
        raise SystemExit(f"failed, or missed a figure: {', '.join(failed)}")


def corpus(name: tyro.conf.Positional[str | None] = None) -> None:
    """Fetch a corpus and show what it holds; with no name, list the names.

    Args:
        name: a corpus name, or the path of your own text.
    """
    from lab.files import printable
    from lab.text import NAMES, load

    if name is None:
        print("\n".join(f"{known:<14}{what}" for known, what in NAMES.items()))
        return
    loaded = load(name)
    longest = f"the longest line has {max(map(len, loaded.lines)):,}"
    print(f"{printable(loaded.name)}: {len(loaded.lines):,} lines, {loaded.chars:,} characters; {longest}")
    print(f"sha256 {loaded.sha256}\nlicence {loaded.licence}\n{printable(loaded.note)}".rstrip())
    print("\n".join(f"  {printable(line[:100])}" for line in loaded.lines[:3]))


def _python(*arguments: str) -> int:
    """Run this Python with `arguments` at the project's root; its exit status."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=os.environ).returncode
