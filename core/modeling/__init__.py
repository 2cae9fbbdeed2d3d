"""What architectures are made of: configuration, outputs, attention, masks, positions, cache, taps, loading.

This package never imports `core.models`."""
