"""The public names of Vitrine's library; __init__.pyi lists them, and each is imported when first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
