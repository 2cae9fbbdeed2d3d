"""The table of the parity suite: a file a family."""

from rows.decoders import ROWS as DECODERS
from rows.encoders import ROWS as ENCODERS

TEXT_ROWS = DECODERS + ENCODERS
