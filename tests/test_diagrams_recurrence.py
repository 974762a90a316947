"""Diagrams of notebook 05: shapes are the running model's, files are the bundle's, and what breaks does break."""

import doctest
import importlib
import json
import re
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors import safe_open
from test_diagrams_attention import B, T, arrows, numbers
from test_diagrams_layout import assert_on_the_page, taken
from torch import nn

from lab import bundle
from lab.data.batch import Batch
from lab.nn.recurrent import CELLS, RecurrentConfig, RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import next_token_loss
from lab.show.diagrams import SKY, recurrence, report_recurrent_shapes, run, strokes
from lab.show.diagrams.render import to_svg
from lab.show.diagrams.run import PIECES
from lab.show.diagrams.sketch import SVG, labels
from lab.text import BPETokenizer, CharTokenizer
from lab.train import TrainConfig, train
from lab.train.state import TrainingState

CONFIGS = {
    **{
        f"{cell}, {layers}": RecurrentConfig(101, cell=cell, width=20, num_layers=layers)
        for cell in CELLS
        for layers in (1, 2, 3)
    },
    "figure": RecurrentConfig(1000, cell="lstm", num_layers=2),
    "large": RecurrentConfig(50_000, cell="lstm", width=1024, num_layers=12, tied=True),
}


def report(config: RecurrentConfig) -> tuple[RecurrentLM, dict]:
    with torch.random.fork_rng():
        model = RecurrentLM(config)
        return model, report_recurrent_shapes(model, torch.zeros(B, T, dtype=torch.long))


def layers_of(model: RecurrentLM) -> nn.RNNBase:
    (layers,) = (module for module in model.modules() if isinstance(module, nn.RNNBase))
    return layers


@cache
def draw(name: str) -> tuple[ElementTree.Element, str]:
    """A diagram as Graphviz lays it out, and the finished drawing; each is made once."""
    module, plain = (
        importlib.import_module(f"lab.show.diagrams.{'run' if name == 'run' else 'recurrence'}"),
        [],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "to_svg", lambda dot: plain.append(to_svg(dot)) or plain[0])
        svg = run() if name == "run" else recurrence(CONFIGS[name], shapes_of(name))
    return ElementTree.fromstring(plain[0]), svg


@cache
def shapes_of(name: str) -> dict:
    c = CONFIGS[name]
    if name != "large":
        return report(c)[1]
    shapes = report(replace(c, vocab_size=101, width=20))[1]  # the same parts, quicker
    large = {101: c.vocab_size, 20: c.width}
    return {tensor: tuple(large.get(n, n) for n in shape) for tensor, shape in shapes.items()}


small = pytest.mark.parametrize("name", [name for name in CONFIGS if "," in name])
every = pytest.mark.parametrize("name", [*CONFIGS, "run"])


# A recurrent model: the report


@small
def test_report_is_what_the_model_does(name):
    """Each shape against the same tensor got without hooks: a model of the first layers alone, and the state."""
    c = CONFIGS[name]
    model, shapes = report(c)
    ids, state = torch.zeros(B, T, dtype=torch.long), model.init_hidden(B)
    x = model.embedding(ids, None)
    expected = {"ids": ids, "embedding.token": x, "embedding": x, "output": model(ids, cache=state)}
    for layer in range(1, c.num_layers + 1):
        first = RecurrentLM(replace(c, num_layers=layer))
        expected[f"layer_{layer}"] = layers_of(first)(x)[0]
        for part, tensor in zip("hc", state.tensors, strict=False):
            expected[f"layer_{layer}.{part}"] = tensor[layer - 1]
    assert shapes == {tensor: tuple(x.shape) for tensor, x in expected.items()}
    assert ("layer_1.c" in shapes) == (c.cell == "lstm")


def test_report_leaves_the_model_and_the_random_numbers_as_they_were():
    model, shapes = report(CONFIGS["lstm, 3"])
    before = torch.get_rng_state()
    assert report_recurrent_shapes(model, torch.ones(B, T, dtype=torch.long)) == shapes
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="whole numbers"):
        report_recurrent_shapes(model, torch.zeros(B, T))
    assert not any(module._forward_hooks for module in model.modules())


# A recurrent model: what is drawn


