"""Text to token ids and back, on the `tokenizers` library."""

from core.tokenization.auto import AutoTokenizer
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.batch import BatchEncoding
from core.tokenization.loss_mask import assistant_spans

__all__ = ["AutoTokenizer", "BatchEncoding", "PreTrainedTokenizer", "assistant_spans"]
