"""Texts compared: a heat map of cosines and a map in the plane. Drawn by assets/js/similarity.js."""

from typing import Any

import gradio as gr

from app.components.attention_view import on_load, script_tags

TEMPLATE = """
<div class="sv" data-state="empty">
  <p class="sv-empty">Nothing to compare yet: write two sentences or more and press Compare.</p>
  <div class="sv-body">
    <div><h3>Similarity</h3><p class="sv-hint">Cosine of each pair: 1 means the same direction. Point at a cell to read it.</p>
      <div><canvas class="sv-map" tabindex="0" role="img" aria-label="Cosine similarity of all pairs. Arrow keys move."></canvas></div>
      <p class="sv-legend"><span class="sv-low"></span> <canvas class="sv-scale"></canvas> <span class="sv-high"></span></p></div>
    <div><h3>Map</h3><p class="sv-hint"></p>
      <div><canvas class="sv-dots" tabindex="0" role="img" aria-label="The sentences in a plane. Arrow keys go from one to the next."></canvas></div></div>
    <p class="sv-say" aria-live="polite"></p>
    <div class="sv-pairs"></div>
  </div>
</div>
"""


def similarity_view(value: dict[str, Any] | None = None, **settings: Any) -> gr.HTML:
    """{"texts", "cosines" (row by row), "points", "share"} in, pictures out."""
    return gr.HTML(
        value,
        html_template=TEMPLATE,
        head=script_tags("canvas", "similarity"),
        js_on_load=on_load("VitrineSimilarity"),
        apply_default_css=False,
        padding=False,
        **settings,
    )
