"""Analyse checkpoints that are already on disk: memorization, features, the transition.

Without --checkpoints a small grokking run is trained first and its weights are written as
`model_epoch_<n>.pt`, so that the rest is what you would do with your own.

    python examples/analysis_post_hoc.py --out results
"""

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from command_line import at_least, run_script
from torch.utils.data import DataLoader

import dg_explorer as dg
from dg_explorer.analysis import (
    FeatureEvolutionTracker,
    MemorizationDetector,
    PhaseTransitionAttributor,
)
from dg_explorer.checkpoints import load_into


def write_checkpoints(demo, folder: Path, every: int) -> None:
    """What another training script might have left behind: plain state_dicts."""
    folder.mkdir(parents=True, exist_ok=True)

    def save(step, model):
        if step % every == 0:
            torch.save(model.state_dict(), folder / f"model_epoch_{step}.pt")

    demo.retrain(each=save)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, help="folder of model_epoch_<n>.pt")
    parser.add_argument("--every", type=at_least(1), default=100, help="steps from one to the next")
    parser.add_argument("--out", type=Path, default=Path("results"), help="for what is written")
    parser.add_argument("--no-pictures", action="store_true", help="only print")
    options = parser.parse_args()

    folder = options.checkpoints or options.out / "checkpoints"
    if options.checkpoints is not None:
        dg.model_checkpoints(folder)  # what is not there is missed now, not after training
    demo = dg.demos.make("grokking-smooth", progress=False)
    if options.checkpoints is None:
        write_checkpoints(demo, folder, options.every)
    train_loader = DataLoader(demo.train, batch_size=512)
    test_loader = DataLoader(demo.test, batch_size=512)

    # read without unpickling, in the order of their numbers
    checkpoints = {}
    for epoch, weights in dg.model_checkpoints(folder).items():
        model = demo.model()
        load_into(model, weights)  # for a network of your own, change `demo` to it
        checkpoints[epoch] = model.eval()
    print(f"checkpoints: {', '.join(map(str, checkpoints))}")
    if len(checkpoints) < 2:
        raise SystemExit(f"{folder} holds one checkpoint; a change takes two or more.")

    memorization = MemorizationDetector(num_classes=23)
    tracker = FeatureEvolutionTracker(demo.model(), layer_names=["hidden"])
    accuracy = {}
    for epoch, model in checkpoints.items():
        now = memorization.compute_memorization_scores(model, train_loader, test_loader, epoch)
        accuracy[epoch] = now["test_accuracy"]
        tracker.model.load_state_dict(model.state_dict())
        tracker.track_epoch(train_loader, epoch)
        train, test = now["train_accuracy"], now["test_accuracy"]
        print(f"step {epoch:4d}: train {train:.0%}, test {test:.0%}")
    found = memorization.analyze_memorization_evolution()
    at = found["transition_epoch"]
    few = "no transition that two detectors agree on; more checkpoints would help"
    print(few if at is None else f"transition at step {at}")
    if not options.no_pictures:
        tracker.visualize_evolution("hidden", save_dir=options.out, method="pca")
        memorization.plot_memorization(save_dir=options.out)

    # which training pairs gained or lost influence across the steepest rise?
    steps = sorted(accuracy)
    rises = {step: accuracy[after] - accuracy[step] for step, after in pairwise(steps)}
    before = max(rises, key=rises.get)
    after = steps[steps.index(before) + 1]
    attributor = PhaseTransitionAttributor(
        model_checkpoints={step: checkpoints[step] for step in (before, after)},
        train_data=demo.train,
        test_data=demo.test,
    )
    attributions = attributor.compute_transition_attributions(
        pre_transition_epoch=before, post_transition_epoch=after
    )
    critical = attributor.find_critical_examples(attributions, top_k=10)
    print(f"from step {before} to {after}, {len(critical)} pairs changed most")
    print(critical[["label", "change"]].head().round(4).to_string())


if __name__ == "__main__":
    run_script(main)
