"""One small training that is the same everywhere: data, weights and order come from formulas."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg

N_TRAIN, N_TEST, N_INPUTS, N_CLASSES, EPOCHS, BATCH = 16, 4, 5, 3, 6, 4


def waves(*shape, phase=0.0, size=1.0):
    """Numbers without a pattern, from sines, so that no random generator takes part.

    Rounded: processors differ in the last bit of a sine, and landmarks are chosen by the bytes of
    an example.
    """
    position = np.arange(1, np.prod(shape) + 1)
    values = np.sin(1.7 * position + phase) + np.sin(0.31 * position**1.5 + 2 * phase)
    return torch.as_tensor(size * np.round(values, 12).reshape(shape))


def with_waves(model, phase=0.0, size=0.4):
    """The model in float64 with every parameter set by the formula."""
    model = model.double()
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(waves(*parameter.shape, phase=phase + i, size=size))
    return model


def network(phase=0.0):
    """Two layers, 5-6-3, smooth."""
    return with_waves(
        nn.Sequential(nn.Linear(N_INPUTS, 6), nn.Tanh(), nn.Linear(6, N_CLASSES)), phase
    )


def examples(n, phase=0.0):
    """Inputs, and labels that depend on them but for every fifth."""
    inputs = waves(n, N_INPUTS, phase=phase)
    labels = inputs[:, :N_CLASSES].argmax(1)
    labels[::5] = (labels[::5] + 1) % N_CLASSES
    return TensorDataset(inputs, labels)


TRAIN, TEST = examples(N_TRAIN), examples(N_TEST, phase=0.5)


def optimizer_of(model):
    """AdamW whose steps stay smooth where a gradient is near 0."""
    return torch.optim.AdamW(model.parameters(), lr=0.03, weight_decay=0.1, eps=1e-3)


def recorded(path=None):
    """The training, recorded with all that replay needs; checkpoints at epochs 0 to 5."""
    labels = [dataset.tensors[1].numpy() for dataset in (TRAIN, TEST)]
    run = dg.Run.create(
        path,
        name="golden",
        train_examples={"label": labels[0]},
        test_examples={"label": labels[1]},
        seed=0,
    )
    model = network()
    optimizer = optimizer_of(model)
    inputs, labels = TRAIN.tensors
    with dg.Recorder(
        run,
        model,
        optimizer,
        train=dg.with_ids(TRAIN),
        test=TEST,
        layers=["1"],
        gradient_every=1,
        replay=True,
    ) as recorder:
        for epoch in range(EPOCHS):
            # a stride prime to 16 visits every example once, in another order each epoch
            order = torch.arange(N_TRAIN) * (2 * epoch + 3) % N_TRAIN
            for batch in order.split(BATCH):
                logits = model(inputs[batch])
                loss = F.cross_entropy(logits, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                recorder.batch(logits, labels[batch], batch)
                optimizer.step()
            recorder.epoch(epoch)
    return run
