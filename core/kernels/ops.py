"""What a decode step consists of: a table of small operations that compiled code goes through from top to bottom.

A table is made once a model (core.kernels.plan) and says everything the compiled code knows of it, so that one compiled step serves
all models. Addresses are of float32 memory unless the form says otherwise; a stride is in bytes, from one row of the batch to the next.
"""

import numpy as np

# kinds of operations
PREPARE, PRODUCT, HEADS, ATTEND, COMBINE, ACTIVATE, ADD, CAP = range(8)
# forms of weights, and of keys and values
F32, BF16, F16, Q4_0, Q4_1, Q8_0 = range(6)
# activations
SILU, GELU_TANH, GELU, RELU = range(4)
# norms
NO_NORM, RMS, LAYER = range(3)

FOUR_BITS, EIGHT_BITS = 1, 2

# Of a row that is multiplied with blocks, bytes for each 32 numbers: the floats, two planes of bytes, the scale of the second, the sum, and -128 times
# the sums of both planes (core.kernels.blocks)
PLANES, SCALES, SUMS, STARTS, ROW = 128, 192, 196, 200, 208
CHUNK = 128  # positions that one thread reads at once for all heads of a group
SCORES = 4 * CHUNK + 64  # bytes of a head's scores there

OP = np.dtype(
    [
        ("kind", "i8"),
        ("wait", "i8"),  # whether all threads meet after it
        ("src", "i8"),
        ("src_stride", "i8"),
        ("dst", "i8"),
        ("dst_stride", "i8"),
        (
            "skipped",
            "i8",
        ),  # rows at the batch's beginning that are left out: of tokens that are only read, when their keys are known
        ("columns", "i8"),  # numbers of a row that are read
        ("rows", "i8"),  # numbers of a row that are written; of a product: the weight's rows
        ("weight", "i8"),
        ("form", "i8"),
        ("bias", "i8"),  # of a product, 0 where there is none
        ("blocks", "i8"),  # what prepared rows are to be multiplied with: plain numbers, FOUR_BITS, or also EIGHT_BITS
        ("add", "i8"),  # whether the result is added to what stands there
        ("norm", "i8"),  # what is done to the rows read: NO_NORM, RMS, LAYER
        ("norm_weight", "i8"),
        ("norm_bias", "i8"),
        ("other", "i8"),  # a second input: `up` beside `gate`; keys' norm beside queries'
        ("heads", "i8"),
        ("kv_heads", "i8"),
        ("width", "i8"),  # of a head
        ("turned", "i8"),  # numbers of a head that are turned by its position
        ("turns", "i8"),  # cosines and then sines, 2 × turned for each row of the batch
        ("keys", "i8"),
        ("values", "i8"),
        ("capacity", "i8"),
        ("length", "i8"),  # tokens in the cache's memory before this one, or before the first of several
        ("along", "i8"),  # whether the rows of the batch are successive tokens of one text, not one token each of several
        ("dropped", "i8"),  # tokens that came before the first in memory
        ("starts", "i8"),  # of each row of the batch: the first token that is real, as int64, counted from the text's beginning
        ("window", "i8"),  # how many tokens a layer reads, 0 for all
        ("partial", "i8"),  # what chunks of positions give: maximum, sum, vector
        ("chunks", "i8"),  # how many there is room for
        ("eps", "f4"),
        ("scale", "f4"),
        ("cap", "f4"),  # soft cap, 0 for none
    ],
    align=True,
)
