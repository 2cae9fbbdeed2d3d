"""The models there are, and downloads. Drawn by assets/js/models.js from app/api/models.py."""

from collections.abc import Iterable
from typing import Any

import gradio as gr

from app.components.attention_view import script_tags
from app.components.run_view import on_load

LIST = """
<div class="ml" data-tasks="${value}">
  <p class="ml-hint">Starters come as packages, checked by SHA-256. A folder laid out as on the hub, or a .gguf file, is listed here when it lies in
    <code class="ml-folder"></code>; a name such as <code>owner/model</code> is fetched from the hub.</p>
  <form class="ml-form"><input class="ml-name" placeholder="owner/model" aria-label="A name on the hub" spellcheck="false">
    <button class="rv-button">Fetch</button></form>
  <p class="ml-said" role="alert"></p>
  <div class="ml-memory"><h2>In memory</h2><p class="ml-hint ml-held"></p><ul class="ml-residents"></ul></div>
  <h2>All models</h2>
  <div class="rl-scroll ml-scroll"><table><thead><tr><th>Model</th><th>Task</th><th>Architecture</th><th>Weights</th><th>On disk</th><th>Memory</th><th>What to do</th></tr></thead>
    <tbody></tbody></table></div>
  <p class="rl-none ml-none" hidden></p>
</div>
"""


def models_list(tasks: Iterable[str], **settings: Any) -> gr.HTML:
    """All models. Event `pick` carries the name of one to try and its task, one of these."""
    return gr.HTML(
        " ".join(tasks),
        html_template=LIST,
        head=script_tags("canvas", "models"),
        js_on_load=on_load("VitrineModels", "pick"),
        apply_default_css=False,
        padding=False,
        **settings,
    )
