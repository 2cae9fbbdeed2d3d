"""Every head of a model as a thumbnail, one large, one token's attention as a strip. Drawn by assets/js/attention.js.

The value is a handle (`app.api.attention.handle`): the bytes come by route, and tokens reach the page as text content only,
never through a template.
"""

from typing import Any

import gradio as gr

from core.paths import assets_dir

gr.set_static_paths([assets_dir() / "js"])

TEMPLATE = """
<div class="av" data-state="empty">
  <p class="av-empty">Nothing to show yet: write a text above and press Run.</p>
  <p class="av-error" role="alert"></p>
  <div class="av-body">
    <div class="av-left">
      <h3>All heads</h3>
      <p class="av-hint">Rows are layers, columns heads; in each square the token of a row reads that of a column.</p>
      <div class="av-scroll"><canvas class="av-grid" tabindex="0" role="group"
        aria-label="Attention of all heads. Arrow keys move, Enter opens a head."></canvas></div>
      <p class="av-say" aria-live="polite"></p>
    </div>
    <div class="av-right">
      <div class="av-head"><h3 class="av-title"></h3><button type="button" class="av-save">Save PNG</button></div>
      <div class="av-tools">
        <span class="av-set" role="group" aria-label="What to show">
          <button type="button" data-pick="head" aria-pressed="true">One head</button>
          <button type="button" data-pick="layer" aria-pressed="false">Mean of layer</button>
          <button type="button" data-pick="all" aria-pressed="false">Mean of all</button>
        </span>
        <span class="av-set" role="group" aria-label="Direction">
          <button type="button" data-by="query" aria-pressed="true">reads from</button>
          <button type="button" data-by="key" aria-pressed="false">is read by</button>
        </span>
        <span class="av-set" role="group" aria-label="Picture">
          <button type="button" data-as="map" aria-pressed="true">Map</button>
          <button type="button" data-as="lines" aria-pressed="false">Lines</button>
        </span>
      </div>
      <div class="av-stage"><canvas class="av-large" tabindex="0" role="img"
        aria-label="Attention map. Arrow keys move, Enter holds the place."></canvas></div>
      <p class="av-readout" aria-live="polite"></p>
    </div>
    <div class="av-side">
      <div class="av-image"><p class="av-lead"></p><canvas class="av-picture" role="img"
        aria-label="The image as the model sees it, its patches lit by their attention."></canvas></div>
      <div class="av-bars"></div>
      <div class="av-next"><p class="av-lead">After this text the model expects</p><div class="av-nextlist"></div></div>
    </div>
    <div class="av-tokens">
      <h3>Tokens</h3>
      <p class="av-hint">Point at a token, or go along with the arrow keys, to see where its attention goes; click or Enter holds it.</p>
      <div class="av-strip av-rows" dir="auto" role="group" aria-label="The tokens that read. Arrow keys move, Enter holds one."></div>
      <div class="av-crossed">
        <h3>What they read</h3>
        <div class="av-strip av-columns" dir="auto" role="group" aria-label="What is read. Arrow keys move, Enter holds one."></div>
      </div>
    </div>
  </div>
</div>
"""


def script_tags(*names: str) -> str:
    """<script> elements for files of assets/js."""
    folder = (assets_dir() / "js").as_posix()
    return "".join(f'<script src="/gradio_api/file={folder}/{name}.js"></script>' for name in names)


def on_load(name: str) -> str:
    """Mount `window.NAME` once its scripts are there: two components sharing a script may meet before it has run."""
    return (
        "(function start() {"
        f"  if (window.VitrineCanvas && window.{name}) window.{name}.mount(element, {{props, watch}});"
        "  else setTimeout(start, 30);"
        "})();"
    )


def scoped_css() -> str:
    """The style sheet of the lens views."""
    return (assets_dir() / "css" / "inspect.css").read_text(encoding="utf-8")


def attention_view(value: dict[str, Any] | None = None, **settings: Any) -> gr.HTML:
    """A handle in, pictures out. (A function, no subclass: Gradio writes a stub file beside every subclass it meets.)"""
    return gr.HTML(
        value,
        html_template=TEMPLATE,
        css_template=scoped_css(),
        head=script_tags("canvas", "attention"),
        js_on_load=on_load("VitrineAttention"),
        apply_default_css=False,
        padding=False,
        **settings,
    )
