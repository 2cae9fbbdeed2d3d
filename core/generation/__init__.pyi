from .config import GenerationConfig as GenerationConfig
from .engine import Engine as Engine
from .events import Finished as Finished, TextDelta as TextDelta, Waiting as Waiting
from .loop import generate as generate
from .outputs import GenerateOutput as GenerateOutput
from .request import Request as Request
from .streaming import TextIteratorStreamer as TextIteratorStreamer, TextStreamer as TextStreamer, stream as stream
