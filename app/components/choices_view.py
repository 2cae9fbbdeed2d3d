"""A text as its tokens, coloured by how likely each was; a click shows what else could stand there. Drawn by assets/js/choices.js."""

from typing import Any

import gradio as gr

from app.components.attention_view import script_tags
from core.lens import Choice

TEMPLATE = """
<div class="cv" data-state="empty">
  <p class="rs-empty cv-empty">Nothing is written yet: give a beginning and press Continue.</p>
  <div class="cv-body">
    <p class="cv-legend"><span>Each token by its probability</span> <canvas class="cv-scale"></canvas> <span>Dashed: given. A click shows what else could stand there.</span></p>
    <div class="cv-strip" dir="auto" role="group" aria-label="The text's tokens. Arrow keys move, Enter shows the alternatives."></div>
    <div class="cv-others" aria-live="polite"></div>
  </div>
</div>
"""


def choices(found: list[Choice], prompt: int) -> dict[str, Any]:
    """The view's value: tokens with probability and alternatives; the first `prompt` of them were given."""
    return {
        "prompt": prompt,
        "tokens": [
            {
                "text": choice.token,
                "p": None if choice.probability is None else round(choice.probability, 6),
                "rank": choice.rank,
                "others": [[id, text, round(p, 6)] for id, text, p in choice.alternatives],
            }
            for choice in found
        ],
    }


def choices_view(**settings: Any) -> gr.HTML:
    """`choices` in, tokens out. Event `take` carries {index, id}: which token a person puts where."""
    return gr.HTML(
        None,
        html_template=TEMPLATE,
        head=script_tags("canvas", "choices"),
        js_on_load="/* 'take' */ (function start() {"
        "  if (window.VitrineCanvas && window.VitrineChoices) window.VitrineChoices.mount(element, {props, watch, trigger});"
        "  else setTimeout(start, 30);"
        "})();",
        apply_default_css=False,
        padding=False,
        **settings,
    )
