"""What a recording is of."""

from app.components.results import bars, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import EXAMPLES
from app.tabs.tasks.speech import sound_box, the_sound

TASK = Task(
    id="sounds",
    title="Sounds",
    task="audio-classification",
    about="What a recording is of, of the labels the model knows.",
    inputs=lambda id: [sound_box(id)],
    examples=[[EXAMPLES / "five.wav"]],
    call=lambda values: ((the_sound(values),), {}),
    show=lambda found, values: heading("Labels") + bars([(row["label"], row["score"]) for row in found]),
    waiting="Record something, choose a file, or click the example.",
    hub="superb/wav2vec2-base-superb-ks",
    button="Classify",
    shown_options=("top_k", "function_to_apply"),
    looked_into=lambda values: values[0],
    looked_at="sound",
)
