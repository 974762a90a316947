"""The sampler, without a browser: every control is moved, tokens are chosen by hand, and what is seen is true."""

import json
from itertools import count

import pytest
import torch
from widget_toys import model, tokenizer

from lab.show.next_token import next_token
from lab.show.tokens import visible
from lab.show.widgets import Sampler
from lab.show.widgets.sampler import USED, Settings, draw
from lab.show.widgets.voices import GIVEN


def new_sampler() -> Sampler:
    made = Sampler(model, tokenizer, prompt="the", seed=2)
    made.length, made.top_p, made.temperature = 25, 1.0, 1.0
    return made


@pytest.fixture
def sampler() -> Sampler:
    return new_sampler()


def seen(sampler: Sampler, voice: str = GIVEN) -> list[str]:
    """The tokens on the page behind the prompt."""
    return next([name for name, _, _ in text["tokens"]] for text in sampler.texts if text["voice"] == voice)


def tokens(sampler: Sampler, voice: str = GIVEN) -> list[int]:
    return sampler.voices.draft(voice).tokens


def press(sampler: Sampler, what: str, **values) -> None:
    """Ask as the page does when a button is pressed: for what it says, and then for more while there is more."""
    asked(sampler, what, **values)
    while sampler.busy:
        asked(sampler, "more")


def asked(sampler: Sampler, what: str, **values):
    sampler.set_state({"questions": [{"id": f"q{next(numbers)}", "name": what, "values": values}]})
    ((answer,),) = sampler.answers.values()
    return answer


numbers = count()


def test_generate_writes_what_the_settings_say_and_keeps_it_where_nothing_can_be_written(sampler):
    drawn = list(draw(model, tokenizer, sampler.settings))
    press(sampler, "generate")
    for prompt, said in [("the", ""), ("\ud800", "surrogate"), ("the", "")]:
        sampler.prompt = prompt
        press(sampler, "generate")
        assert said in sampler.problem and bool(said) == bool(sampler.problem)
        assert bool(said) == ("surrogate" in sampler.drawing["next"][0].get("problem", ""))
        assert sampler.drafts[GIVEN].drawn == drawn and len(seen(sampler)) == len(drawn), "the same seed"
        assert sampler.drafts[GIVEN].text == "the" + tokenizer.decode([step.token for step in drawn])
    sampler.generate()
    assert sampler.drafts[GIVEN].drawn == drawn, "from Python too"


@pytest.mark.parametrize(
    ("control", "value", "strategy"),
    [
        ("prompt", "and the", "sample"), ("temperature", 1.9, "sample"), ("top_k", 2, "sample"),
        ("top_p", 0.1, "sample"), ("min_p", 0.5, "sample"), ("penalty", 2.0, "sample"), ("seed", 99, "sample"),
        ("length", 3, "sample"), ("strategy", "greedy", "sample"), ("strategy", "beam", "greedy"),
        ("prompt", "and the", "greedy"), ("penalty", 2.0, "greedy"), ("length", 3, "greedy"),
        ("beams", 12, "beam"), ("length", 3, "beam"), ("prompt", "earth", "beam"),
    ],
)  # fmt: skip
def test_every_control_changes_what_is_written(sampler, control, value, strategy):
    sampler.strategy = strategy
    assert sampler.drawing["used"] == USED[strategy]
    if strategy == "beam":
        sampler.length, sampler.beams = 6, 1
    press(sampler, "generate")
    before, bars = tokens(sampler), sampler.drawing["next"]
    assert before
    setattr(sampler, control, value)
    assert getattr(sampler.settings, control) == value
    if control in ("prompt", "temperature", "top_k", "top_p", "min_p", "strategy"):
        assert sampler.drawing["next"] != bars, "the picture of the next token follows at once"
    press(sampler, "generate")
    assert tokens(sampler) != before and not sampler.problem


def test_every_setting_is_a_trait_of_its_name_with_its_default():
    made = Sampler(model, tokenizer)
    assert made.settings == Settings(prompt=made.prompt) and json.dumps(made.drawing)


def test_the_sampler_writes_in_pieces_and_stop_and_continue_give_the_same_text(monkeypatch):
    monkeypatch.setattr("lab.show.widgets.sampler.PIECE", 0)
    sampler = Sampler(model, tokenizer, prompt="the", seed=2)
    assert asked(sampler, "generate") is None and sampler.busy
    lengths = {len(seen(sampler))}
    for _ in range(9):
        assert asked(sampler, "more") is True
        lengths.add(len(seen(sampler)))
    assert len(lengths) == 10, "tokens appear as they are drawn"
    asked(sampler, "stop")
    stopped = list(tokens(sampler))
    assert not sampler.busy and len(seen(sampler)) == len(stopped) == 10
    assert asked(sampler, "more") is False and tokens(sampler) == stopped, "it has stopped"
    press(sampler, "go_on")
    whole = [step.token for step in draw(model, tokenizer, sampler.settings)]
    # As far as the cache reaches: past the context a new start reads another part of the text.
    assert tokens(sampler)[:27] == whole[:27]
    asked(sampler, "generate")
    writing = sampler._writing
    sampler.close()
    assert list(writing) == [], "a widget that is closed writes no more"


