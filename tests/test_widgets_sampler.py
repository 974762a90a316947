"""The sampler, without a browser: every control is moved, tokens are chosen by hand, and what is seen is true."""

import asyncio
import html

import pytest
import torch
from widget_toys import controls_of, drawn_in, model, names_of, text_of, tokenizer

from lab.decode.search import Sampling
from lab.show.next_token import filtered, next_token, told
from lab.show.widgets import Sampler
from lab.show.widgets.sampler import Settings, draw
from lab.show.widgets.sampler_controls import USED
from lab.show.widgets.voices import GIVEN
from lab.show.widgets.writing import STRATEGIES, Draft


def new_sampler() -> Sampler:
    made = Sampler(model, tokenizer, prompt="the", seed=2)
    made.controls.length.value, made.controls.top_p.value, made.controls.temperature.value = 25, 1.0, 1.0
    return made


@pytest.fixture
def sampler() -> Sampler:
    return new_sampler()


def seen(sampler: Sampler, voice: str = GIVEN) -> list[str]:
    """The tokens on the page behind the prompt."""
    return sampler.strips[voice].texts


def tokens(sampler: Sampler, voice: str = GIVEN) -> list[int]:
    return sampler.voices.draft(voice).tokens


def problem(sampler: Sampler) -> str:
    return html.unescape(text_of(sampler.notice.value))


def test_generate_writes_what_the_settings_say(sampler):
    sampler.button.click()
    drawn = list(draw(model, tokenizer, sampler.settings))
    assert sampler.drafts[GIVEN].drawn == drawn and len(seen(sampler)) == len(drawn)
    assert sampler.drafts[GIVEN].text == "the" + tokenizer.decode([step.token for step in drawn])
    first = seen(sampler)
    sampler.button.click()
    assert seen(sampler) == first, "the same seed gives the same text"


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
    sampler.controls.strategy.value = strategy
    if strategy == "beam":
        sampler.controls.length.value, sampler.controls.beams.value = 6, 1
    sampler.button.click()
    before, bars = tokens(sampler), sampler.next_token.value
    assert before
    getattr(sampler.controls, control).value = value
    assert getattr(sampler.settings, control) == value
    if control in ("prompt", "temperature", "top_k", "top_p", "min_p", "strategy"):
        assert sampler.next_token.value != bars, "the picture of the next token follows at once"
    sampler.button.click()
    assert tokens(sampler) != before and not sampler.problem


def test_controls_without_effect_are_disabled(sampler):
    for strategy in STRATEGIES:
        sampler.controls.strategy.value = strategy
        for name in set().union(*USED.values()):
            assert getattr(sampler.controls, name).disabled == (name not in USED[strategy]), (strategy, name)


def test_no_control_was_forgotten_and_each_has_its_class(sampler):
    names = names_of(sampler)
    settings = {f"lab-{name.replace('_', '-')}" for name in vars(Settings())} - {"lab-filters"}
    strip = {name for name in names if name.startswith("lab-strip")}
    assert names - strip == settings | {"lab-voice", "lab-token", "lab-instead", "lab-path"}
    buttons = (sampler.button, sampler.stop_button, sampler.continue_button, sampler.choice.take)
    for button, name in zip(buttons, ("generate", "stop", "continue", "take"), strict=True):
        assert f"lab-{name}" in button._dom_classes
    assert "lab-sampler" in sampler._dom_classes and "need a running notebook" in repr(sampler)


