"""A check of checkpoints: what was saved comes back from the folder alone, and damage is noticed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lab.checks.checkpoint_cases import TEXTS, Made, is_pickled, make, step_once
from lab.checks.drawing import sentence
from lab.checks.report import Case, CheckReport, Example, Unreadable, ask, judge

WANTED = "(model, tokenizer, optimizer, step)"
# Neither of them all defaults; they differ in everything, so that nothing of one can stand in for the other.
CASES = (
    Case("load", dtype="float32", width=8, step=7),
    Case("load", dtype="bfloat16", width=12, step=1234),
)


def checkpoint_roundtrip(save: Callable, load: Callable) -> CheckReport:
    """Does what `save(folder, model, tokenizer, optimizer, step)` wrote come back whole from `load(folder)`?

    The model is a `lab.nn.transformer.DecoderOnlyTransformer`, which knows its `config`; the tokenizer a
    `lab.text.BPETokenizer`; the optimizer a `torch.optim.AdamW` over `model.parameters()`, with settings of its
    own, which has taken some steps. `load` gets a folder and nothing else, and gives all four back as a tuple. To
    notice a flipped byte it needs checksums. What fails too: a folder that must stay where it was written, and
    anything pickled (`torch.save`).

    >>> checkpoint_roundtrip(my_save, my_load)  # doctest: +SKIP
    """
    with TemporaryDirectory() as place:
        folders = {str(case): Path(place) / f"checkpoint-{n}" for n, case in enumerate(CASES)}

        def answer(dtype: str, width: int, step: int):
            made = make(dtype, width, step)
            return load(folders[str(Case("load", dtype=dtype, width=width, step=step))]), made

        with _errors_kept() as problem:
            for case in CASES:
                made = make(**case.arguments)
                save(folders[str(case)], made.model, made.tokenizer, made.optimizer, made.step)
                _spoil(made)
        if problem:

            def answer(*_):
                raise problem[0]

        answered, answers = ask(answer, CASES, WANTED, _read)
        stored = [(case, folders[str(case)]) for case, _ in answers]
        properties = [
            answered,
            judge("the weights are the same, bit for bit", answers, _weights),
            judge("numbers keep their format", answers, _formats),
            judge("the model is a fresh one, made from the folder alone", answers, _fresh),
            judge("the tokenizer gives the same ids", answers, _tokenizer),
            judge("the step is kept", answers, _step),
            judge("the optimizer goes on as it would have", answers, _optimizer),
            judge("nothing is pickled", stored, _plain),
            judge("a flipped byte is noticed", stored, lambda case, folder: _flipped(case, folder, load)),
            judge("the folder can be moved", stored, lambda case, folder: _moved(case, folder, load)),
        ]
    return CheckReport("checkpoint_roundtrip", tuple(properties))


@torch.no_grad()
def _spoil(made: Made) -> None:
    """After saving: whatever still refers to the saved objects now refers to rubbish."""
    for weight in made.model.parameters():
        weight.fill_(7.0)
    made.optimizer.state.clear()


def _read(case: Case, answer: tuple) -> tuple[Made, Made]:
    loaded, made = answer
    if not isinstance(loaded, tuple | list) or len(loaded) != 4:
        raise Unreadable(f"{type(loaded).__name__}; give {WANTED}")
    if not isinstance(loaded[0], nn.Module) or not isinstance(loaded[2], torch.optim.Optimizer):
        raise Unreadable(f"{', '.join(type(part).__name__ for part in loaded)}; give {WANTED}")
    return Made(*loaded), made


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _weights(case: Case, answer: tuple[Made, Made]) -> Example | None:
    loaded, made = (_named(each.model) for each in answer)
    if loaded.keys() != made.keys():
        return _told(case, f"weights {', '.join(made)}", f"weights {', '.join(loaded)}")
    for name, tensor in made.items():
        if loaded[name].shape != tensor.shape or not torch.equal(loaded[name].double(), tensor.double()):
            return _told(case, f"{name} as saved: {_some(tensor)}", _some(loaded[name]))
    return None


def _formats(case: Case, answer: tuple[Made, Made]) -> Example | None:
    loaded, made = (_named(each.model) for each in answer)
    for name, tensor in made.items():
        if name in loaded and loaded[name].dtype != tensor.dtype:
            return _told(case, f"{name} in {tensor.dtype}", str(loaded[name].dtype))
    return None


def _fresh(case: Case, answer: tuple[Made, Made]) -> Example | None:
    """A model that was kept in memory holds what `_spoil` wrote; two loads must not share one."""
    loaded = answer[0]
    if all(torch.all(weight == 7.0) for weight in loaded.model.parameters()):
        note = "the saved model was changed after saving; the loaded one changed with it"
        return _told(case, "a model with the weights of the folder", "the object that was saved", note)
    if next(loaded.model.parameters()).shape != next(answer[1].model.parameters()).shape:
        return _told(case, f"a model of width {case['width']}", f"one of {loaded.model}")
    return None


def _tokenizer(case: Case, answer: tuple[Made, Made]) -> Example | None:
    loaded, made = answer
    for text in TEXTS:
        ids, expected = loaded.tokenizer.encode(text), made.tokenizer.encode(text)
        if list(ids) != expected:
            return _told(case, f"{text!r} as {expected}", str(ids))
    return None


def _step(case: Case, answer: tuple[Made, Made]) -> Example | None:
    same = isinstance(answer[0].step, int) and answer[0].step == case["step"]
    return None if same else _told(case, str(case["step"]), repr(answer[0].step))


def _optimizer(case: Case, answer: tuple[Made, Made]) -> Example | None:
    loaded, made = answer
    with torch.no_grad():  # from the same weights, whatever else went wrong
        for weight, other in zip(loaded.model.parameters(), made.model.parameters(), strict=True):
            weight.copy_(other)
    step_once(loaded, seed=9)
    step_once(made, seed=9)
    note = (
        "after one more step along the same gradients: are its memories, its settings, its parameters kept?"
    )
    example = _weights(case, answer)
    return example and Example(example.call, example.expected, example.actual, note)


def _plain(case: Case, folder: Path) -> Example | None:
    for path in _files(folder):
        if is_pickled(path.read_bytes()):
            note = "loading a pickle runs what its writer wished: use safetensors and JSON"
            return _told(case, "tensors and text", f"a pickle in {path.relative_to(folder)}", note)
    return None


def _flipped(case: Case, folder: Path, load: Callable) -> Example | None:
    for path in _files(folder):
        data = path.read_bytes()
        at = len(data) // 2
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            with _errors_kept() as noticed:
                load(folder)
        finally:
            path.write_bytes(data)
        if not noticed:
            where = f"one bit of byte {at} of {path.relative_to(folder)} is flipped"
            return _told(case, "an error that names the file", "loaded as if nothing had happened", where)
    return None


def _moved(case: Case, folder: Path, load: Callable) -> Example | None:
    elsewhere = folder.with_name(f"{folder.name}-elsewhere") / "deeper"
    elsewhere.parent.mkdir()
    shutil.move(folder, elsewhere)
    loaded = Made(*load(elsewhere))
    return _weights(case, (loaded, make(**case.arguments)))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


@contextmanager
def _errors_kept() -> Iterator[list[Exception]]:
    kept: list[Exception] = []
    try:
        yield kept
    except Exception as error:
        kept.append(error)


def _some(tensor: Tensor) -> str:
    return f"{', '.join(f'{value:.6g}' for value in tensor.flatten()[:3].tolist())}, ..."


def _told(case: Case, expected: str, actual: str, note: str = "") -> Example:
    return Example(str(case), sentence(expected), sentence(actual), note)
