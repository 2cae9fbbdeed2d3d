"""One run followed live, and the list of all runs. Drawn by assets/js/run.js from app/api/runs.py."""

from typing import Any

import gradio as gr

from app.components.attention_view import script_tags

LIST = """
<div class="rl">
  <div class="rl-top">
    <input class="rl-filter" type="search" placeholder="Filter by name, model or state" aria-label="Filter the runs">
    <select class="rl-kind" aria-label="Kind of run"><option value="all">All runs</option><option value="training">Trainings</option>
      <option value="generation">Generations</option></select>
  </div>
  <div class="rl-scroll"><table><thead><tr><th>Name</th><th>State</th><th>Model</th><th>Result</th><th>When</th></tr></thead><tbody></tbody></table></div>
  <p class="rl-none"></p>
  <p class="rl-said" role="alert"></p>
  <div class="rl-tools" hidden><input class="rl-new" aria-label="New name" hidden>
    <button type="button" class="rv-button rl-rename">Rename</button> <button type="button" class="rv-button rl-delete">Delete</button></div>
  <div class="rv"></div>
</div>
"""


def on_load(name: str, event: str = "chat") -> str:
    """Mount `window.NAME` once its scripts are there; 'chat' is the event of a run whose adapter a person wants to try."""
    return (
        f"/* '{event}' */ (function start() {{"
        f"  if (window.VitrineCanvas && window.{name}) window.{name}.mount(element, {{props, watch, trigger}});"
        "  else setTimeout(start, 30);"
        "})();"
    )


def run_view(value: dict[str, Any] | None = None, **settings: Any) -> gr.HTML:
    """One run: the value is {"id": …}. Event `chat` carries its id."""
    return gr.HTML(
        value,
        html_template='<div class="rv"></div>',
        head=script_tags("canvas", "run"),
        js_on_load=on_load("VitrineRun"),
        apply_default_css=False,
        padding=False,
        **settings,
    )


def runs_list(**settings: Any) -> gr.HTML:
    """All runs, and the chosen one. Event `chat` carries its id."""
    return gr.HTML(
        None,
        html_template=LIST,
        head=script_tags("canvas", "run"),
        js_on_load=on_load("VitrineRuns"),
        apply_default_css=False,
        padding=False,
        **settings,
    )
