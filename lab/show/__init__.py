"""What a reader sees: plots, diagrams, widgets. No module above imports it."""

from importlib import import_module

# The public names by the module that holds them, which is loaded when one of its names is first asked for: whoever
# draws a curve does not load the widgets.
_HOMES = {
    "attention": "heads_figure",
    "bench": "cost on_log_scales predicted roofline step_parts",
    "diagrams": "attention_backward attention_layer bpe char_encoder decoder decoder_block denoiser figures recurrence "
    "report_recurrent_shapes report_shapes speech text_to_verse visual_tokens write_figures",
    "grids": "masks_figure windows_figure",
    "intervals": "intervals_figure",
    "plots": "LiveCurve figure legend levels",
    "runs": "compare",
    "token_grids": "lines_figure lines_svg stages token_lines",
    "tokens": "Token by_probability in_turn tokens_figure",
    "widgets": "AttentionExplorer BeamViewer DenoisingViewer FillIn GridEditor MaskExplorer MergeStepper RunsExplorer "
    "Sampler SpeechExplorer StepTimeExplorer TokenizerPlayground WindowExplorer",
    "widgets.writing": "Settings draw",
}
_MODULES = {name: f"lab.show.{module}" for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lab.show' has no attribute {name!r}")
