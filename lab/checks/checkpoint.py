"""A check of checkpoints: what was saved comes back from the folder alone, and damage is noticed."""

import io
import pickletools
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lab.checks.check import Case, Check, CheckReport, Examples
from lab.checks.numbers import Unreadable, parts, told
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.text import BPETokenizer

TEXTS = ("the cat sat on the mat", "Ünïcödé, 2026 and the rest\tof it")
NAMES = ("model", "tokenizer", "optimizer", "step")
# Neither of them all defaults; they differ in everything, so that nothing of one can stand in for the other.
CASES = (Case("load", dtype="float32", width=8, step=7), Case("load", dtype="bfloat16", width=12, step=1234))


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

        @cache
        def folders() -> dict[tuple, Path]:
            """Both are saved before either is loaded."""
            paths = {tuple(case): Path(place) / f"checkpoint-{n}" for n, case in enumerate(CASES)}
            for settings, path in paths.items():
                made = make(*settings)
                save(path, made.model, made.tokenizer, made.optimizer, made.step)
                _spoil(made)
            return paths

        def pickled(case: Case, _) -> Examples:
            folder = folders()[tuple(case)]
            for path in _files(folder):
                if is_pickled(path.read_bytes()):
                    note = "loading a pickle runs what its writer wished: use safetensors and JSON"
                    yield told(case, "tensors and text", f"a pickle in {path.relative_to(folder)}", note)

        def flipped(case: Case, _) -> Examples:
            folder = folders()[tuple(case)]
            for path in _files(folder):
                if (at := _flipped_unnoticed(path, folder, load)) is not None:
                    where = f"one bit of byte {at} of {path.relative_to(folder)} is flipped"
                    yield told(
                        case, "an error that names the file", "loaded as if nothing had happened", where
                    )

        def moved(case: Case, _) -> Examples:
            elsewhere = Path(place) / f"elsewhere {case['width']}" / "deeper"
            elsewhere.parent.mkdir()
            shutil.move(folders()[tuple(case)], elsewhere)
            yield from _weights(case, (Made(*load(elsewhere)), make(*case)))

        def loaded(*settings: object) -> object:
            return load(folders()[settings])

        check = Check("checkpoint_roundtrip", loaded, f"({', '.join(NAMES)})", _read, CASES)
        check.judge("the weights are the same, bit for bit", _weights)
        check.judge("numbers keep their format", _formats)
        check.judge("the model is a fresh one, made from the folder alone", _fresh)
        check.judge("the tokenizer gives the same ids", _tokenizer)
        check.judge("the step is kept", _step)
        check.judge("the optimizer goes on as it would have", _optimizer)
        check.judge("nothing is pickled", pickled)
        check.judge("a flipped byte is noticed", flipped)
        check.judge("the folder can be moved", moved)
    return check.report


@dataclass
class Made:
    """What is saved."""

    model: DecoderOnlyTransformer
    tokenizer: BPETokenizer
    optimizer: torch.optim.Optimizer
    step: int


@cache
def _trained_tokenizer(width: int) -> BPETokenizer:
    """Two that cut the same text in other places."""
    if width == 8:
        return BPETokenizer.train([TEXTS[0]] * 2, vocab_size=264, pattern="gpt2")
    return BPETokenizer.train(
        [TEXTS[0].replace("t", "n")] * 2 + [TEXTS[0][4:9]] * 9, vocab_size=266, pattern="none"
    )


def make(dtype: str, width: int, step: int) -> Made:
    """The same objects anew at each call: a model with random weights, three steps trained."""
    tokenizer = _trained_tokenizer(width)
    config = TransformerConfig(tokenizer.vocab_size, 16, width, 1, 2, width, tied=width == 12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step)
        model = DecoderOnlyTransformer(config)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.3)
    model.to(getattr(torch, dtype))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0123, betas=(0.7, 0.9), weight_decay=0.05)
    made = Made(model, tokenizer, optimizer, step)
    for n in range(3):
        step_once(made, seed=n)
    return made


def step_once(made: Made, seed: int) -> None:
    """One step of the optimizer along made-up gradients."""
    generator = torch.Generator().manual_seed(seed)
    for weight in made.model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)
    made.optimizer.step()


