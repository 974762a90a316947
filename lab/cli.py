"""`lab run / train / sample / runs / test / lab / check / publish / figures / bench / corpus`: thin."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

ROOT = Path(__file__).resolve().parents[1]
Names = tyro.conf.Positional[tuple[str, ...]]
Profile = Literal["smoke", "standard", "full"]
Model = Literal["transformer", "lstm", "gru", "elman"]
TRAIN = (
    "Train a language model, or load it where it was trained already; Ctrl-C saves, the same command goes on."
)


def run(
    notebooks: Names = (), profile: Profile = "standard", corpus: str | None = None, seed: int | None = None
) -> None:
    """Run the notebooks, print what they measured, write build/index.html; fails when a claim fails.

    Args:
        notebooks: beginnings of notebook names, such as 00 or 01_tok; all when none is given.
        profile: smoke (seconds), standard (about two minutes a notebook) or full (research numbers).
        corpus: a name (`lab corpus` lists them) or the path of your own text; the notebooks' own choice if absent.
        seed: the random seed of every notebook.
    """
    runs = _run(notebooks, profile, corpus=corpus, seed=seed)
    sys.exit(any(not run.passed for run in runs))


def publish(notebooks: Names = ()) -> None:
    """Run the notebooks at `standard` and write their outputs, and README's table, back into the project.

    Args:
        notebooks: beginnings of notebook names; all when none is given.
    """
    from lab.files import write_atomic
    from lab.notebooks.publish import publish as write_back
    from lab.notebooks.publish import readme_table, with_table
    from lab.notebooks.runner import NOTEBOOKS, all_notebooks

    runs = _run(notebooks, "standard")
    for run in runs:
        if run.passed:
            write_back(NOTEBOOKS / f"{run.name}.ipynb", run.output)
            print(f"published {run.name}")
    readme = ROOT / "README.md"
    write_atomic(readme, with_table(readme.read_text(encoding="utf-8"), readme_table(all_notebooks())))
    sys.exit(any(not run.passed for run in runs))


def test(fast: bool = False) -> None:
    """Run the tests, every notebook at profile `smoke` among them.

    Args:
        fast: leave out the tests marked slow.
    """
    sys.exit(_python("-m", "pytest", *(["-m", "not slow"] if fast else [])))


def check() -> None:
    """Lint, formatting, import order, and the state of the committed notebooks."""
    from lab.notebooks.publish import complaints
    from lab.notebooks.runner import all_notebooks

    failed = _python("-m", "ruff", "check", ".") + _python("-m", "ruff", "format", "--check", ".")
    failed += _python("-m", "pytest", "tests/test_imports.py")
    for complaint in [text for path in all_notebooks() for text in complaints(path)]:
        print(complaint)
        failed += 1
    sys.exit(bool(failed))


def lab() -> None:
    """Open JupyterLab on the notebooks: this computer only (127.0.0.1), with a token, at 00_start_here."""
    # These settings keep JupyterLab from asking the network for news and updates.
    os.environ["JUPYTER_CONFIG_PATH"] = str(ROOT / "notebooks" / ".jupyter")
    sys.exit(_python("-m", "jupyter", "lab", "--ip=127.0.0.1", "notebooks/00_start_here.ipynb"))


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
    from lab.corpora import NAMES, CorpusError, load

    if name is None:
        print("\n".join(f"{known:<14}{what}" for known, what in NAMES.items()))
        return
    try:
        loaded = load(name)
    except CorpusError as error:
        raise SystemExit(str(error)) from None
    print(f"{loaded.name}: {len(loaded.lines):,} lines, {loaded.chars:,} characters")
    print(f"sha256 {loaded.sha256}\nlicence {loaded.licence}\n{loaded.note or ''}".rstrip())
    print("\n".join(f"  {line[:100]}" for line in loaded.lines[:3]))


def sample(
    run: tyro.conf.Positional[str],
    prompt: str = "",
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float = 1.0,
    max_new_tokens: int = 100,
    seed: int = 0,
    best: bool = False,
    folder: Path | None = None,
) -> None:
    """Let a trained run continue a prompt.

    Args:
        run: its name, or a part of it that no other has (`lab runs` lists them), or its path.
        prompt: what the text begins with.
        temperature: 0 always takes the likeliest token, 1 the model's own probabilities.
        top_k: draw from so many of the likeliest tokens; from all if absent.
        top_p: draw from the likeliest tokens that together have this probability.
        max_new_tokens: where to stop, if the line does not end before.
        seed: the same seed gives the same text.
        best: the bundle of the best validation instead of the newest.
        folder: where the runs are; `runs/` of the project if absent.
    """
    with _errors_told():
        import torch

        from lab import bundle
        from lab.decode.search import Sampling, generate
        from lab.runs import find

        loaded = bundle.load(find(run, folder), best=best)
        tokenizer = loaded.tokenizer
        drawn = generate(
            loaded.model,
            [tokenizer.bos_id, *tokenizer.encode(prompt)],
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature, top_k, top_p),
            generator=torch.Generator().manual_seed(seed),
            stop_id=tokenizer.eos_id,
        )
        print(prompt, end="", flush=True)
        for piece in _pieces(tokenizer, (step.token for step in drawn)):
            print(piece, end="", flush=True)
        print()


def runs(folder: tyro.conf.Positional[Path | None] = None) -> None:
    """The table of runs: the settings that differ, and what came of them.

    Args:
        folder: where the runs are; `runs/` of the project if absent.
    """
    with _errors_told():
        from lab.runs import default_folder, table

        rows = table(folder)
        if rows.empty:
            print(f"no runs in {folder or default_folder()}: `lab train` makes one")
            return
        problems = rows["state"][rows["state"].str.startswith("damaged")]
        rows["state"] = rows["state"].str.split(":").str[0]
        formats = {"bits_per_char": "{:.3f}", "train_bits_per_char": "{:.3f}", "seconds": "{:,.0f}"}
        formats |= {"tokens_per_second": "{:,.0f}", "parameters": "{:,}"}
        print(rows.to_string(formatters={name: form.format for name, form in formats.items()}, na_rep="-"))
        for name, problem in problems.items():
            print(f"{name} is {problem}")


def main() -> None:
    """The command line."""
    commands = [run, _train(sys.argv[1:]), sample, runs, test, lab, check, publish, figures, bench, corpus]
    tyro.extras.subcommand_cli_from_dict(
        {command.__name__: command for command in commands},
        prog="lab",
        description="A notebook-driven workbench for understanding small language models.",
    )


def _train(given: list[str]) -> Callable[..., None]:
    """The command `train`: its flags are those of the model that `--model` asks for."""

    def train() -> None: ...

    train.__doc__ = TRAIN
    if given[:1] != ["train"]:
        return train
    from lab.nn.recurrent import RecurrentConfig
    from lab.nn.transformer import TransformerConfig
    from lab.runs import Plan
    from lab.train import TrainConfig

    choice = " ".join(given).replace("=", " ").partition("--model ")[2].partition(" ")[0]
    if choice not in get_args(Model):
        choice = "transformer"  # absent; what is misspelt is refused below
    sizes = TransformerConfig(1024) if choice == "transformer" else RecurrentConfig(1024, cell=choice)
    usual = Plan(sizes, TrainConfig(steps=500))

    def train(
        plan: Annotated[tyro.conf.AvoidSubcommands[Plan], tyro.conf.arg(name="")] = usual,
        model: Annotated[Model, tyro.conf.arg(name="model")] = choice,
        folder: Path | None = None,
        name: str | None = None,
        save_seconds: float = 60.0,
    ) -> None:
        with _errors_told():
            from lab import parallel
            from lab.runs import get_or_train

            device = parallel.start()
            try:
                get_or_train(plan, folder, name=name, save_seconds=save_seconds, device=device)
            except KeyboardInterrupt:
                sys.exit(130)
            finally:
                parallel.stop()

    train.__doc__ = f"""{TRAIN}

    Under torchrun several processes train one model: torchrun --nproc-per-node 2 -m lab train ...

    Args:
        plan: what to train, and on what.
        model: the kind; the flags below --model.width and so on are of this kind.
        folder: where the runs are; `runs/` of the project if absent.
        name: the name of the run's folder, instead of one made from all settings and the code.
        save_seconds: how often it is saved on the way.
    """
    return train


@contextmanager
def _errors_told() -> Iterator[None]:
    """What a person can mend is one message and exit status 2, not a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            print(f"lab: {error}", file=sys.stderr)
        sys.exit(2)


def _pieces(tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of `tokens` as they come; a character that is made of several tokens comes whole."""
    ids, shown, text = [], 0, ""
    for token in tokens:
        text = tokenizer.decode([*ids, token])
        ids.append(token)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[shown:]
            shown = len(text)
    yield text[shown:]


def _run(names: tuple[str, ...], profile: str, **parameters: object) -> list:
    from lab.notebooks.report import closing_table, write_report
    from lab.notebooks.runner import find_notebooks, run_notebook

    build = ROOT / "build"
    given = {name: value for name, value in parameters.items() if value is not None} | {"profile": profile}
    try:
        paths = find_notebooks(names)
        runs = [run_notebook(path, build / "notebooks", given) for path in paths]
    except ValueError as error:
        raise SystemExit(str(error)) from None
    index = write_report(runs, build, profile)
    print(f"\n{closing_table(runs)}\n\nreport: {index}")
    return runs


def _python(*arguments: str) -> int:
    """Run this Python with `arguments` at the project's root; its exit status."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=os.environ).returncode
