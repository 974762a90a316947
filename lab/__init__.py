"""lab: a notebook-driven workbench for understanding small language models. See README.md for the map."""

import importlib

__version__ = "0.1.0"
__all__ = ["checks", "data", "decode", "nn", "runs", "score", "show", "text", "train"]


def __getattr__(name: str):
    """A room is loaded when it is first touched, so that `import lab` itself takes no time."""
    if name in __all__:
        return importlib.import_module(f"lab.{name}")
    raise AttributeError(f"module 'lab' has no attribute {name!r}")
