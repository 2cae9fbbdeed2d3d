"""A long text in a sentence."""

from app.components.results import beside
from app.components.task_page import Task
from app.tabs.tasks.fields import text_box, the_text

PAPER = (
    "We study how the size of a training set changes what a small language model learns. Models with ten million parameters are trained "
    "on between one and one hundred million words of children's books. We find that grammar is learned from few words, while facts "
    "about the world need many more, and that repeating the same words four times is as good as having four times as many."
)

TASK = Task(
    id="summarise",
    title="Summarise",
    task="summarization",
    about="A long text said in a sentence or two. The starter is a chat model that is asked for it, by text generation.",
    inputs=lambda id: [text_box("Text", 8)(id)],
    examples=[[PAPER]],
    call=lambda values: ((the_text(values),), {}),
    show=lambda found, values: beside(("Summary", found[0]["summary_text"]), ("Text", str(values[0]))),
    waiting="Paste a text, or click the example.",
    hub="facebook/bart-large-cnn",
    button="Summarise",
    shown_options=("max_new_tokens", "min_new_tokens", "num_beams"),
    looked_into=lambda values: str(values[0]),
)
