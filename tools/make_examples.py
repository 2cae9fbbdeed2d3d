"""Draw the example images of the page into assets/examples: digits as a hand writes them, a wall and a lawn. Ours; CC0."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "examples"
SIZE = 112
# strokes as points of a unit square, joined by straight lines
DIGITS = {
    "seven": [[(0.28, 0.27), (0.72, 0.25), (0.58, 0.5), (0.46, 0.8)]],
    "three": [
        [
            (0.32, 0.24),
            (0.52, 0.19),
            (0.65, 0.3),
            (0.6, 0.42),
            (0.45, 0.48),
            (0.62, 0.54),
            (0.68, 0.68),
            (0.54, 0.81),
            (0.31, 0.77),
        ]
    ],
    "one": [[(0.57, 0.2), (0.52, 0.5), (0.46, 0.8)]],
}


def digit(strokes: list[list[tuple[float, float]]]) -> Image.Image:
    """White on black, with soft edges."""
    image = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(SIZE * x, SIZE * y) for x, y in stroke]
        draw.line(points, 255, 9, joint="curve")
        for x, y in points:
            draw.ellipse([x - 4.5, y - 4.5, x + 4.5, y + 4.5], 255)
    return image.filter(ImageFilter.GaussianBlur(1.5))


def wall(rng: np.random.Generator) -> Image.Image:
    """Bricks close by: grey faces, bright joints."""
    grey = 92 + 4 * rng.standard_normal((SIZE, SIZE))
    joint = lambda: 152 + 10 * rng.standard_normal()  # noqa: E731
    grey[52:60, :] = joint()
    grey[:52, 30:37], grey[60:, 78:85] = joint(), joint()
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))


def lawn(rng: np.random.Generator) -> Image.Image:
    """Blades of grass, crossing each other."""
    image = Image.new("L", (SIZE, SIZE), 85)
    draw = ImageDraw.Draw(image)
    for _ in range(260):
        x, y = rng.uniform(-10, SIZE + 10, 2)
        turn, length = rng.normal(-0.8, 0.7), rng.uniform(20, 60)
        end = (x + length * np.cos(turn), y + length * np.sin(turn))
        draw.line([(x, y), end], int(rng.uniform(50, 235)), int(rng.integers(2, 7)))
    return image.filter(ImageFilter.GaussianBlur(0.8))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, strokes in DIGITS.items():
        digit(strokes).save(FOLDER / f"digit-{name}.png", optimize=True)
    rng = np.random.default_rng(0)
    for name, image in {"wall": wall(rng), "lawn": lawn(rng)}.items():
        image.save(FOLDER / f"{name}.png", optimize=True)
