"""What a notebook needs of the text it is run on, said before anything is trained."""

from IPython.display import Markdown, display

from lab.text import Corpus
from lab.text.facts import describe

# How each of TextFacts' numbers is said; the shares are told in percent.
WORDS = {
    "lines": "{:,} lines",
    "distinct_lines": "{:,} different lines",
    "chars": "{:,} characters",
    "distinct_chars": "{:,} different characters",
    "longest_line": "{:,} characters in the longest line",
    "tokens_per_line": "{:,g} words and punctuation marks in a typical line",
    "words_per_line": "{:,g} words between spaces in a typical line",
    "spaces": "{:.1%} of its characters spaces",
    "punctuation": "{:.1%} of its characters punctuation",
}


class DoesNotApply(Exception):
    """The notebook cannot be shown on this text; the message says what the text lacks."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows of it: the sentence stands in the cell already, and a traceback helps nobody."""
        return ["The cells below are not run."]


def needs(text: Corpus, **at_least: float) -> None:
    """Go on if the text has at least so much of each of the facts of `lab.text.describe`; else stop the notebook.

    `needs(text, distinct_lines=300, words_per_line=4, punctuation=0.01)`. Raises DoesNotApply, after showing the
    sentence that it holds; ValueError for a fact that there is not.

    >>> needs(Corpus("two", ("To be", "or not")), distinct_lines=2)
    """
    unknown = at_least.keys() - WORDS.keys()
    if unknown:
        raise ValueError(f"unknown fact {', '.join(sorted(unknown))}: choose of {', '.join(WORDS)}")
    facts = describe(text.lines)
    lacking = [
        f"at least {WORDS[name].format(least)} (it has {getattr(facts, name):{'.1%' if least < 1 else ',g'}})"
        for name, least in at_least.items()
        if getattr(facts, name) < least
    ]
    if lacking:
        sentence = (
            f"This notebook does not apply to {text.name}: the text would need {' and '.join(lacking)}."
        )
        display(Markdown(sentence))
        raise DoesNotApply(sentence)
