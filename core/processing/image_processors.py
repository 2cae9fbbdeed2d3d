"""Image processors: what preprocessor_config.json says, done with Pillow and numpy."""

from typing import Any, ClassVar

from core.errors import MediaError
from core.processing.batch import BatchFeature
from core.processing.images import center_crop, flat_list, normalize, rescale, resize, target_size, to_array
from core.processing.settings import Preprocessor, is_number

SIZES = ({"height", "width"}, {"shortest_edge"}, {"shortest_edge", "longest_edge"}, {"max_height", "max_width"})
LARGEST = 10_000


class ImageProcessor(Preprocessor):
    """Resize, crop, rescale, normalise: each where its do_… says so, in this order."""

    part = "image_processor"
    model_input_names = ("pixel_values",)
    ranges = {"resample": (0, 5), "rescale_factor": (1e-9, 1e9)}
    square: ClassVar[bool] = True  # whether a size that is one number means a square, else the shortest edge

    do_resize: bool
    do_center_crop: bool
    do_rescale: bool
    do_normalize: bool
    do_convert_rgb: bool
    resample: int
    rescale_factor: float
    image_mean: list[float]
    image_std: list[float]

    def check(self) -> None:
        """Bring sizes to dictionaries, and means to lists; raise ConfigError where they make no sense."""
        super().check()
        self.size = self._size("size", self.square)
        self.crop_size = self._size("crop_size", True)
        for key in ("image_mean", "image_std"):
            value = getattr(self, key)
            values = [value] if is_number(value) else value
            if not isinstance(values, list | tuple) or not values or not all(is_number(v) for v in values):
                raise self.fault(key, value, "a number, or one for each channel")
            if key == "image_std" and 0 in values:
                raise self.fault(key, value, "without zeros, since images are divided by it")
            setattr(self, key, list(values))

    def _size(self, key: str, square: bool) -> dict[str, int] | None:
        value = given = getattr(self, key)
        if is_number(value):
            value = {"height": value, "width": value} if square else {"shortest_edge": value}
        elif isinstance(value, list | tuple) and len(value) == 2:
            value = dict(zip(("height", "width"), value, strict=True))
        elif value is None:
            return None
        wanted = SIZES if key == "size" else SIZES[:1]
        if isinstance(value, dict):
            value = {edge: length for edge, length in value.items() if length is not None}
            if set(value) in wanted and all(isinstance(v, int) and is_number(v) and 1 <= v <= LARGEST for v in value.values()):
                return value
        names = ", or ".join(" and ".join(sorted(keys)) for keys in wanted)
        raise self.fault(key, given, f"a number of pixels up to {LARGEST}, or {names}")

    def __call__(
        self, images: Any, return_tensors: str | None = None, input_data_format: str | None = None, **overrides: Any
    ) -> BatchFeature:
        """Images -> pixel_values, a list of (channels, height, width), or one tensor of (batch, channels, height, width).

        An image is a PIL image, an array or tensor of (height, width, channels) or (channels, height, width), a path or
        bytes; `overrides` are settings for this call alone.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        settings = type(self)(**{**vars(self), **given}) if given else self
        rows = [settings._prepare(image, input_data_format) for image in flat_list(images)]
        if not rows:
            raise MediaError("There is no image to prepare.")
        return BatchFeature({"pixel_values": rows}, None, return_tensors)

    preprocess = __call__

    def _prepare(self, image: Any, layout: str | None) -> Any:
        pixels = to_array(image, self.do_convert_rgb, layout)
        if self.do_resize and self.size:
            pixels = resize(pixels, target_size(*pixels.shape[1:], self.size), self.resample)
        if self.do_center_crop and self.crop_size:
            pixels = center_crop(pixels, (self.crop_size["height"], self.crop_size["width"]))
        if self.do_rescale:
            pixels = rescale(pixels, self.rescale_factor)
        return normalize(pixels, self.image_mean, self.image_std) if self.do_normalize else pixels


class ViTImageProcessor(ImageProcessor):
    """Dosovitskiy et al. 2021: a square, values from -1 to 1."""

    defaults = {
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "do_center_crop": False,
        "crop_size": None,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": False,
    }


class CLIPImageProcessor(ImageProcessor):
    """Radford et al. 2021: the shortest edge resized, the middle cut out, and the statistics of its training images."""

    square = False
    defaults = {
        **ViTImageProcessor.defaults,
        "size": {"shortest_edge": 224},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
