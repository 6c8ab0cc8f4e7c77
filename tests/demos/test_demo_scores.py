"""On the demo run, the recorded scores are those of gradients written out by hand in float64."""

import numpy as np
import torch

from dg_explorer import attribute, demos
from dg_explorer.checkpoints.store import load_weights


def test_the_top_influencers_equal_those_of_explicit_gradients():
    demo = demos.make("grokking", progress=False)
    epoch = 400
    scores = attribute(
        demo.run, demo.model(), demo.train, demo.test, epochs=[epoch], progress=False
    )["score"].sel(epoch=epoch)
    model = demo.model().double()
    model.load_state_dict({k: v.double() for k, v in load_weights(demo.run, epoch).items()})

    def written_out(dataset, count):
        gradients, margins = [], []
        for x, label, _ in (dataset[i] for i in range(count)):
            logits = model(x[None].double())[0]
            others = torch.cat([logits[:label], logits[label + 1 :]])
            margin = logits[label] - others.logsumexp(0)
            found = torch.autograd.grad(margin, list(model.parameters()))
            gradients.append(torch.cat([g.flatten() for g in found]))
            margins.append(margin.detach())
        return torch.stack(gradients), torch.stack(margins)

    train, margin = written_out(demo.train, len(demo.train))
    test, _ = written_out(demo.test, 12)
    kernel = train @ train.T
    doubt, lengths = torch.sigmoid(-margin), kernel.diagonal()
    # the ridge that training came to rest on, a direction (see attribution.damping)
    resting = 10 * (doubt @ kernel @ doubt) / doubt.sum()
    directions = lengths.sum() ** 2 / kernel.square().sum()
    relative = resting / (doubt * (1 - doubt) * lengths).mean() / directions
    damping = relative.clamp(0.01, 100) * lengths.mean()
    system = kernel + damping * torch.eye(len(kernel), dtype=torch.double)
    truth = torch.linalg.solve(system, train @ test.T).T * doubt
    recorded = scores.isel(test=slice(0, 12)).values
    np.testing.assert_allclose(recorded, truth.numpy(), rtol=1e-3, atol=1e-5 * truth.abs().max())
    for row, right in zip(recorded, truth.numpy()):
        # the same ten in the same order, but for ties within single precision
        top = right[np.argsort(-row)[:10]]
        np.testing.assert_allclose(top, -np.sort(-right)[:10], rtol=1e-4)
