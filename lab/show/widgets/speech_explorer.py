"""Type a sentence, choose a voice, hear it, and see what a recogniser makes of it; or load a WAV file."""

import base64
from collections.abc import Callable

import ipywidgets as widgets
from matplotlib.figure import Figure

from lab.show.listening import Listened, listened, listening_figure
from lab.show.widgets.parts import Explorer, embedded, in_row, page, wide
from lab.speech import espeak, voices
from lab.speech.audio import Audio, read_audio, wav_bytes
from lab.speech.model import SpeechTransformer
from lab.speech.whistle import VOICES as WHISTLES
from lab.speech.whistle import whistle
from lab.text import Tokenizer


def speakers() -> dict[str, Callable[[str], Audio]]:
    """Who can speak here, by name: espeak-ng's voices, those held out first, or whistles where there are none."""
    if espeak.available():
        accent = voices.ACCENTS[0]
        heldout = [*voices.TEST, *voices.VALIDATION]
        named_so = {f"{name} (held out)": name for name in heldout} | {name: name for name in voices.TRAIN}
        return {
            shown: lambda text, name=name: next(espeak.speak([espeak.Request(text, name, accent)]))
            for shown, name in named_so.items()
        }
    return {
        f"whistle {n} (held out)": lambda text, n=n: whistle(text, n, rate=22_050) for n in WHISTLES["test"]
    }


class SpeechExplorer(Explorer):
    """Controls around a recogniser: a sentence and a voice, or a file; the sound, its picture, the transcripts.

    >>> SpeechExplorer(model, tokenizer, text="three one four")  # doctest: +SKIP
    """

    def __init__(self, model: SpeechTransformer, tokenizer: Tokenizer, text: str = "three one four"):
        self.model, self.tokenizer, self.speakers = model, tokenizer, speakers()
        self.sentence = widgets.Text(text, description="sentence", continuous_update=False, layout=wide())
        self.voice = widgets.Dropdown(options=list(self.speakers), description="voice")
        self.speak = widgets.Button(description="Speak", button_style="primary", icon="volume-up")
        self.file = widgets.FileUpload(accept=".wav,.flac", multiple=False, description="load WAV")
        self.sound, self.view = widgets.HTML(layout=wide()), widgets.HTML(layout=wide())
        self.named("sentence", "voice", "speak", "file", "sound", "view")
        self.found: Listened | None = None
        self.said = ""
        self.speak.on_click(lambda _: self.say())
        self.sentence.observe(lambda _: self.say(), "value")
        self.file.observe(self._load, "value")
        self.say()
        super().__init__([self.sentence, in_row(self.voice, self.speak, self.file), self.sound, self.view])

    def say(self) -> None:
        """Let the chosen voice say the sentence, and listen."""
        self._hear(lambda: self.speakers[self.voice.value](self.sentence.value), self.sentence.value)

    def hear(self, audio: Audio, said: str = "") -> None:
        """Listen to a sound; `said` is what was said, where that is known."""
        self._hear(lambda: audio, said)

    def drawn(self) -> str:
        described = f"The sound's picture; by CTC: {self.found.ctc}; by attention: {self.found.attention}"
        return page(embedded(listening_figure(self.found, self.said), described))

    def figure(self) -> Figure:
        """The picture of what was heard last; ValueError where there was nothing to hear."""
        if self.found is None:
            raise ValueError("nothing was heard yet: press Speak, or call hear(audio)")
        return listening_figure(self.found, self.said)

    def _hear(self, sound: Callable[[], Audio], said: str = "") -> None:
        self.sound.value = ""

        def listen() -> None:
            audio = sound()
            self.found, self.said = listened(self.model, self.tokenizer, audio), said
            data = base64.b64encode(wav_bytes(audio)).decode()
            self.sound.value = f"<audio controls src='data:audio/wav;base64,{data}'></audio>"

        self.redraw(listen)

    def _load(self, change) -> None:
        if change["new"]:
            self._hear(lambda: read_audio(bytes(change["new"][0]["content"])))