@small
def test_shapes_drawn_are_those_of_the_running_model(name):
    c, shapes, (root, svg) = CONFIGS[name], shapes_of(name), draw(name)
    said = arrows(root)
    last = f"layer_{c.num_layers}"
    down = {"ids->embedding": "ids", "embedding->layer_1": "embedding", f"{last}->output": last}
    down |= {"output->logits": "output"}
    assert {edge: numbers(said[edge]) for edge in down} == {edge: [shapes[t]] for edge, t in down.items()}
    assert {shape for line in labels(svg) for shape in numbers(line)} == set(shapes.values())
    assert f"C = {c.width} channels, V = {c.vocab_size} tokens" in " ".join(labels(svg))


@small
def test_each_layer_has_a_loop_with_its_state(name):
    """An edge from a layer to itself, from its lower right corner to its upper right one, says the state's parts."""
    c, shapes, (root, _) = CONFIGS[name], shapes_of(name), draw(name)
    loops = [g for g in root.iter(f"{SVG}g") if re.fullmatch(r"(\w+):se->\1:ne", g.findtext(f"{SVG}title"))]
    assert len(loops) == c.num_layers
    for loop in loops:
        first, *parts = (text.text.strip() for text in loop.findall(f"{SVG}text"))
        assert first == "its state, one token later"
        assert [part[0] for part in parts] == list("hc"[: len(parts)])
        assert [numbers(part) for part in parts] == [
            [shapes[f"layer_1.{k}"]] for k in ("hc" if c.cell == "lstm" else "h")
        ]
        x, y = zip(*re.findall(r"(-?[\d.]+),(-?[\d.]+)", loop.find(f"{SVG}path").get("d")), strict=True)
        assert max(map(float, x)) - min(map(float, x)) > 80 and max(map(float, y)) - min(map(float, y)) > 80


def test_layers_in_between_are_drawn_as_one():
    said = [line.strip() for line in labels(draw("large")[1])]
    assert [line for line in said if line.startswith("layer")] == [
        "layer 1",
        "layers 2 to 11, each",
        "layer 12",
    ]
    assert said.count("its state, one token later") == 3 and "the embedding again" in said
    assert "the embedding again" not in labels(draw("figure")[1])


@pytest.mark.parametrize("cell", CELLS)
def test_matrices_named_are_those_of_the_layer(cell):
    model, _ = report(CONFIGS[f"{cell}, 1"])
    said = next(line for line in labels(draw(f"{cell}, 1")[1]) if "matrices" in line)
    weights = [p for name, p in layers_of(model).named_parameters() if "weight" in name]
    assert said == f"{sum(p.numel() for p in weights) // 20**2} matrices, C × C"


def test_the_way_of_an_elman_cell_is_the_one_drawn():
    model, _ = report(CONFIGS["elman, 1"])
    W, U, b, b2 = (p.detach() for p in layers_of(model).parameters())
    x, h = torch.randn(B, 20), torch.randn(B, 20)
    assert "h = tanh(W x + U h + b)" in labels(draw("elman, 1")[1])
    after = layers_of(model)(x[:, None], h[None])[1][0]
    assert torch.allclose(after, torch.tanh(x @ W.T + h @ U.T + b + b2), atol=1e-6)


# A recurrent model: what is refused


def test_a_model_with_other_parts_is_refused():
    config = RecurrentConfig(101, cell="gru", width=20, num_layers=2, dropout=0.1)
    with pytest.raises(ValueError, match=r"has besides \['dropout', 'embedding.dropout'\]"):
        recurrence(config, report(config)[1])


def test_shapes_of_another_model_are_refused():
    config, shapes = CONFIGS["lstm, 2"], shapes_of("lstm, 2")
    for other, message in {
        "gru, 2": r"lacks \[\], and has besides \['layer_1.c', 'layer_2.c'\]",
        "lstm, 3": r"lacks \['layer_3', 'layer_3.c', 'layer_3.h'\]",
        "figure": r"embedding.token is drawn as \(B T C\) = \(3, 7, 256\), the model's is \(3, 7, 20\)",
    }.items():
        with pytest.raises(ValueError, match=message):
            recurrence(CONFIGS[other], shapes)
    for tensor in shapes:
        if tensor != "ids":
            with pytest.raises(ValueError, match=f"{tensor} is drawn as"):
                recurrence(config, shapes | {tensor: (1, *shapes[tensor])})
    with pytest.raises(ValueError, match="the order is"):
        recurrence(config, dict(reversed(shapes.items())))


# A run: the files


