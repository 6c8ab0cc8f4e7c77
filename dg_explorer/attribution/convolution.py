"""The factor of a convolution: its input and output gradient, patches unfolded only when needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .factors import Outer


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks its input; one-dimensional ones have height 1."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, ...] = ()  # padding that unfolding cannot do by itself, as F.pad takes it
    mode: str = "constant"

    @classmethod
    def of(cls, module) -> Geometry:
        lift = (lambda x, fill: (fill, *x)) if len(module.kernel_size) == 1 else lambda x, _: x
        plain = module.padding_mode == "zeros"
        own = not isinstance(module.padding, str) and plain
        return cls(
            kernel=lift(module.kernel_size, 1),
            stride=lift(module.stride, 1),
            padding=lift(module.padding, 0) if own else (0, 0),
            dilation=lift(module.dilation, 1),
            before=() if own else tuple(module._reversed_padding_repeated_twice),
            mode="constant" if plain else module.padding_mode,
        )

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """Unfolded input, shape (example, position, channel x kernel)."""
        if self.before:
            flat = x.ndim == 4 and self.mode != "constant" and len(self.before) == 2
            x = F.pad(x[:, :, 0] if flat else x, self.before, mode=self.mode)
            x = x[:, :, None] if flat else x
        if self.kernel == (1, 1) and self.padding == (0, 0):
            return x[:, :, :: self.stride[0], :: self.stride[1]].flatten(2).mT
        return F.unfold(x, self.kernel, self.dilation, self.padding, self.stride).mT


@dataclass
class Convolution:
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

    def __len__(self):
        return self.d.shape[0]

    @property
    def numel(self) -> int:
        weight = int(torch.Size(self.shape).numel()) if self.weight else 0
        return weight + (self.d.shape[1] if self.bias else 0)

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.d.nbytes

    def take(self, index) -> Convolution:
        return replace(self, x=self.x[index], d=self.d[index])

    def scaled(self, by: torch.Tensor) -> Convolution:
        return replace(self, d=self.d * by.to(self.d)[:, None, None, None])

    def to(self, *args) -> Convolution:
        return replace(self, x=self.x.to(*args), d=self.d.to(*args))

    def outer(self) -> Outer:
        """The same gradients with the patches unfolded."""
        a = self.geometry.patches(self.x)
        return Outer(a, self.d.flatten(2).mT, self.weight, self.bias, self.shape)

    def gradients(self) -> dict[str, torch.Tensor]:
        return self.outer().gradients()

    def flat(self) -> torch.Tensor:
        return self.outer().flat()

    def add_gram(self, other: Convolution, out: torch.Tensor) -> None:
        self.outer().add_gram(other.outer(), out)
