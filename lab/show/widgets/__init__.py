"""Things to play with: each is a pure `render` function, and around it controls that call it."""

from lab.show.widgets.merge_stepper import MergeStepper
from lab.show.widgets.playground import TokenizerPlayground
from lab.show.widgets.sampler import Sampler

__all__ = ["MergeStepper", "Sampler", "TokenizerPlayground"]
