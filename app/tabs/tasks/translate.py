"""A text in another language."""

from app.components.results import beside
from app.components.task_page import Task
from app.tabs.tasks.fields import one_text, the_text

TASK = Task(
    id="translate",
    title="Translate",
    task="translation",
    about="English into French, sentence by sentence.",
    inputs=one_text,
    examples=[["I am very happy to see you."], ["Where is the train station?"], ["We have to go home now."]],
    call=lambda values: ((the_text(values),), {}),
    show=lambda found, values: beside(("English", str(values[0])), ("French", found[0]["translation_text"])),
    waiting="Write a sentence, or click an example.",
    hub="Helsinki-NLP/opus-mt-en-fr",
    button="Translate",
    shown_options=("max_new_tokens", "num_beams"),
    looked_into=lambda values: str(values[0]),
)
