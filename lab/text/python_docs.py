"""Real English prose present on every machine: the language reference inside CPython."""

import importlib
import platform
import re

from lab.text.corpus import Corpus, CorpusError

_MARKUP = [
    (re.compile(r"\s+"), " "),
    (re.compile(r"^(?:\* |- |\d+\. |\[\d+\] |\(\d+\) )\s*"), ""),  # bullets, numbers of lists and footnotes
    (re.compile(r"\*{1,2}(\w(?:[^*]*[\w.:])?)\*{1,2}"), r"\1"),  # *emphasis*, **strong**
    (re.compile(r" \[\d+\](?=[.,;:]?(?: |$))"), ""),  # references to footnotes
]
_PROSE_ENDS = (".", ":", "!", "?", ".)", '."')
_NOT_PROSE = re.compile(r"::=|>>>|^\s*[+|]|^\s*(?:def|class|import|from|#)\b|(\S)\1{4,}", re.MULTILINE)
_MIN_WORDS = 6


def corpus() -> Corpus:
    """The paragraphs of `pydoc_data.topics`, one a line, each once; it differs between Python versions.

    Raises CorpusError on a Python that was installed without them.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise CorpusError(
            "this Python lacks pydoc_data.topics, the text of the corpus python-docs: install the full "
            "standard library, or choose the corpus grammar, or a file of your own"
        ) from None
    lines = (line for topic in sorted(topics) for line in prose(topics[topic]))
    return Corpus(
        "python-docs",
        tuple(dict.fromkeys(lines)),  # topics overlap: a paragraph counts where it occurs first
        licence="PSF licence, Python Software Foundation",
        note=f"from Python {platform.python_version()}",
    )


def prose(topic: str) -> list[str]:
    r"""The paragraphs of a topic as single lines; headings, code, grammar and tables are left out.

    >>> prose("Calls\n*****\n\nA call calls a *callable* object\n(e.g., a function).\n\n   f(x)\n")
    ['A call calls a callable object (e.g., a function).']
    """
    lines = []
    for paragraph in re.split(r"\n\s*\n", topic):
        if _NOT_PROSE.search(paragraph):
            continue
        line = paragraph.strip()
        for pattern, replacement in _MARKUP:
            line = pattern.sub(replacement, line)
        if line.endswith(_PROSE_ENDS) and len(line.split()) >= _MIN_WORDS:
            lines.append(line)
    return lines