def tiny_run() -> bundle.Run:
    """A run of which two steps are to come and two are done, with dropout, and metrics of both."""
    tokenizer = CharTokenizer.train(SKY)
    data = bundle.Data("sky", "0" * 64, 5, "char", tokenizer.vocab_size, 8, 3, 6)
    config = TransformerConfig(
        tokenizer.vocab_size, 8, width=8, num_heads=1, feed_forward=8, num_layers=1, dropout=0.3
    )
    experiment = bundle.Experiment(config, TrainConfig(steps=9, warmup=6), data)
    torch.manual_seed(0)
    model = DecoderOnlyTransformer(config)
    done = bundle.Run(experiment, tokenizer, model, TrainingState(model, experiment.training))
    done.metrics += [vars(next_step(done)[0]), vars(next_step(done)[0])]
    return done


def next_step(run: bundle.Run) -> tuple:
    """The next step of a run, the ids that it read, and the weights that it left."""
    seed, vocab_size = run.experiment.data.seed, run.tokenizer.vocab_size
    ids = torch.randint(vocab_size, (9, 3, 8), generator=torch.Generator().manual_seed(seed))
    seen = []

    def loss(model, batch):
        seen.append(batch.ids)
        return next_token_loss(model, batch)

    batches = [Batch(x, x.roll(-1, 1)) for x in ids]
    step = next(train(run.model, batches, loss, run.experiment.training, state=run.training_state))
    return step, seen[0], torch.cat([p.detach().flatten() for p in run.model.parameters()])


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, tuple]:
    """A bundle of two steps, and the third step as it was without a pause."""
    with torch.random.fork_rng():
        unbroken = tiny_run()
        path = bundle.save(tmp_path_factory.mktemp("run"), unbroken)
        return path, next_step(unbroken)


def test_files_named_are_those_that_save_writes(saved):
    written = {path.name for path in saved[0].iterdir()}
    assert {file for piece in PIECES.values() for file in piece.kept} == written
    said = " ".join(labels(run()))
    assert set(re.findall(r"[a-z]+\.(?:jsonl|json|safetensors)", said)) == written


def test_each_piece_is_in_its_files(saved):
    path, _ = saved
    experiment, training = (
        json.loads((path / f"{name}.json").read_text()) for name in ("experiment", "training")
    )
    manifest = json.loads((path / "manifest.json").read_text())
    found = {
        "corpus": {"experiment.json": {"corpus", "sha256", "split_seed"} <= experiment["data"].keys()},
        "tokenizer": {"tokenizer.json": (path / "tokenizer.json").stat().st_size > 0},
        "batches": {
            "experiment.json": {"seed", "batch_size", "context"} <= experiment["data"].keys(),
            "training.json": training["state"]["batches_taken"] == 2,
        },
        "model": {"experiment.json": experiment["model"]["width"] == 8, "model.safetensors": keys(path, "model")},
        "optimizer": {
            "experiment.json": {"optimizer", "matrix_lr"} <= experiment["training"].keys(),
            "training.safetensors": any(key.startswith("optimizer/") for key in keys(path, "training")),
        },
        "schedule": {
            "experiment.json": {"schedule", "warmup", "steps"} <= experiment["training"].keys(),
            "training.json": training["state"]["step"] == 2,
        },
        "random states": {
            "training.safetensors": {"random/python", "random/numpy", "random/torch"} <= keys(path, "training"),
            "training.json": training["random"].keys() == {"python", "numpy"},
        },
        "metrics": {"metrics.jsonl": len((path / "metrics.jsonl").read_text().splitlines()) == 2},
        "manifest": {"manifest.json": all(len(f["sha256"]) == 64 for f in manifest["files"].values())},
    }  # fmt: skip
    assert {name: list(files) for name, files in found.items()} == {
        n: list(p.kept) for n, p in PIECES.items()
    }
    assert all(there for files in found.values() for there in files.values()), found


def keys(path: Path, name: str) -> set[str]:
    with safe_open(path / f"{name}.safetensors", "pt") as file:
        return set(file.keys())


# A run: what breaks


def test_a_whole_bundle_goes_on_as_if_nothing_had_stopped(saved):
    path, (step, ids, weights) = saved
    with torch.random.fork_rng():
        torch.manual_seed(77)
        again = next_step(bundle.load(path, restore_random=True))
    assert (again[0].loss, again[0].learning_rate) == (step.loss, step.learning_rate)
    assert torch.equal(again[1], ids) and torch.equal(again[2], weights)


