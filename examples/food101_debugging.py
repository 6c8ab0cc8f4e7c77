"""Find the images that help and harm a fine-tuned classifier, as on ten classes of Food-101.

A Hugging Face ResNet is fine-tuned on a folder of images and recorded. Then: which training
images helped and hurt each test image, whose label is suspect, and what happens without the most
helpful, the most harmful, as many random ones, and those that D3M would drop.

    python examples/food101_debugging.py --images food-101 --classes 10 --out results
    python examples/food101_debugging.py --out results      # a small generated folder, no download

The folder holds `train/<class>/` and `test/<class>/`; or `images/<class>/` with `meta/train.txt`,
as Food-101 comes; or `<class>/`, of which every fifth image is kept for testing.
"""

import argparse
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from command_line import at_least, run_script
from image_folders import WRONG_LABELS, generate, read
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

import dg_explorer as dg
from dg_explorer.analysis import debias
from dg_explorer.tasks import ClassificationTask


class LogitsOfOutput(ClassificationTask):
    """The margin of the right class, where the model's answer keeps its logits in `.logits`."""

    def predict(self, model, batch):
        return model(pixel_values=batch.inputs[0]).logits


def new_model(name: str | None, n_classes: int, seed: int):
    """A pretrained model with a new head, or a small one with random weights."""
    torch.manual_seed(seed)
    if name is None:
        small = ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32],
            depths=[1, 1],
            layer_type="basic",
            num_labels=n_classes,
        )
        return ResNetForImageClassification(small)
    try:
        return AutoModelForImageClassification.from_pretrained(
            name, num_labels=n_classes, ignore_mismatched_sizes=True
        )
    except OSError as error:
        raise SystemExit(
            f"The model {name!r} could not be loaded: {str(error).splitlines()[0]} Give --model a "
            "name on the Hugging Face hub, with a network, or a folder that holds a model."
        ) from error


def fine_tune(data, options, *, removed=(), run=None):
    """A model trained without the removed ids, from the same start; with a run, recorded."""
    model = new_model(options.model, len(data.classes), options.seed).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    kept = torch.utils.data.Subset(data.train, np.setdiff1d(data.train.ids, removed).tolist())
    order = torch.Generator().manual_seed(options.seed)
    loader = DataLoader(kept, batch_size=options.batch_size, shuffle=True, generator=order)
    recorder = None
    if run is not None:
        recorder = dg.Recorder(run, model, optimizer, test=data.test, layers=["resnet.pooler"])
    for epoch in range(options.epochs):
        model.train()
        for images, labels, ids in loader:
            labels = labels.to(options.device)
            logits = model(pixel_values=images.to(options.device)).logits
            loss = cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            if recorder:
                recorder.batch(logits, labels, ids)
            optimizer.step()
        if recorder:
            metrics = recorder.epoch(epoch)
            print(f"epoch {epoch}: test accuracy {metrics['test_accuracy']:.0%}", flush=True)
    if recorder:
        recorder.close()
    return model.eval()


def right_or_wrong(model, data, options) -> np.ndarray:
    """Whether the model is right about each test image, bool, in the order of ids."""
    right = []
    with torch.no_grad():
        for images, labels, _ in DataLoader(data.test, batch_size=options.batch_size):
            guess = model(pixel_values=images.to(options.device)).logits.argmax(1).cpu()
            right.append(guess == labels)
    return torch.cat(right).numpy()


def examples_of(dataset, classes) -> dict:
    """What views show of each image: label, class, file and a thumbnail of 32 x 32."""
    labels = dataset.dataset.labels.numpy()
    small = interpolate(dataset.dataset.images.float(), size=(32, 32), mode="area")
    return {
        "label": labels,
        "text": dataset.dataset.files,
        "group": [classes[label] for label in labels],
        "thumbnail": small.to(torch.uint8).permute(0, 2, 3, 1).numpy(),
    }


def most_helpful_and_harmful(scores, k: int) -> pd.DataFrame:
    """The k training images with the highest and the lowest score for each test image."""
    rows = []
    for test in scores.test.values:
        row = scores.sel(test=test).to_series().sort_values(kind="stable")
        for side, part in (("helped", row[::-1]), ("hurt", row)):
            for rank, (train, score) in enumerate(islice(part.items(), k), start=1):
                rows.append((test, side, rank, train, score))
    return pd.DataFrame(rows, columns=["test", "side", "rank", "train", "score"])


