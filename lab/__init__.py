"""lab: a notebook-driven workbench for understanding small language models. See README.md for the map."""

__version__ = "0.1.0"