@torch.no_grad()
def _spoil(made: Made) -> None:
    """After saving: whatever still refers to the saved objects now refers to rubbish."""
    for weight in made.model.parameters():
        weight.fill_(7.0)
    made.optimizer.state.clear()


def _read(case: Case, answer: object) -> tuple[Made, Made]:
    """What was loaded, and what had been saved."""
    loaded = parts(answer, NAMES)
    if not isinstance(loaded[0], nn.Module) or not isinstance(loaded[2], torch.optim.Optimizer):
        kinds = ", ".join(type(part).__name__ for part in loaded)
        raise Unreadable(f"{kinds}; expected ({', '.join(NAMES)})")
    return Made(*loaded), make(*case)


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _weights(case: Case, answer: tuple[Made, Made]) -> Examples:
    loaded, made = (_named(each.model) for each in answer)
    if loaded.keys() != made.keys():
        yield told(case, f"weights {', '.join(made)}", f"weights {', '.join(loaded)}")
    for name, tensor in made.items():
        if loaded[name].shape != tensor.shape or not torch.equal(loaded[name].double(), tensor.double()):
            yield told(case, f"{name} as saved: {_some(tensor)}", _some(loaded[name]))


def _formats(case: Case, answer: tuple[Made, Made]) -> Examples:
    loaded, made = (_named(each.model) for each in answer)
    for name, tensor in made.items():
        if name in loaded and loaded[name].dtype != tensor.dtype:
            yield told(case, f"{name} in {tensor.dtype}", str(loaded[name].dtype))


def _fresh(case: Case, answer: tuple[Made, Made]) -> Examples:
    """A model that was kept in memory holds what `_spoil` wrote; two loads must not share one."""
    loaded = answer[0]
    if all(torch.all(weight == 7.0) for weight in loaded.model.parameters()):
        note = "the saved model was changed after saving; the loaded one changed with it"
        yield told(case, "a model with the weights of the folder", "the object that was saved", note)
    if next(loaded.model.parameters()).shape != next(answer[1].model.parameters()).shape:
        yield told(case, f"a model of width {case['width']}", f"one of {loaded.model}")


def _tokenizer(case: Case, answer: tuple[Made, Made]) -> Examples:
    loaded, made = answer
    for text in TEXTS:
        ids, expected = loaded.tokenizer.encode(text), made.tokenizer.encode(text)
        if list(ids) != expected:
            yield told(case, f"{text!r} as {expected}", str(ids))


def _step(case: Case, answer: tuple[Made, Made]) -> Examples:
    step = answer[0].step
    if not isinstance(step, int) or step != case["step"]:
        yield told(case, case["step"], repr(step))


def _optimizer(case: Case, answer: tuple[Made, Made]) -> Examples:
    loaded, made = answer
    with torch.no_grad():  # from the same weights, whatever else went wrong
        for weight, other in zip(loaded.model.parameters(), made.model.parameters(), strict=True):
            weight.copy_(other)
    step_once(loaded, seed=9)
    step_once(made, seed=9)
    note = (
        "after one more step along the same gradients: are its memories, its settings, its parameters kept?"
    )
    for example in _weights(case, answer):
        yield replace(example, note=note)


def _flipped_unnoticed(path: Path, folder: Path, load: Callable) -> int | None:
    """The place of a bit in the middle of this file that was flipped, and nothing raised."""
    data = path.read_bytes()
    at = len(data) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    try:
        load(folder)
    except Exception:
        return None
    finally:
        path.write_bytes(data)
    return at


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def _some(tensor: Tensor) -> str:
    return f"{', '.join(f'{value:.6g}' for value in tensor.flatten()[:3].tolist())}, ..."


def is_pickled(data: bytes) -> bool:
    """Whether a file is a pickle, or an archive that has one in it."""
    if zipfile.is_zipfile(io.BytesIO(data)):  # torch.save writes one, with a pickle in it
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(is_pickled(archive.read(name)) for name in archive.namelist())
    if data.startswith(b"\x93NUMPY"):  # an array of objects is a pickle behind a header
        return b"'|O'" in data[:256]
    try:
        last = [at for opcode, _, at in pickletools.genops(data) if opcode.name == "STOP"][-1]
    except Exception:  # genops gives up on what is no pickle in many ways
        return False
    # Older pickles are text: the whole file must be one, for "0." begins like one.
    return data[:1] == b"\x80" or (last == len(data) - 1 and len(data) > 3)
