"""Makes the pictures of this folder, and what Pillow and torchvision make of them.

    pip install numpy pillow torch torchvision && python tests/golden/images/make.py

Pillow 13.0, torchvision 0.29. Keys of expected.npz: decode/FILE, and
OPERATION/ARGUMENTS for operations on base.png.
"""

import os

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)
y, x = np.mgrid[0:29, 0:37]
pixels = np.stack(
    [127 + 120 * np.sin(x / 5 + y / 9), 127 + 120 * np.cos(x / 7 - y / 4), (x * 7 + y * 3) % 256],
    -1,
)
pixels = np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
base = Image.fromarray(pixels)
expected = {}


def save(name, image, grey=False, **options):
    path = os.path.join(HERE, name)
    image.save(path, **options)
    mode = "L" if grey else "RGB"
    expected[f"decode/{name}"] = np.asarray(Image.open(path).convert(mode))


save("base.png", base)
save("base.jpg", base, quality=90)
save("subsampled.jpg", base, quality=50, subsampling=2)
save("progressive.jpg", base, quality=80, progressive=True)
save("grey.jpg", base.convert("L"), grey=True, quality=85)
orientation = Image.Exif()
orientation[0x112] = 6
save("turned.jpg", base, exif=orientation)
base.convert("CMYK").save(os.path.join(HERE, "cmyk.jpg"))
grey = base.convert("L")
save("grey.png", grey, grey=True)
save("one_bit.png", base.convert("1"), grey=True)
for colours in (2, 4, 13, 100):
    save(f"palette_{colours}.png", base.quantize(colours))
save("palette_transparent.png", base.quantize(20), transparency=3)
alpha = base.copy()
alpha.putalpha(grey)
save("alpha.png", alpha)
save("grey_alpha.png", alpha.convert("LA"), grey=True)
sixteen = (pixels[..., 0].astype(np.uint16) << 8) | pixels[..., 1]
Image.fromarray(sixteen).save(os.path.join(HERE, "sixteen_bits.png"))
expected["decode/sixteen_bits.png"] = pixels[..., 0]
expected["grey/base.png"] = np.asarray(grey)

for height, width in ((10, 12), (58, 74), (29, 13), (50, 37), (1, 1), (45, 20), (10, 36), (20, 60), (28, 1)):
    resized = base.resize((width, height), Image.Resampling.BILINEAR)
    expected[f"resize/{height}x{width}"] = np.asarray(resized)
expected["resize_shorter/16"] = np.asarray(F.resize(base, 16))
as_float = F.to_tensor(base)
for height, width in ((10, 12), (58, 74)):
    resized = F.resize(as_float, [height, width], antialias=True)
    expected[f"resize_float/{height}x{width}"] = resized.permute(1, 2, 0).contiguous().numpy()
square = base.crop((0, 0, 20, 20))
for angle in (0, 13, 90, 180, 211.5, 270, -45):
    expected[f"rotate_nearest/{angle}"] = np.asarray(base.rotate(angle))
    expected[f"rotate_bilinear/{angle}"] = np.asarray(
        base.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(9, 9, 9))
    )
    expected[f"rotate_square/{angle}"] = np.asarray(square.rotate(angle))
for size in ((10, 12), (28, 36), (40, 50), (40, 11)):
    key = f"center_crop/{size[0]}x{size[1]}"
    expected[key] = np.asarray(F.center_crop(base, list(size)))
for mode in ("constant", "edge", "reflect"):
    padded = F.pad(base, [1, 2, 3, 4], fill=7 if mode == "constant" else 0, padding_mode=mode)
    expected[f"pad/{mode}"] = np.asarray(padded)
expected["flip/horizontal"] = np.asarray(F.hflip(base))
expected["flip/vertical"] = np.asarray(F.vflip(base))

bytes_ = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def colour(name, function, factors):
    for factor in factors:
        for kind, tensor in (("u8", bytes_), ("f32", as_float)):
            result = function(tensor, factor).permute(1, 2, 0).contiguous().numpy()
            expected[f"{name}_{kind}/{factor}"] = result


colour("brightness", F.adjust_brightness, (0, 0.4, 1.7))
colour("contrast", F.adjust_contrast, (0, 0.4, 1.7))
colour("saturation", F.adjust_saturation, (0, 0.4, 1.7))
colour("hue", F.adjust_hue, (-0.5, -0.13, 0.1, 0.5))
expected["grayscale"] = F.rgb_to_grayscale(bytes_)[0].numpy()
mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
expected["normalize"] = F.normalize(as_float, mean, std).permute(1, 2, 0).contiguous().numpy()

np.savez_compressed(os.path.join(HERE, "expected.npz"), **expected)
