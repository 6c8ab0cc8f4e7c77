"""Attribution of contrastive models: how well the two halves of a pair find each other."""

from __future__ import annotations

import torch
from torch.func import functional_call

from ..errors import DataError
from .parts import parts_of
from .task import Task


class CLIPPairsTask(Task):
    """Pairs such as (image, text), and a model that returns (image, text embeddings, scale).

    The output of a pair is

        -logsumexp_j( -u . (v - v_j) ) - logsumexp_j( -v . (u - u_j) )

    with u, v its embeddings and u_j, v_j those of a fixed batch of stored pairs: high where the
    pair's similarity stands out from that with others. The weight is 1 - p, p the mean
    probability of the pair's own partner among the stored pairs, both ways.

    The TRAK library draws the stored pairs anew for every example and takes p among the batch
    that happens to be served; here both are fixed, so that scores do not depend on batches.

    Parameters
    ----------
    temperature : float, optional
        Factor of the similarities in p; by default the scale that the model returns.
    simulated_batch : int
        How many stored pairs an example is compared with.
    seed : int
        Chooses them.

    References
    ----------
    Park et al. (2023), "TRAK: Attributing Model Behavior at Scale", ICML, sec. 5.1.
    """

    name = "clip"
    output_name, output_unit = "how far a pair stands out among stored pairs", "similarity"

    def __init__(self, temperature=None, simulated_batch: int = 300, seed: int = 0):
        self.temperature = temperature
        self.simulated_batch = simulated_batch
        self.seed = seed
        self.images: torch.Tensor | None = None
        self.texts: torch.Tensor | None = None

    def embed(self, model, loader, size: int = 50_000, prepare_image=None, prepare_text=None):
        """Store the embeddings of up to `size` pairs, by the model's present weights."""
        images, texts, done = [], [], 0
        device = next(model.parameters()).device
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            with torch.no_grad():
                for image, text in loader:
                    image = image if prepare_image is None else prepare_image(image)
                    text = text if prepare_text is None else prepare_text(text)
                    u, v, _ = embeddings_of(model(image.to(device), text.to(device)))
                    images.append(u)
                    texts.append(v)
                    done += len(u)
                    if done >= size:
                        break
        finally:
            for module, mode in modes.items():
                module.training = mode
        if not images:
            raise DataError("The loader is empty: there are no pairs to compare with.")
        self.set_embeddings(torch.cat(images)[:size], torch.cat(texts)[:size])

    def set_embeddings(self, images: torch.Tensor, texts: torch.Tensor) -> None:
        """Store embeddings, shape (pair, width); `simulated_batch` of them are kept."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(images), generator=generator)[: self.simulated_batch]
        self.images = images.detach()[chosen.to(images.device)]
        self.texts = texts.detach()[chosen.to(texts.device)]

    def settings(self) -> dict:
        """Which pairs are stored counts too: another set gives other scores."""
        stored = None if self.images is None else float(self.images.double().sum())
        return {
            "temperature": self.temperature,
            "simulated_batch": self.simulated_batch,
            "seed": self.seed,
            "stored": stored,
        }

    @property
    def reads_batch(self) -> bool:
        return True  # a pair is two inputs

    def predict(self, model, batch):
        inputs, keywords, second = parts_of(batch)
        if getattr(batch, "forward", None) is not None:
            return batch.predict(model)
        # the second half of a pair is an input, although it stands where labels do
        return model(*inputs, **keywords) if second is None else model(*inputs, second, **keywords)

    def answer(self, model, weights, buffers, batch):
        """The model's answer to a batch of pairs for given weights."""
        return functional_call(model, (weights, buffers), tuple(batch))

    def check(self, prediction, batch) -> None:
        self._stored()

    def _stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.images is None or self.texts is None:
            raise DataError(
                "CLIP attribution compares each pair with stored ones. Call "
                "traker.task.get_embeddings(model, loader) or task.embed(model, loader) first."
            )
        return self.images, self.texts

    def output(self, prediction, batch):
        self.check(prediction, batch)
        u, v, _ = embeddings_of(prediction)
        images, texts = self._stored()
        images, texts = images.to(u), texts.to(v)
        own = (u * v).sum(-1, keepdim=True)
        return -(u @ texts.T - own).logsumexp(1) - (v @ images.T - own).logsumexp(1)

    def weight(self, prediction, batch):
        u, v, scale = embeddings_of(prediction)
        u, v = u.detach().double(), v.detach().double()
        scale = self.temperature if self.temperature is not None else scale
        scale = scale.detach().double() if torch.is_tensor(scale) else scale
        own = (u * v).sum(-1)
        images, texts = self._stored()
        doubt = [
            torch.sigmoid((scale * (side @ stored.to(side).T)).logsumexp(1) - scale * own)
            for side, stored in ((u, texts), (v, images))
        ]
        return (doubt[0] + doubt[1]) / 2


def embeddings_of(answer):
    """Image and text embeddings and the scale, of a tuple or a Hugging Face answer."""
    if hasattr(answer, "image_embeds"):
        return answer.image_embeds, answer.text_embeds, getattr(answer, "logit_scale", 1.0)
    return answer[0], answer[1], answer[2] if len(answer) > 2 else 1.0
