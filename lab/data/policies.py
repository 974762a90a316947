"""Where windows over one line begin: five policies, each a rule for the first and the last start.

A line of L ids `<s> t1 ... tn </s>` has L - 1 inputs, each with the id after it as its target: `<s>` is never
a target, `</s>` never an input. A window that starts at s holds the inputs s to s + context - 1; where the line
has no such input there is padding, and no target. Drawn below for a context of 3: `·` is padding, `$` is
`</s>`, and x reads `x -> y`.
"""

import numpy as np

Inputs = np.ndarray | int


def slide(inputs: Inputs, context: int) -> tuple[Inputs, Inputs]:
    """From `<s>` in the last place of x until `</s>` is the last of y; padding on the left. L - 1 windows.

    <s> a b c $:   · · s -> · · a     · s a -> · a b     s a b -> a b c     a b c -> b c $

    Each token is predicted once in the last place, with all the context there is. The classic.
    """
    return 1 - context, inputs - context


def slide_through(inputs: Inputs, context: int) -> tuple[Inputs, Inputs]:
    """As `slide`, and on until the line's last input is the first of x. L - 1 + context - 1 windows.

    <s> a b c $:   · · s -> · · a     · s a -> · a b     s a b -> a b c     a b c -> b c $
                   b c · -> c $ ·     c · · -> $ · ·

    Every token is predicted in every place of the window, so all tokens are used equally often.
    """
    return 1 - context, inputs - 1


def full_only(inputs: Inputs, context: int) -> tuple[Inputs, Inputs]:
    """Full windows only; a line too short gives one, padded on the right. max(1, L - context) windows.

    <s> a b c $:   s a b -> a b c     a b c -> b c $
    <s> a $:       s a · -> a $ ·

    No padding but in short lines; tokens near the ends of a line are used less often.
    """
    return inputs * 0, np.maximum(0, inputs - context)


def short_slides(inputs: Inputs, context: int) -> tuple[Inputs, Inputs]:
    """Full windows; a short line slides inside, from right to left. |L - 1 - context| + 1 windows.

    <s> a b c $:   s a b -> a b c     a b c -> b c $
    <s> a $:       · s a -> · a $     s a · -> a $ ·

    A short line is seen in every place it fits, whole each time.
    """
    return np.minimum(0, inputs - context), np.maximum(0, inputs - context)


def continuous(inputs: Inputs, context: int) -> tuple[Inputs, Inputs]:
    """All lines joined into one, and full windows across it, every `stride` tokens. No padding.

    <s> a $ <s> b c $:   s a $ -> a $ s     a $ s -> $ s b     $ s b -> s b c     s b c -> b c $

    Here `</s>` is an input and `<s>` its target. `inputs` counts those of the whole stream. With a stride
    above 1 the last few tokens may fill no window, and are dropped.
    """
    return 0, inputs - context


POLICIES = {
    "slide": slide,
    "slide_through": slide_through,
    "full_only": full_only,
    "short_slides": short_slides,
    "continuous": continuous,
}
