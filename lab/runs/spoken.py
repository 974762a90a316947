"""What a run hears: speech made of a text, or found in a folder, with its transcripts as the corpus."""

import hashlib
from functools import lru_cache
from pathlib import Path

from lab.speech.corpus import SpeechCorpus
from lab.speech.folders import folder_corpus, read_audio_folder, read_fbank
from lab.speech.recognition import Recognition
from lab.speech.script import SyntheticConfig
from lab.speech.synthetic import synthetic
from lab.speech.text import character_alphabet
from lab.text import TOKENIZERS, Corpus, Splits, Tokenizer, load


def spoken(objective: Recognition, corpus: str) -> tuple[Corpus, SpeechCorpus]:
    """The speech, and its transcripts as a corpus that bears the name of the text they are from.

    `corpus` names that text, or, without a material, is a folder of speech. Raises what `lab.text.load`,
    `lab.speech.synthetic.synthetic` and `lab.speech.folders` raise.
    """
    return _spoken(objective.material, corpus)


@lru_cache(maxsize=2)  # several runs on one corpus are the rule
def _spoken(material: SyntheticConfig | None, corpus: str) -> tuple[Corpus, SpeechCorpus]:
    if material is None:
        read = read_fbank if any(Path(corpus).glob("*/fbank")) else read_audio_folder
        name, licence, speech = corpus, "that of the speech", folder_corpus(corpus, read)
    elif material.material == "digits":
        name, licence, speech = "digits", "none", synthetic(material)
    else:
        text = load(corpus)
        name, licence, speech = text.name, text.licence, synthetic(material, text)
    lines = tuple(one.text for part in speech.parts.values() for one in part)
    return Corpus(name, lines, licence, sha256=fingerprint(speech)), speech


def transcripts(speech: SpeechCorpus) -> Splits:
    """What is said in each part."""
    return Splits(*([one.text for one in utterances] for utterances in speech.parts.values()))


def fingerprint(speech: SpeechCorpus) -> str:
    """The SHA-256 of every utterance: its part, name, text and features."""
    digest = hashlib.sha256()
    for part, utterances in speech.parts.items():
        for one in utterances:
            digest.update(f"{part}\n{one.name}\n{one.text}\n{tuple(one.features.shape)}\n".encode())
            digest.update(one.features.contiguous().numpy().tobytes())
    return digest.hexdigest()


def tokenizer_of(speech: SpeechCorpus, kind: str, **settings: int) -> Tokenizer:
    """The alphabet of `lab.speech` for "char", which has letters that training may not; else learned in training."""
    if kind == "char":
        return character_alphabet()
    return TOKENIZERS[kind].train(transcripts(speech).train, **settings)
