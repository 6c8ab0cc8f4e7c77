"""How wrong a prediction is, and how hard it pulls at the weights: EL2N and GraNd."""

from __future__ import annotations

import numpy as np


def el2n(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Length of the error vector, |p - onehot(label)|.

    Parameters
    ----------
    probabilities : float array, shape (example, class)
    labels : int array, shape (example,)

    Returns
    -------
    float array, shape (example,), between 0 and sqrt(2)

    References
    ----------
    Paul et al. (2021), "Deep Learning on a Data Diet", NeurIPS, definition 2.3.
    """
    error = np.array(probabilities, dtype=float)
    error[np.arange(len(error)), labels] -= 1.0
    return np.linalg.norm(error, axis=1)


def grand(inputs: np.ndarray, output_gradients: np.ndarray, *, bias: bool = False) -> np.ndarray:
    """Length of each example's loss gradient with respect to one linear layer.

    The gradient is the outer product of the layer's input and the gradient at its output,
    so its length is the product of theirs and the matrix need not exist. Over several
    layers add the squares.

    Parameters
    ----------
    inputs : float array, shape (example, feature)
    output_gradients : float array, shape (example, unit)
        For the last layer under cross-entropy this is `p - onehot(label)`.
    bias : bool
        Whether the layer has a bias, whose gradient is `output_gradients` itself.

    Returns
    -------
    float array, shape (example,)

    References
    ----------
    Paul et al. (2021), definition 2.1.
    """
    squared_input = (np.asarray(inputs, dtype=float) ** 2).sum(axis=1) + float(bias)
    squared_output = (np.asarray(output_gradients, dtype=float) ** 2).sum(axis=1)
    return np.sqrt(squared_input * squared_output)
