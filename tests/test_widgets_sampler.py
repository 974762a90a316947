"""The sampler, without a browser: every control is moved, tokens are chosen by hand, and what is seen is true."""

import asyncio
import html

import pytest
import torch
from widget_toys import controls_of, model, names_of, text_of, tokenizer

from lab.show.next_token import next_token, told
from lab.show.widgets import Sampler
from lab.show.widgets.sampler import Settings, draw
from lab.show.widgets.sampler_controls import USED
from lab.show.widgets.voices import GIVEN


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


def test_generate_writes_what_the_settings_say_and_keeps_it_where_nothing_can_be_written(sampler):
    drawn = list(draw(model, tokenizer, sampler.settings))
    sampler.button.click()
    for prompt, said in [("the", ""), ("\ud800", "surrogate"), ("the", "")]:
        sampler.controls.prompt.value = prompt
        sampler.button.click()
        assert said in problem(sampler) and bool(said) == bool(problem(sampler))
        assert bool(said) == ("surrogate" in sampler.next_token.value)
        assert sampler.drafts[GIVEN].drawn == drawn and len(seen(sampler)) == len(drawn), "the same seed"
        assert sampler.drafts[GIVEN].text == "the" + tokenizer.decode([step.token for step in drawn])


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
    for name in set().union(*USED.values()):
        assert getattr(sampler.controls, name).disabled == (name not in USED[strategy]), "without effect"
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
    chance = dict(draft.alternatives(3))[after[3]]
    assert draft.by_hand == {3} and draft.drawn[3].probability == pytest.approx(chance)
    strip = sampler.strips[GIVEN].buttons
    assert strip.options[0] == ("the", 0), "the prompt stands first, and is no choice"
    for index, chosen in [(1 + 6, 7), (0, 7), (1 + 2, 3)]:
        strip.index = index
        assert sampler.choice.token.value == chosen, "a click on a token chooses it"
    sampler.choose(GIVEN, 3, before[3])
    again = list(tokens(sampler))
    sampler.choose(GIVEN, 3, before[3])
    assert tokens(sampler) == again, "what follows a choice depends on the seed alone"


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


def test_the_bars_show_what_is_kept_at_the_chosen_place(sampler):
    sampler.controls.top_k.value = 3
    assert "3 of 280 tokens kept" in text_of(sampler.next_token.value)
    sampler.button.click()
    sampler.choice.token.value = 5
    ids = [2, *tokenizer.encode("the"), *tokens(sampler)[:4]]
    step = next_token(model, ids, sampler.settings.decoding())
    own = model(torch.tensor([ids]))[0, -1].double().softmax(-1)
    assert torch.allclose(step.own, own) and step.kept == 3
    assert step.kept_mass == pytest.approx(own.topk(3).values.sum().item())
    assert told(step) in text_of(sampler.next_token.value)
    assert f"removed: {1 - step.kept_mass:.1%}" in told(step)
    sampler.controls.strategy.value = "beam"
    assert "280 of 280 tokens kept" in text_of(sampler.next_token.value), "beams filter nothing"


def test_what_cannot_be_chosen_or_written_is_refused(sampler):
    sampler.button.click()
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
