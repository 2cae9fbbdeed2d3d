"""An answer found in a text."""

from collections.abc import Sequence
from typing import Any

from app.components.results import bars, heading, marked
from app.components.task_page import Task
from app.tabs.tasks.fields import text_box, the_text

CONTEXT = (
    "The novel coronavirus spreads mainly through droplets when people cough or talk. Symptoms appear two to fourteen days after "
    "infection. Washing hands for at least twenty seconds lowers the risk."
)
TOWER = (
    "The Eiffel Tower was built between 1887 and 1889 for the World's Fair in Paris. It is named after the engineer Gustave Eiffel, "
    "whose company designed it, and is 330 metres tall."
)


def _shown(found: Any, values: Sequence[Any]) -> str:
    rows = found if isinstance(found, list) else [found]
    best = rows[0]
    if not best["answer"]:
        return heading("No answer", "The model finds that the text does not say.")
    spans = [(best["start"], best["end"], "answer", best["score"])]
    return (
        heading(best["answer"])
        + marked(str(values[1]), spans)
        + bars([(row["answer"] or "no answer", row["score"]) for row in rows])
    )


TASK = Task(
    id="questions",
    title="Questions",
    task="question-answering",
    about="The answer to a question, found word for word in a text.",
    inputs=lambda id: [text_box("Question", 1, "question")(id), text_box("Text to read", 6, "context")(id)],
    examples=[
        ["Who designed the tower?", TOWER],
        ["How tall is it?", TOWER],
        ["How long should one wash hands?", CONTEXT],
    ],
    call=lambda values: (
        (),
        {"question": the_text(values, 0, "a question"), "context": the_text(values, 1, "the text to read")},
    ),
    show=_shown,
    waiting="Write a question and a text, or click an example.",
    hub="deepset/roberta-base-squad2",
    button="Answer",
    shown_options=("top_k", "handle_impossible_answer", "max_answer_len", "doc_stride"),
    looked_into=lambda values: f"{values[0]}\n{values[1]}",
)
