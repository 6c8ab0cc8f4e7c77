"""The factor of a convolution: its input and output gradient, patches unfolded only when needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .factors import Layered, Outer

SHIFTED = 256  # places in the output from which on unfolding is the slower way


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks its input; one-dimensional ones have height 1."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, node, kernel: tuple[int, ...]) -> Geometry:
        """Of a convolution in the graph of autograd, with a kernel of one or two axes."""
        lift = (lambda x, fill: (fill, *x)) if len(kernel) == 1 else lambda x, _: tuple(x)
        return cls(
            kernel=lift(kernel, 1),
            stride=lift(node._saved_stride, 1),
            padding=lift(node._saved_padding, 0),
            dilation=lift(node._saved_dilation, 1),
        )

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """Unfolded input, shape (example, position, channel x kernel)."""
        if self.kernel == (1, 1) and self.padding == (0, 0):
            return x[:, :, :: self.stride[0], :: self.stride[1]].flatten(2).mT
        return F.unfold(x, self.kernel, self.dilation, self.padding, self.stride).mT

    def products(self, d: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Gradients of the weight, shape (example, output, channel x kernel).

        x : input, shape (example, channel, height, width);  d : gradient of the output
        """
        if self._shifts(d):
            return self._shifted_products(d, x)
        return d.flatten(2) @ self.patches(x)

    def _shifts(self, d: torch.Tensor) -> bool:
        """Whether one product for each place in the kernel is quicker than unfolding.

        Unfolding writes the input out once for each of them, and on a GPU is done image by image.
        """
        large = d.shape[2] * d.shape[3] >= SHIFTED or d.is_cuda
        return large and self.stride == (1, 1) and self.kernel != (1, 1)

    def _shifted_products(self, d: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Rows are padded to one length, so that each place is the same numbers, read later on."""
        height, width = self.padding
        # a row more at the end, for the last places read beyond it
        x = F.pad(x, (width, width, height, height + 1))
        row = x.shape[3]
        d = F.pad(d, (0, row - d.shape[3])).flatten(2)
        x, length = x.flatten(2), d.shape[2]
        found = d.new_empty(*d.shape[:2], x.shape[1], *self.kernel)
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                start = i * self.dilation[0] * row + j * self.dilation[1]
                found[..., i, j] = d @ x[:, :, start : start + length].mT
        return found.flatten(2)


@dataclass(repr=False)
class Convolution(Layered):
    """Gradients of an ungrouped convolution's weight and bias.

    x : input, shape (example, channel, height, width)
    d : gradient of the output, same kind of shape
    """

    x: torch.Tensor
    d: torch.Tensor
    weight: str | None
    bias: str | None
    shape: tuple[int, ...]
    geometry: Geometry

    @property
    def sizes(self) -> dict[str, int]:
        weight = int(torch.Size(self.shape).numel())
        found = {self.weight: weight, self.bias: self.d.shape[1]}
        return {name: size for name, size in found.items() if name}

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.d.nbytes

    def take(self, index) -> Convolution:
        return replace(self, x=self.x[index], d=self.d[index])

    def to(self, *args) -> Convolution:
        return replace(self, x=self.x.to(*args), d=self.d.to(*args))

    def outer(self) -> Outer:
        """The same gradients with the patches unfolded."""
        a = self.geometry.patches(self.x)
        return Outer(a, self.d.flatten(2).mT, self.weight, self.bias, self.shape)

    def gradients(self) -> dict[str, torch.Tensor]:
        return self.outer().gradients()

    def add_gram(self, other: Convolution, out: torch.Tensor) -> None:
        self.outer().add_gram(other.outer(), out)
