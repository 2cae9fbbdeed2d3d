"""Hidden states: lengths by layer and token, and the plane in which tokens differ most. Drawn by assets/js/hidden.js."""

from typing import Any

import gradio as gr

from app.components.attention_view import on_load, scoped_css, script_tags

TEMPLATE = """
<div class="hv" data-state="empty">
  <p class="hv-error" role="alert"></p>
  <div class="hv-body">
    <div class="hv-part">
      <h3>Length of the hidden state</h3>
      <p class="av-hint">Rows are layers, columns tokens, colours on a logarithmic scale; click a row, or move with the arrow keys, to see its plane.</p>
      <div><canvas class="hv-map" tabindex="0" role="img"
        aria-label="Norms by layer and token. Arrow keys choose the layer and the token."></canvas></div>
      <p class="hv-legend"><span class="hv-low"></span> <canvas class="hv-scale"></canvas> <span class="hv-high"></span></p>
      <p class="hv-say" aria-live="polite"></p>
    </div>
    <div class="hv-part">
      <h3>Tokens in a plane</h3>
      <p class="av-hint">Where the tokens' hidden states differ most: dark for the first token, light for the last.</p>
      <label class="hv-slide"><span>Layer</span> <input class="hv-layer" type="range" min="0" max="1" step="1" value="0"></label>
      <p class="hv-name" aria-live="polite"></p>
      <div><canvas class="hv-dots" tabindex="0" role="img"
        aria-label="Tokens in a plane. Arrow keys choose the layer and the token."></canvas></div>
    </div>
  </div>
</div>
"""


def hidden_view(value: dict[str, Any] | None = None, **settings: Any) -> gr.HTML:
    """A handle in, pictures out. (A function, no subclass: Gradio writes a stub file beside every subclass it meets.)"""
    return gr.HTML(
        value,
        html_template=TEMPLATE,
        css_template=scoped_css(),
        head=script_tags("canvas", "hidden"),
        js_on_load=on_load("VitrineHidden"),
        apply_default_css=False,
        padding=False,
        **settings,
    )
