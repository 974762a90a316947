"""What a widget says of itself where nothing runs, and by which class a page finds it."""

from lab.show.widgets.parts import class_name


class Still:
    """Mixed into a widget, first: its plain-text form is a sentence instead of a dump of its parts.

    On a page it has the class `lab-widget` and that of its own name, such as `lab-attention-explorer`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_class("lab-widget")
        self.add_class(class_name(type(self).__name__))

    def __repr__(self) -> str:
        return f"[{type(self).__name__}: controls that need a running notebook; a still picture stands beside it]"