def test_the_sampler_streams_and_stop_and_continue_give_the_same_text():
    async def session():
        sampler = Sampler(model, tokenizer, prompt="the", seed=2)
        sampler.stream.seconds = 0
        sampler.button.click()
        assert seen(sampler) == [], "the click itself returns at once"
        lengths = set()
        while len(tokens(sampler)) < 10:
            await asyncio.sleep(0.002)
            lengths.add(len(seen(sampler)))
        assert not sampler.stop_button.disabled
        sampler.stop_button.click()
        stopped = list(tokens(sampler))
        assert sampler.stop_button.disabled and len(seen(sampler)) == len(stopped)
        await asyncio.sleep(0.05)
        assert tokens(sampler) == stopped, "it has stopped"
        sampler.continue_button.click()
        await sampler.stream.task
        return lengths, stopped, tokens(sampler), sampler.settings

    lengths, stopped, after, settings = asyncio.run(session())
    assert len(lengths) > 3, "tokens appear as they are drawn"
    whole = [step.token for step in draw(model, tokenizer, settings)]
    assert 10 <= len(stopped) < len(whole)
    # As far as the cache reaches: past the context a new start reads another part of the text.
    assert after[:27] == whole[:27] and after[: len(stopped)] == stopped


def test_another_token_is_chosen_and_the_text_goes_on_from_it(sampler):
    sampler.button.click()
    before, draft = list(tokens(sampler)), sampler.drafts[GIVEN]
    sampler.choice.token.value = 4
    assert sampler.choice.place == 3 and before[3] not in [i for _, i in sampler.choice.instead.options]
    likeliest = sampler.choice.instead.options[0]
    assert f"{dict(draft.alternatives(3))[likeliest[1]]:.2%}" in likeliest[0]
    sampler.choice.instead.value = likeliest[1]
    sampler.choice.take.click()
    after = tokens(sampler)
    assert after[:3] == before[:3] and after[3] == likeliest[1] and len(after) > 4
    assert draft.by_hand == {3} and draft.drawn[3].probability == pytest.approx(
        dict(draft.alternatives(3))[after[3]]
    )
    assert "underline" in sampler.strips[GIVEN].above.value
    sampler.choose(GIVEN, 3, before[3])
    again = list(tokens(sampler))
    sampler.choose(GIVEN, 3, before[3])
    assert tokens(sampler) == again, "what follows a choice depends on the seed alone"


def test_a_click_on_a_token_chooses_it(sampler):
    sampler.button.click()
    strip = sampler.strips[GIVEN]
    assert strip.buttons.options[0] == ("the", 0), "the prompt stands first"
    strip.buttons.index = 1 + 6
    assert sampler.choice.token.value == 7 and "Token 7:" in text_of(sampler.next_token.value)
    framed = strip.above.value
    assert ":nth-child(8)" in framed.split("outline:2px solid")[-2][-400:]
    strip.buttons.index = 0
    assert sampler.choice.token.value == 7, "the prompt is no choice"
    sampler.choice.token.value = 0
    assert strip.buttons.index is None and "after the prompt" in text_of(sampler.next_token.value)
    assert sampler.choice.take.disabled and sampler.choice.instead.options == ()


def test_filters_from_outside_are_chosen_by_name(tmp_path):
    def only(token):
        return lambda logits, ids: logits.masked_fill(torch.arange(logits.shape[-1]) != token, -torch.inf)

    sampler = Sampler(model, tokenizer, prompt="the", filters={"tens": only(10), "elevens": only(11)})
    sampler.controls.length.value = 4
    assert sampler.controls.filters in controls_of(sampler) and sampler.settings.filters == ()
    for strategy in ("sample", "greedy"):
        sampler.controls.strategy.value = strategy
        sampler.controls.filters.value = ("elevens",)
        assert "1 of 280 tokens kept" in text_of(sampler.next_token.value)
        sampler.button.click()
        assert tokens(sampler) == [11] * 4
    path = sampler.save(tmp_path / "session.json")
    other = Sampler(model, tokenizer, filters={"elevens": only(11)})
    other.load(path)
    assert other.settings.filters == ("elevens",)
    with pytest.raises(ValueError, match="elevens"):
        Sampler(model, tokenizer).load(path)
    broken = Sampler(model, tokenizer, filters={"broken": lambda logits, ids: logits[:, 9999]})
    broken.controls.filters.value = ("broken",)
    broken.button.click()
    assert "role='alert'" in broken.notice.value and "role='alert'" in broken.next_token.value


