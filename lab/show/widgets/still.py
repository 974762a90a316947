"""What a widget says of itself where nothing runs."""


class Still:
    """Mixed into a widget, first: its plain-text form is a sentence instead of a dump of its parts."""

    def __repr__(self) -> str:
        return f"[{type(self).__name__}: controls that need a running notebook; a still picture stands beside it]"
