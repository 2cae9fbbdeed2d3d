"""The table of the parity suite: a file a family."""

from rows.decoders import ROWS as DECODERS
from rows.encoders import ROWS as ENCODERS
from rows.llamas import ROWS as LLAMAS
from rows.senses import ROWS as SENSES_ROWS
from rows.seq2seq import ROWS as SEQ2SEQ_ROWS

TEXT_ROWS = DECODERS + LLAMAS + ENCODERS
ALL_ROWS = TEXT_ROWS + SENSES_ROWS + SEQ2SEQ_ROWS
