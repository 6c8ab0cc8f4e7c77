"""Read a folder of images with a class a subfolder, or generate a small one with wrong labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dg_explorer.data.ids import WithIds, with_ids

WRONG_LABELS = "wrong_labels.txt"
LAYOUTS = "train/<class>/ and test/<class>/; images/<class>/ and meta/train.txt; or <class>/"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
# of the pretrained ResNets on the Hugging Face hub
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Images(torch.utils.data.Dataset):
    """Images held as uint8 (example, channel, height, width), served normalised with labels."""

    def __init__(self, root: Path, files: list[Path], classes: list[str], size: int):
        self.files = [str(file.relative_to(root)) for file in files]
        self.labels = torch.tensor([classes.index(file.parent.name) for file in files])
        self.images = torch.stack([decoded(file, size) for file in files])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index):
        return (self.images[index] / 255 - MEAN) / DEVIATION, self.labels[index]


@dataclass
class Split:
    """A training and a test set with ids, and the names of their classes."""

    classes: list[str]
    train: WithIds
    test: WithIds


def decoded(file: Path, size: int) -> torch.Tensor:
    """The largest centred square of an image, scaled to `size`; uint8 (channel, height, width)."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise SystemExit(
            f"{file} cannot be read as an image: {error}. Mend or remove it."
        ) from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((size, size))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def read(folder: Path, *, n_classes: int, per_class: int | None, size: int) -> Split:
    """The first classes of a folder by name, decoded, with at most `per_class` to train on each."""
    train, test = files_of(folder)
    classes = sorted({file.parent.name for file in train})[:n_classes]
    if len(classes) < 2:
        raise SystemExit(
            f"In {folder} there are training images of {len(classes)} classes; it takes two or "
            f"more. Expected is {LAYOUTS}, with files that end in {', '.join(sorted(SUFFIXES))}."
        )
    if missing := set(classes) - {file.parent.name for file in test}:
        raise SystemExit(f"In {folder} there is no test image of {', '.join(sorted(missing))}.")
    train = [file for name in classes for file in of_class(train, name)[:per_class]]
    test = [file for name in classes for file in of_class(test, name)]
    held = [with_ids(Images(folder, files, classes, size)) for files in (train, test)]
    return Split(classes, *held)


def of_class(files: list[Path], name: str) -> list[Path]:
    return [file for file in files if file.parent.name == name]


def files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Training and test files of a folder in one of three layouts, sorted by name."""
    if not folder.is_dir():
        raise SystemExit(f"There is no folder {folder}. Expected is one with {LAYOUTS}.")
    if (folder / "train").is_dir():
        held_out = next((n for n in ("test", "validation") if (folder / n).is_dir()), None)
        if held_out is None:
            raise SystemExit(f"{folder} has train/, but neither test/ nor validation/. Add one.")
        return images_below(folder / "train"), images_below(folder / held_out)
    if (folder / "meta" / "train.txt").exists():
        named = set((folder / "meta" / "train.txt").read_text().split())
        everything = images_below(folder / "images")
        in_train = [f"{file.parent.name}/{file.stem}" in named for file in everything]
    else:
        everything = images_below(folder)
        in_train = [position % 5 != 0 for position in range(len(everything))]
    parts = {True: [], False: []}
    for file, trained_on in zip(everything, in_train, strict=True):
        parts[trained_on].append(file)
    return parts[True], parts[False]


def images_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES)


def generate(folder: Path, *, seed: int = 0, n_train: int = 30, n_test: int = 12) -> Path:
    """Write PNG files of striped tiles: five directions, each warm or cold, are ten classes.

    One training image in ten lies in the folder of another class; `wrong_labels.txt` names them.
    """
    draw = np.random.default_rng(seed)
    names = [f"{tone}-{angle:03d}" for tone in ("cold", "warm") for angle in range(0, 180, 36)]
    wrong = []
    for split, n in (("train", n_train), ("test", n_test)):
        for name in names:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for label, name in enumerate(names):
            for number in range(n):
                given = name
                if split == "train" and number < n // 10:
                    given = names[(label + draw.integers(1, len(names))) % len(names)]
                file = f"{split}/{given}/{name}-{number:03d}.png"
                tile(name, draw).save(folder / file)
                if given != name:
                    wrong.append(file)
    (folder / WRONG_LABELS).write_text("\n".join(wrong))
    return folder


def tile(name: str, draw: np.random.Generator) -> Image.Image:
    """Noisy stripes of 32 x 32 pixels in the direction and tone that the name says."""
    tone, angle = name.split("-")
    turned = np.deg2rad(int(angle) + draw.normal(0, 10))
    y, x = np.mgrid[:32, :32] / 32
    wave = np.cos(
        2 * np.pi * (draw.uniform(3, 5) * (x * np.cos(turned) + y * np.sin(turned)) + draw.random())
    )
    colour = np.array([1.0, 0.6, 0.3] if tone == "warm" else [0.3, 0.6, 1.0])
    pixels = 120 + 40 * wave[..., None] * colour + 15 * colour + draw.normal(0, 60, (32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
