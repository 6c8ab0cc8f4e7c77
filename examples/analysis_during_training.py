"""Watch a network memorize wrong labels while it trains.

Four analyzers on one training loop and one record: learning dynamics, gradient flow,
memorization, features. Trains on scikit-learn's digits, of which one in ten has a wrong label.

    python examples/analysis_during_training.py --out results
"""

import argparse
from pathlib import Path

import torch
from command_line import at_least, run_script
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import dg_explorer as dg
from dg_explorer.analysis import (
    FeatureEvolutionTracker,
    GradientFlowAnalyzer,
    LearningDynamicsAnalyzer,
    MemorizationDetector,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=at_least(1), default=40)
    parser.add_argument("--out", type=Path, default=Path("results"), help="for the pictures")
    parser.add_argument("--no-pictures", action="store_true", help="only print")
    options = parser.parse_args()
    torch.manual_seed(0)

    # only its data and its model: the loop below is your own
    demo = dg.demos.make("mislabeled-digits", progress=False)
    model = demo.model()
    optimizer = demo.optimizer(model)
    # with_ids datasets yield (image, label, id): the loader may shuffle
    loader = DataLoader(demo.train, batch_size=100, shuffle=True)
    test_loader = DataLoader(demo.test, batch_size=500)

    dynamics = LearningDynamicsAnalyzer(num_classes=10)
    gradients = GradientFlowAnalyzer(model)
    memorization = MemorizationDetector(num_classes=10)
    features = FeatureEvolutionTracker(model, layer_names=["hidden"])

    for epoch in range(options.epochs):
        for batch_idx, (images, labels, ids) in enumerate(loader):
            logits = model(images)
            loss = cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            if batch_idx == 0:  # before the optimizer steps
                gradients.track_batch_gradients(loss, epoch, batch_idx)
            optimizer.step()
            dynamics.track_batch(model, images, labels, ids, epoch, outputs=logits)
        dynamics.compute_epoch_statistics(loader, model, epoch)
        gradients.compute_epoch_statistics(epoch)
        if epoch % 5 == 0 or epoch == options.epochs - 1:
            now = memorization.compute_memorization_scores(model, loader, test_loader, epoch)
            features.track_epoch(test_loader, epoch)
            print(
                f"epoch {epoch:3d}: train {now['train_accuracy']:.1%}, test "
                f"{now['test_accuracy']:.1%}, memorization {now['memorization_score']:.3f}"
            )

    patterns = dynamics.analyze_learning_patterns()
    print(f"hard examples: {len(patterns['hard_examples'])}")
    truly = demo.run["train_examples"].flipped
    hard = [int(i) for i in patterns["hard_examples"]]
    print(f"of them with a wrong label: {truly.sel(train=hard).mean().item():.0%}, of all: 10%")
    if options.no_pictures:
        return
    dynamics.plot_learning_dynamics(save_dir=options.out)
    gradients.plot_gradient_flow(save_dir=options.out)
    memorization.plot_memorization(save_dir=options.out)
    features.plot_metrics_evolution("hidden", save_dir=options.out)
    print(f"pictures: {', '.join(sorted(p.name for p in options.out.glob('*.html')))}")


if __name__ == "__main__":
    run_script(main)
