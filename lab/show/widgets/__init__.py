"""Things to play with: each is a pure `render` function, and around it controls that call it."""

from lab.show.widgets.attention_explorer import AttentionExplorer
from lab.show.widgets.beam_viewer import BeamViewer
from lab.show.widgets.denoising import DenoisingViewer
from lab.show.widgets.fill_in import FillIn
from lab.show.widgets.grid_editor import GridEditor
from lab.show.widgets.mask_explorer import MaskExplorer
from lab.show.widgets.merge_stepper import MergeStepper
from lab.show.widgets.playground import TokenizerPlayground
from lab.show.widgets.runs_explorer import RunsExplorer
from lab.show.widgets.sampler import Sampler
from lab.show.widgets.speech_explorer import SpeechExplorer
from lab.show.widgets.step_time import StepTimeExplorer
from lab.show.widgets.window_explorer import WindowExplorer

__all__ = [
    "AttentionExplorer", "BeamViewer", "DenoisingViewer", "FillIn", "GridEditor", "MaskExplorer", "MergeStepper",
    "RunsExplorer", "Sampler", "SpeechExplorer", "StepTimeExplorer", "TokenizerPlayground", "WindowExplorer",
]  # fmt: skip
