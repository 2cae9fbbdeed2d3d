"""Names in a text: people, places, organisations."""

from app.components.results import heading, marked
from app.components.task_page import Task
from app.tabs.tasks.fields import one_text, the_text

TASK = Task(
    id="entities",
    title="Entities",
    task="token-classification",
    about="Names of people, places and organisations, marked where they stand in the text.",
    inputs=one_text,
    examples=[
        ["Marie Curie was born in Warsaw and worked at the University of Paris."],
        ["In 1969 Neil Armstrong and Buzz Aldrin of NASA walked on the Moon."],
        ["Angela Merkel met the president of France in Berlin."],
    ],
    call=lambda values: ((the_text(values),), {}),
    show=lambda found, values: (
        marked(
            str(values[0]), [(row["start"], row["end"], row.get("entity_group") or row["entity"], row["score"]) for row in found]
        )
        + ("" if found else heading("", "The model finds no name in this text."))
    ),
    waiting="Write a text, or click an example.",
    hub="dslim/bert-base-NER",
    button="Find names",
    shown_options=("aggregation_strategy", "stride"),
    looked_into=lambda values: str(values[0]),
    fixed={"aggregation_strategy": "simple"},
)
