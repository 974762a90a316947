"""A widget on a plain page in a real browser, its Python at the other end and no Jupyter between: quick, and strict.

The model that the page supplies has only `get`, `set`, `on` and `save_changes`, as a page without a kernel has.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from browser import PICTURES, find_chromium

from lab.show.widgets.base import Widget

DRAW = """async (state) => {
    const heard = {}, changed = new Set();
    const tell = (name) => (heard[`change:${name}`] ?? []).forEach((hear) => hear());
    const take = (news) => {
        const other = Object.keys(news).filter((name) => JSON.stringify(state[name]) !== JSON.stringify(news[name]));
        Object.assign(state, news);
        other.forEach(tell);
    };
    const model = {
        get: (name) => state[name],
        set: (name, value) => { state[name] = value; changed.add(name); tell(name); },
        on: (what, hear) => (heard[what] ??= []).push(hear),
        save_changes: () => {
            const sent = Object.fromEntries([...changed].map((name) => [name, state[name]]));
            changed.clear();
            window.toPython(JSON.stringify(sent)).then((news) => take(JSON.parse(news)));
        },
    };
    window.take = take;
    const look = document.createElement("style");
    look.textContent = state._css;
    document.head.append(look);
    const el = document.createElement("main");
    document.body.replaceChildren(el);
    const module = await import(URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" })));
    await module.default.render({ model, el });
}"""
# Shows nothing, and would be seen if any of its kind were taken for markup.
HOSTILE = "<img src=x onerror=alert(1)><b>&amp;</b>"

NASTY = [HOSTILE, "שלום עולם", "天地玄黄", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}🙂", "x" * 3000, ""]
NAMES = ["hostile", "right to left", "chinese", "emoji", "long", "empty"]


@dataclass
class PlainPage:
    """The page, the widget that it shows, and what went wrong."""

    page: object
    widget: Widget | None = None
    errors: list[str] = field(default_factory=list)

    def show(self, widget: Widget, width: int = 880, dark: bool = False) -> None:
        """Open a new page with this widget alone."""
        self.widget = widget
        self.page.set_viewport_size({"width": width, "height": 1600})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.goto("about:blank")
        self.page.set_content("<meta name='color-scheme' content='light dark'><body style='margin:0'>")
        self.page.evaluate(DRAW, json.loads(json.dumps(_state(widget))))

    def hear(self, sent: str) -> str:
        """What the page has sent is set; returns what Python has changed of it since."""
        before = _state(self.widget)
        values = json.loads(sent)
        self.widget.set_state(values)
        after = _state(self.widget)
        return json.dumps(
            {k: v for k, v in after.items() if v != before[k] or (k in values and v != values[k])}
        )

    def update(self) -> None:
        """Show what was changed in Python."""
        self.page.evaluate("(news) => window.take(news)", json.loads(json.dumps(_state(self.widget))))

    def find(self, selector: str):
        return self.page.locator(selector)

    def text(self, selector: str = ".lab-widget") -> str:
        return self.find(selector).first.inner_text().replace("\xa0", " ")

    def until(self, holds, milliseconds: int = 5000) -> bool:
        """Whether it comes to hold: what is done on the page goes to Python and comes back."""
        for _ in range(milliseconds // 20):
            if holds():
                return True
            self.page.wait_for_timeout(20)
        return False

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.find("main").screenshot(path=PICTURES / f"{name}.png")

    def too_wide(self) -> list[str]:
        """What sticks out of the page to its side, and can be scrolled nowhere else."""
        return self.page.evaluate(
            """() => {
                const inside = (e) => !e || (getComputedStyle(e).overflowX === "visible" && inside(e.parentElement));
                return [...document.querySelectorAll("main *")]
                    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && inside(e.parentElement))
                    .map((e) => e.outerHTML.slice(0, 120));
            }"""
        )

    def unlabelled(self) -> list[str]:
        """Controls without a name for those who do not see them."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button, [tabindex='0']")]
                .filter((e) => e.ariaHidden !== "true")
                .filter((e) => !(e.labels?.[0]?.innerText || e.ariaLabel || e.innerText).trim())
                .map((e) => e.outerHTML.slice(0, 120))"""
        )


@contextmanager
def plain_page() -> Iterator[PlainPage]:
    """A browser; afterwards nothing may have been asked of anyone, and no error have been told."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        made = PlainPage(chromium.new_page())
        asked = made.errors

        def refuse(route):
            asked.append(f"asked for {route.request.url}")
            route.abort()

        made.page.route(lambda url: not url.startswith(("blob:", "data:", "about:")), refuse)
        made.page.on("console", lambda said: asked.append(said.text) if said.type == "error" else None)
        made.page.on("pageerror", lambda error: asked.append(str(error)))
        made.page.on("dialog", lambda dialog: (asked.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        made.page.expose_function("toPython", made.hear)
        try:
            yield made
        finally:
            chromium.close()


def _state(widget: Widget) -> dict:
    own = widget.trait_names(sync=lambda sync: bool(sync))
    return {name: getattr(widget, name) for name in own if name in ("_esm", "_css") or (not name.startswith("_")
            and name not in ("layout", "tabbable", "tooltip", "comm"))}  # fmt: skip