def test_wrong_choices_are_refused(sampler):
    sampler.button.click()
    with pytest.raises(ValueError, match=r"places 0 \.\. 24, got 25"):
        sampler.choose(GIVEN, 25, 7)
    absent = next(i for i in range(280) if i not in dict(sampler.drafts[GIVEN].alternatives(0)))
    with pytest.raises(ValueError, match=f"token {absent} is not among the alternatives"):
        sampler.choose(GIVEN, 0, absent)
    assert len(tokens(sampler)) == 25


def test_what_cannot_be_encoded_is_said_and_the_old_text_stays(sampler):
    sampler.button.click()
    before = list(tokens(sampler))
    sampler.controls.prompt.value = "\ud800"
    sampler.button.click()
    assert "surrogate" in problem(sampler) and "surrogate" in sampler.next_token.value
    assert tokens(sampler) == before
    sampler.controls.prompt.value = "the"
    sampler.button.click()
    assert problem(sampler) == "" and "surrogate" not in sampler.next_token.value


def test_bad_settings_are_refused():
    for bad in (
        {"strategy": "best"},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"strategy": "beam", "beams": 0},
    ):
        with pytest.raises(ValueError, match=next(reversed(bad)).replace("beams", "width")):
            list(draw(model, tokenizer, Settings(**bad)))
    with pytest.raises(ValueError, match="a model needs its tokenizer"):
        Sampler(model)


def test_the_bars_show_what_is_kept_and_what_is_removed():
    ids = [2, *tokenizer.encode("the")]
    step = next_token(model, ids, Sampling(top_k=3))
    own = model(torch.tensor([ids]))[0, -1].double().softmax(-1)
    assert torch.allclose(step.own, own) and step.kept == 3
    assert step.kept_mass == pytest.approx(own.topk(3).values.sum().item())
    assert "3 of 280 tokens kept" in told(step) and f"removed: {1 - step.kept_mass:.1%}" in told(step)
    assert next_token(model, ids, Sampling()).kept_mass == pytest.approx(1)
    repeated = filtered(torch.tensor([2.0, 1.0]), [0], Sampling(repetition_penalty=4.0))
    assert repeated.drawn_from[0] < repeated.drawn_from[1]


def test_the_widget_shows_the_bars_of_the_chosen_place(sampler):
    sampler.controls.top_k.value = 3
    assert "3 of 280 tokens kept" in text_of(sampler.next_token.value)
    sampler.button.click()
    sampler.choice.token.value = 5
    step = next_token(model, [2, *tokenizer.encode("the"), *tokens(sampler)[:4]], sampler.settings.decoding())
    assert told(step) in text_of(sampler.next_token.value)
    sampler.controls.strategy.value = "beam"
    assert "280 of 280 tokens kept" in text_of(sampler.next_token.value), "beams filter nothing"


def test_the_figure_is_what_was_written_or_would_be(sampler):
    before = drawn_in(sampler.figure())
    assert sampler.drafts[GIVEN].drawn == [] and len(before) == 3 + 25
    sampler.button.click()
    assert drawn_in(sampler.figure()) == before and "this model: sample, seed 2" in before
    sampler.choice.token.value = 2
    sampler.choice.take.click()
    assert drawn_in(sampler.figure()) != before


def test_a_draft_needs_no_widget():
    draft = Draft(model, tokenizer)
    for n, _ in enumerate(draft.begin(Settings("the", length=4)), start=1):
        assert len(draft.drawn) == n
    list(draft.go_on(Settings("ignored", length=3, strategy="greedy")))
    assert len(draft.drawn) == 7 and draft.settings.prompt == "the" and draft.text.startswith("the")
    ids = [2, *tokenizer.encode("the"), *draft.tokens[:6]]
    assert draft.tokens[6] == int(next_token(model, ids, Sampling()).own.argmax())
    state = draft.random_state()
    first = list(draft.go_on(Settings(length=5)))
    ahead = draft.tokens[7:]
    draft.drawn = draft.drawn[:7]
    draft.set_random_state(state)
    assert len(list(draft.go_on(Settings(length=5)))) == len(first) and draft.tokens[7:] == ahead