def compare_removals(data, options, scores, alignment, use) -> pd.DataFrame:
    """Accuracy on the test images outside `use` after retraining without some training images."""
    judge = ~np.isin(data.test.ids, use)
    labels = data.test.dataset.labels.numpy()[judge]

    def retrain(removed):
        return fine_tune(data, options, removed=removed)

    def by_class(model):
        return right_or_wrong(model, data, options)[judge], labels

    compared = debias(
        alignment,
        retrain,
        by_class,
        train_groups=data.train.dataset.labels.numpy(),
        share=options.share,
        n_random=options.n_random,
        seed=options.seed,
    )
    k = compared.set_index("removal").n_removed["d3m"]
    mean = scores.sel(test=use).mean("test").to_series().sort_values(kind="stable")
    rows = []
    for name, ids in (("most helpful", mean.index[-k:]), ("most harmful", mean.index[:k])):
        right, groups = by_class(retrain(ids))
        worst = pd.Series(right).groupby(groups).mean()
        rows.append(
            {
                "removal": name,
                "draw": 0,
                "n_removed": k,
                "worst_group_accuracy": worst.min(),
                "worst_group": worst.idxmin(),
                "accuracy": right.mean(),
            }
        )
    return pd.concat([compared, pd.DataFrame(rows)], ignore_index=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of images; default: generate one")
    parser.add_argument(
        "--classes", type=at_least(2), default=10, help="the first so many, by name"
    )
    parser.add_argument(
        "--per-class", type=at_least(1), help="at most so many training images a class"
    )
    parser.add_argument("--model", help="default with --images: microsoft/resnet-18")
    parser.add_argument(
        "--size", type=at_least(8), help="pixels a side; default 224, generated: 32"
    )
    parser.add_argument("--epochs", type=at_least(1), default=8)
    parser.add_argument("--lr", type=float, help="default 1e-4 for pretrained weights, else 3e-3")
    parser.add_argument("--batch-size", type=at_least(1), default=32)
    parser.add_argument("--proj-dim", type=at_least(1), default=2048)
    parser.add_argument("--share", type=float, default=0.05, help="of the training images to drop")
    parser.add_argument(
        "--n-random", type=at_least(1), default=3, help="random removals to compare with"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    if options.images is not None:
        options.model = options.model or "microsoft/resnet-18"
    options.size = options.size or (224 if options.images else 32)
    options.lr = options.lr or (1e-4 if options.model else 3e-3)
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    return options


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.images or generate(options.out / "images", seed=options.seed)
    data = read(folder, n_classes=options.classes, per_class=options.per_class, size=options.size)
    n_train, n_test = len(data.train), len(data.test)
    print(f"{len(data.classes)} classes, {n_train} training and {n_test} test images")

    run = dg.Run.create(
        options.out / "run",
        name=folder.name,
        train_examples=examples_of(data.train, data.classes),
        test_examples=examples_of(data.test, data.classes),
        overwrite=True,
    )
    model = fine_tune(data, options, run=run)

    last = options.epochs - 1
    settings = {"task": LogitsOfOutput(), "proj_dim": options.proj_dim}
    dg.attribute(run, model, data.train, data.test, epochs=[last], progress=False, **settings)
    scores = run["scores/trak"].score.sel(epoch=last).load()
    top = most_helpful_and_harmful(scores, k=5)
    top.to_csv(options.out / "top_examples.csv", index=False)
    label_of = {s: run[f"{s}_examples"].label.load() for s in ("train", "test")}
    trained_on = label_of["train"].sel(train=top.train.values).values
    same = trained_on == label_of["test"].sel(test=top.test.values).values
    for side in ("helped", "hurt"):
        share = same[top.side == side].mean()
        print(f"of the five that {side} a test image most, {share:.0%} are of its class")

    suspects = dg.find_mislabeled(run)
    suspects.insert(0, "file", [data.train.dataset.files[id] for id in suspects.index])
    suspects.to_csv(options.out / "suspects.csv")
    if (folder / WRONG_LABELS).exists():
        wrong = set((folder / WRONG_LABELS).read_text().split()) & set(suspects.file)
        found = suspects.file[: len(wrong)].isin(wrong).mean()
        print(f"of the {len(wrong)} most suspect labels, {found:.0%} are wrong")

    # one half of the test images chooses what to drop, the other half judges
    order = np.random.default_rng(options.seed).permutation(data.test.ids)
    use = np.sort(order[: n_test // 2])
    bias = dg.BiasAttributor(model, data.train, data.test)
    alignment = bias.alignment("trak", use=use, **settings)
    removals = compare_removals(data, options, scores, alignment, use)
    removals.to_csv(options.out / "removals.csv", index=False)
    print(f"accuracy on the {n_test - len(use)} other test images after training again without")
    for name, draws in removals.groupby("removal", sort=False):
        low, high = draws.accuracy.min(), draws.accuracy.max()
        print(f"  {name:13} {draws.n_removed.iloc[0]:5d} images: {low:.1%} to {high:.1%}")

    dg.add_projections(run, "resnet.pooler")
    dg.add_cartography(run)
    dg.explore(run, epoch=last).to_html(options.out / "board.html")
    print(f"written to {options.out}: {', '.join(sorted(os.listdir(options.out)))}")


if __name__ == "__main__":
    run_script(main)
