"""Pictures of widgets, taken in a browser: what a reader sees where nothing runs, on GitHub and on paper."""

import io
import os
import shutil
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple

import nbformat
from PIL import Image

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = "no chromium: `apt-get install chromium`, or CHROMIUM=/path/to/chromium"
WIDTH, HIGHEST = 880, 2400  # pixels
LARGEST = 100_000  # bytes; a larger picture is kept in fewer colours

# The widget's own module over a model that has its state and no kernel.
DRAW = """async (state) => {
    const heard = {};
    const model = {
        get: (name) => state[name],
        set: (name, value) => { state[name] = value; (heard[`change:${name}`] ?? []).forEach((hear) => hear()); },
        on: (what, hear) => (heard[what] ??= []).push(hear),
        save_changes: () => {},
    };
    const text = (type, value) => URL.createObjectURL(new Blob([value], { type }));
    const look = document.createElement("style");
    look.textContent = state._css ?? "";
    document.head.append(look);
    const el = document.createElement("main");
    document.body.replaceChildren(el);
    const module = await import(text("text/javascript", state._esm));
    await module.default.render({ model, el });
    await document.fonts.ready;
}"""


# What a screen reader would say of it: its name, and the sentences about what is seen.
TELL = """(main) => {
    const said = [...main.querySelectorAll("[role=status]")].map((line) => line.textContent);
    const sentences = [main.firstElementChild.ariaLabel, ...said].filter((text) => text);
    return sentences.map((text) => text.replace(/[.:]?$/, ".")).join(" ");
}"""


class Still(NamedTuple):
    """A picture of a widget, and what it shows, for those who do not see it."""

    png: bytes
    described: str


def find_chromium() -> str | None:
    """The browser that the variable `CHROMIUM` names, or one on the path."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def widget_states(notebook: nbformat.NotebookNode) -> dict[str, dict]:
    """The state of each widget that an executed notebook made with a module of its own, by the widget's id."""
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    return {name: model["state"] for name, model in models.items() if "_esm" in model.get("state", {})}


def stills(states: Mapping[str, dict], *, width: int = WIDTH, dark: bool = False) -> dict[str, Still]:
    """A picture of each widget in its state, `width` pixels wide. Raises RuntimeError where there is no browser."""
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError(HOW)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise RuntimeError("no playwright, which leads the browser: `pip install playwright`") from None

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": width, "height": HIGHEST}, color_scheme="dark" if dark else "light"
        )
        page.route("**/*", lambda route: route.abort())  # a picture needs nothing from outside
        taken = {}
        for name, state in states.items():
            page.set_content("<meta name='color-scheme' content='light dark'><body style='margin:0'>")
            page.evaluate(DRAW, state)
            main = page.locator("main")
            taken[name] = Still(smaller(main.screenshot(animations="disabled")), main.evaluate(TELL))
        browser.close()
    return taken


def smaller(png: bytes) -> bytes:
    """The picture, with a palette of at most 256 colours where it is large otherwise."""
    if len(png) <= LARGEST:
        return png
    made = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(made, "png", optimize=True)
    return made.getvalue()


def as_text(png: bytes) -> str:
    """A picture as notebooks hold it."""
    return b64encode(png).decode()
