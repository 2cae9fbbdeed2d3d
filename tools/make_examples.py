"""The page's examples, into assets/examples.

python tools/make_examples.py              draws images: digits as a hand writes them, a wall, a lawn. Ours; CC0
python tools/make_examples.py FOLDER       cuts clips out of Debian's pocketsphinx-testdata, unpacked in that folder
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.processing.audio import load_audio

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
# name -> file, begin and end in seconds, samples a second
CLIPS = {
    # As narrow as what the starter was trained on; the player cannot draw a FLAC so short
    "five.wav": ("cards/004.wav", 0.24, 0.72, 8000),
    "young-man.flac": ("librivox/sense_and_sensibility_01_austen_64kb-0880.wav", 0.0, None, 16000),
}
NOTICE = """The images are drawn by tools/make_examples.py: ours, CC0.

five.wav is a word of cards/004.wav of the test data of CMU PocketSphinx (Debian package pocketsphinx-testdata);
young-man.flac is a sentence of a LibriVox reading of Sense and Sensibility, in the public domain, from the same package.

Copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following conditions are
met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following disclaimer in the
   documentation and/or other materials provided with the distribution.

This work was supported in part by funding from the Defense Advanced Research Projects Agency and the National Science Foundation of the
United States of America, and the CMU Sphinx Speech Consortium.

THIS SOFTWARE IS PROVIDED BY CARNEGIE MELLON UNIVERSITY "AS IS" AND ANY EXPRESSED OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO,
THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL CARNEGIE MELLON
UNIVERSITY NOR ITS EMPLOYEES BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT
NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND
ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


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


def draw() -> None:
    """The images."""
    for name, strokes in DIGITS.items():
        digit(strokes).save(FOLDER / f"digit-{name}.png", optimize=True)
    rng = np.random.default_rng(0)
    for name, image in {"wall": wall(rng), "lawn": lawn(rng)}.items():
        image.save(FOLDER / f"{name}.png", optimize=True)


def cut(package: Path) -> None:
    """The clips."""
    for name, (file, begin, end, rate) in CLIPS.items():
        samples = load_audio(str(package / "usr/share/pocketsphinx/test/data" / file), rate)
        part = samples[int(begin * rate) : None if end is None else int(end * rate)]
        soundfile.write(FOLDER / name, part, rate)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "NOTICE.md").write_text(NOTICE, encoding="utf-8")
    if len(sys.argv) > 1:
        cut(Path(sys.argv[1]))
    else:
        draw()