def test_another_token_is_chosen_and_the_text_goes_on_from_it(sampler):
    press(sampler, "generate")
    before, draft = list(tokens(sampler)), sampler.drafts[GIVEN]
    sampler.token = 4
    chosen = sampler.drawing["chosen"]
    assert chosen["place"] == 3 and before[3] not in [i for i, _, _ in chosen["others"]]
    likeliest, _, share = chosen["others"][0]
    assert share == dict(draft.alternatives(3))[likeliest]
    press(sampler, "choose", voice=GIVEN, place=3, token=likeliest)
    after = tokens(sampler)
    assert after[:3] == before[:3] and after[3] == likeliest and len(after) > 4
    assert draft.by_hand == {3} and draft.drawn[3].probability == pytest.approx(share)
    assert sampler.texts[0]["by_hand"] == [3] and sampler.token == 0
    sampler.choose(GIVEN, 3, before[3])
    again = list(tokens(sampler))
    sampler.choose(GIVEN, 3, before[3])
    assert tokens(sampler) == again, "what follows a choice depends on the seed alone"
    sampler.token = 10_000
    assert sampler.place == len(again) - 1, "past the end is the last"


@pytest.mark.parametrize(
    "prompt", ["the", "the heaven and the earth " * 6], ids=["short", "past the context"]
)
def test_the_attention_of_the_chosen_token_is_that_of_the_place_that_chose_it(prompt):
    sampler = Sampler(model, tokenizer, prompt=prompt, seed=2, length=6)
    sampler.generate()
    sampler.token = 5
    assert sampler.drawing["heads"] == [
        "off",
        "mean of all heads",
        *(f"layer {i}, head {j}" for i in (0, 1) for j in (0, 1)),
    ]
    assert "looked" not in sampler.drawing
    ids = [2, *tokenizer.encode(prompt), *tokens(sampler)[:4]]
    maps = model.attention_maps(torch.tensor([ids[-32:]]))
    wanted = {
        "mean of all heads": torch.stack(maps)[:, 0, :, -1].mean((0, 1)),
        "layer 1, head 0": maps[1][0, 0, -1],
    }
    for which, row in wanted.items():
        sampler.attention = which
        shares = sampler.drawing["looked"]["shares"]
        assert (
            len(shares) == len(ids) and shares[-32:] == pytest.approx(row.tolist()) and not any(shares[:-32])
        )
        assert sampler.drawing["looked"]["prompt"] == [visible(t) for t in tokenizer.tokens(ids[:-4])]


def test_filters_from_outside_are_chosen_by_name(tmp_path):
    def only(token):
        return lambda logits, ids: logits.masked_fill(torch.arange(logits.shape[-1]) != token, -torch.inf)

    sampler = Sampler(model, tokenizer, prompt="the", filters={"tens": only(10), "elevens": only(11)})
    sampler.length = 4
    assert sampler.drawing["filters"] == ["tens", "elevens"] and sampler.settings.filters == ()
    for strategy in ("sample", "greedy"):
        sampler.strategy = strategy
        sampler.filters = ["elevens"]
        assert sampler.drawing["next"][0]["kept"] == 1
        press(sampler, "generate")
        assert tokens(sampler) == [11] * 4
    path = sampler.save(tmp_path / "session.json")
    other = Sampler(model, tokenizer, filters={"elevens": only(11)})
    other.load(path)
    assert other.settings.filters == ("elevens",)
    with pytest.raises(ValueError, match="elevens"):
        Sampler(model, tokenizer).load(path)


def test_the_bars_show_what_is_kept_at_the_chosen_place(sampler):
    sampler.top_k = 3
    assert sampler.drawing["next"][0]["kept"] == 3
    press(sampler, "generate")
    sampler.token = 5
    ids = [2, *tokenizer.encode("the"), *tokens(sampler)[:4]]
    step = next_token(model, ids, sampler.settings.decoding())
    own = model(torch.tensor([ids]))[0, -1].double().softmax(-1)
    assert torch.allclose(step.own, own) and step.kept == 3
    assert step.kept_mass == pytest.approx(own.topk(3).values.sum().item())
    (bars,) = sampler.drawing["next"]
    assert bars["mass"] == step.kept_mass and bars["kept"] == 3 and bars["of"] == 280
    assert [row[1:] for row in bars["rows"]] == [[own[i], step.drawn_from[i]] for i in step.likeliest()]
    sampler.strategy = "beam"
    assert sampler.drawing["next"][0]["kept"] == 280, "beams filter nothing"


def test_what_cannot_be_chosen_or_written_is_refused(sampler):
    press(sampler, "generate")
    absent = next(i for i in range(280) if i not in dict(sampler.drafts[GIVEN].alternatives(0)))
    for call, named in {
        lambda: sampler.choose(GIVEN, 25, 7): r"places 0 \.\. 24, got 25",
        lambda: sampler.choose(GIVEN, 0, absent): f"token {absent} is not among",
        lambda: list(draw(model, tokenizer, Settings(strategy="best"))): "strategy",
        lambda: list(draw(model, tokenizer, Settings(temperature=-1.0))): "temperature",
        lambda: list(draw(model, tokenizer, Settings(strategy="beam", beams=0))): "width",
        lambda: Sampler(model): "needs its tokenizer",
    }.items():
        with pytest.raises(ValueError, match=named):
            call()
    assert len(tokens(sampler)) == 25
