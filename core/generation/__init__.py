"""Continuing a prompt: configuration, scores, stopping, the decode loop and streaming. Names are imported when first used, as in core:
reading a model needs its generation config, not the engine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
