"""Code written for the TRAK library (`traker` on PyPI) runs here with one import changed.

The blueprint of its README, on a small classifier with two checkpoints. What changes is marked.

    python examples/migrate_from_traker.py
"""

import argparse
import tempfile

import torch
from command_line import at_least, run_script
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.trak import TRAKer  # was: from trak import TRAKer


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.data / 16, dtype=torch.float32)
    labels = torch.tensor(data.target)
    return TensorDataset(images[:1000], labels[:1000]), TensorDataset(images[1000:], labels[1000:])


def trained(seed: int, train) -> dict:
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = train.tensors
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.state_dict()


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    ).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proj-dim", type=at_least(1), default=512)
    options = parser.parse_args()
    train, targets = digits()
    checkpoints = [trained(seed, train) for seed in (0, 1)]
    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            model=network(),
            task="image_classification",
            train_set_size=len(train),
            save_dir=folder,
            proj_dim=options.proj_dim,
            device="cpu",
        )
        for model_id, checkpoint in enumerate(checkpoints):
            traker.load_checkpoint(checkpoint, model_id=model_id)
            for batch in DataLoader(train, batch_size=100):
                traker.featurize(batch=batch, num_samples=len(batch[0]))
        traker.finalize_features()
        for model_id, checkpoint in enumerate(checkpoints):
            traker.start_scoring_checkpoint(
                exp_name="digits",
                checkpoint=checkpoint,
                model_id=model_id,
                num_targets=len(targets),
            )
            for batch in DataLoader(targets, batch_size=100):
                traker.score(batch=batch, num_samples=len(batch[0]))
        scores = traker.finalize_scores(exp_name="digits")  # (train, target), as there

    labels, wanted = train.tensors[1], targets.tensors[1]
    best = torch.as_tensor(scores).topk(10, dim=0).indices
    share = (labels[best] == wanted[None]).double().mean().item()
    print(f"scores of {scores.shape[0]} training and {scores.shape[1]} target examples")
    print(f"of the ten highest of a target, {share:.0%} have its label (by chance 10%)")


if __name__ == "__main__":
    run_script(main)