@pytest.mark.parametrize("lost", ["batches", "model", "optimizer", "schedule", "random states"])
def test_without_a_piece_the_next_step_is_another(saved, lost):
    path, (step, ids, weights) = saved
    with torch.random.fork_rng():
        torch.manual_seed(77)
        run = bundle.load(path, restore_random=lost != "random states")
        state = run.training_state
        if lost == "batches":
            state.batches_taken = 0
        elif lost == "model":
            for p in run.model.parameters():
                p.data = torch.full_like(p, 0.1)
        elif lost == "optimizer":
            state.load({}, state.values())
        elif lost == "schedule":
            state.step = 0
        again = next_step(run)
    changed = {
        "rate": again[0].learning_rate != step.learning_rate,
        "batch": not torch.equal(again[1], ids),
        "loss": again[0].loss != step.loss,
    }
    expected = {
        "batches": {"batch", "loss"},
        "model": {"loss"},
        "schedule": {"rate"},
        "random states": {"loss"},
    }
    assert {name for name, is_so in changed.items() if is_so} == expected.get(lost, set())
    assert not torch.equal(again[2], weights)
    if lost == "batches":  # "batches repeat"
        assert torch.equal(again[1], next_step(tiny_start())[1])
    if lost == "schedule":  # "a second warm-up"
        assert again[0].learning_rate < step.learning_rate


def tiny_start() -> bundle.Run:
    """The same run before its first step."""
    with torch.random.fork_rng():
        run = tiny_run()
    run.training_state = TrainingState(run.model, run.experiment.training)
    return run


def test_another_tokenizer_is_another_vocabulary(saved):
    run = bundle.load(saved[0])
    other = BPETokenizer.train(SKY, vocab_size=280)
    assert run.tokenizer.encode(SKY[0]) != other.encode(SKY[0])
    assert run.tokenizer.decode(run.tokenizer.encode(SKY[0])) == SKY[0]


def test_damage_is_seen_by_the_manifest(saved, tmp_path):
    for file in saved[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(bundle.BundleError, match="SHA-256 is not the manifest's"):
        bundle.load(tmp_path)


def test_every_piece_is_drawn_with_what_breaks():
    said = labels(run())
    for name, piece in PIECES.items():
        at = said.index(name)
        assert piece.without in said[at : at + 4]
        assert re.match(r"without (it|them): ", piece.without)
    for step in ("next step", "ids", "changed by every step"):
        assert step in said
    assert {"corpus->tokenizer", "tokenizer->ids", "corpus:e->ids:e", "ids->batches", "batches->step"} <= set(
        arrows(draw("run")[0])
    )


# Both, as a reader sees them


@every
def test_nothing_overlaps_in_a_wide_font(name):
    boxes = taken(draw(name)[0])
    assert len(boxes) > 9
    for (a, *first), (b, *second) in combinations(boxes, 2):
        beside = first[2] <= second[0] or second[2] <= first[0]
        assert beside or first[3] <= second[1] or second[3] <= first[1], (a, b)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_text_lies_on_a_loop(name):
    root = draw(name)[0]
    edges = [g for g in root.iter(f"{SVG}g") if g.get("class") == "edge"]
    loops = [g.find(f"{SVG}path").get("d") for g in edges if ":se->" in g.findtext(f"{SVG}title")]
    line = [strokes._along(piece, t / 20) for d in loops for piece in strokes.path(d) for t in range(21)]
    assert len(line) > 40
    for words, left, top, right, bottom in taken(root):
        inside = [(x, y) for x, y in line if left + 1 < x < right - 1 and top < y < bottom]
        assert not inside, words


@every
def test_all_that_is_written_stays_on_the_page(name):
    root = ElementTree.fromstring(draw(name)[1])
    assert 700 <= float(root.get("width")) <= 900
    assert_on_the_page(root)


def test_drawn_the_same_each_time_and_described():
    for name in ("gru, 2", "run"):
        svg = draw(name)[1]
        assert svg == (run() if name == "run" else recurrence(CONFIGS[name], report(CONFIGS[name])[1]))
        title, description, *_ = ElementTree.fromstring(svg)
        assert title.text in labels(svg) and len(description.text) > 100


def test_examples_in_docstrings():
    assert doctest.testmod(importlib.import_module("lab.show.diagrams.recurrence")).failed == 0
