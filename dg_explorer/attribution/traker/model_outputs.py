"""Model outputs in the form of the TRAK library, so that classes written for it still serve.

A model output says how one example's output follows from the model (`get_output`) and how the
loss follows from the output (`get_out_to_loss_grad`). The built-in ones are also known as
tasks, whose gradients come from hooks and cost far less.
"""

# As in the TRAK library, `get_output` is static, and takes the parts of an example one by one.
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.func import functional_call

from ...tasks import ClassificationTask, CLIPPairsTask, Task, as_task, margin


class AbstractModelOutput(ABC):
    """Subclass and give both methods to attribute something of your own.

    `get_output(model, weights, buffers, *example)` returns a scalar for one example without a
    batch dimension, by `torch.func.functional_call(model, (weights, buffers), ...)`; for
    `IterativeGradientComputer` it returns one number for each example of a batch, from the model.
    `get_out_to_loss_grad(model, weights, buffers, batch)` returns 1 - p, or whatever minus the
    derivative of the loss by the output is, of shape (example,) or (example, 1).
    """

    @abstractmethod
    def __init__(self) -> None: ...

    @abstractmethod
    def get_output(self, model, weights, buffers, *example) -> torch.Tensor: ...

    @abstractmethod
    def get_out_to_loss_grad(self, model, weights, buffers, batch) -> torch.Tensor: ...

    def as_task(self) -> Task | None:
        """The task that computes the same, where there is one."""
        return None


class ImageClassificationModelOutput(AbstractModelOutput):
    """The margin log p/(1-p) of the right class; `temperature` divides the logits in 1 - p."""

    doubts = True

    def __init__(self, temperature: float = 1.0) -> None:
        self.softmax = torch.nn.Softmax(-1)
        self.loss_temperature = temperature

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        logits = functional_call(model, (weights, buffers), image.unsqueeze(0))
        return margin(_logits(logits), label.reshape(1)).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        images, labels = batch
        logits = _logits(functional_call(model, (weights, buffers), images))
        return _doubt(logits / self.loss_temperature, labels)

    def as_task(self):
        if type(self) is ImageClassificationModelOutput and self.loss_temperature == 1:
            return ClassificationTask()
        return None


class TextClassificationModelOutput(ImageClassificationModelOutput):
    """The same margin for batches of (input_ids, token_type_ids, attention_mask, label)."""

    @staticmethod
    def get_output(model, weights, buffers, input_id, token_type_id, attention_mask, label):
        texts = [x.unsqueeze(0) for x in (input_id, token_type_id, attention_mask)]
        logits = functional_call(model, (weights, buffers), (), _keywords(*texts))
        return margin(_logits(logits), label.reshape(1)).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        *texts, labels = batch
        logits = _logits(functional_call(model, (weights, buffers), (), _keywords(*texts)))
        return _doubt(logits / self.loss_temperature, labels)

    def as_task(self):
        if type(self) is TextClassificationModelOutput and self.loss_temperature == 1:
            return TextTupleTask()
        return None


class IterativeImageClassificationModelOutput(ImageClassificationModelOutput):
    """The margin from the model itself, for models that `torch.func` cannot run."""

    @staticmethod
    def get_output(model, weights, buffers, images, labels):
        return margin(_logits(model(images)), labels)

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        images, labels = batch
        return _doubt(_logits(model(images)) / self.loss_temperature, labels)

    def as_task(self):
        return IterativeTask(self)


class CLIPModelOutput(AbstractModelOutput):
    """How well an image and its text find each other among stored pairs; see `CLIPPairsTask`.

    Call `get_embeddings` before featurizing, as in the TRAK library. The simulated batch is one
    fixed draw of the stored pairs, so that scores do not change from call to call.
    """

    def __init__(self, temperature: float | None = None, simulated_batch_size: int = 300) -> None:
        self.temperature = temperature
        self.sim_batch_size = simulated_batch_size
        self.task = CLIPPairsTask(temperature=temperature, simulated_batch=simulated_batch_size)

    def get_embeddings(
        self,
        model,
        loader,
        batch_size: int | None = None,
        embedding_dim: int | None = None,
        size: int = 50_000,
        preprocess_fn_img=None,
        preprocess_fn_txt=None,
    ) -> None:
        """Embed up to `size` pairs of a loader with the model as it is now."""
        self.task.embed(model, loader, size, preprocess_fn_img, preprocess_fn_txt)

    def get_output(self, model, weights, buffers, image, label):
        pair = (image.unsqueeze(0), label.unsqueeze(0))
        return self.task.output(self.task.answer(model, weights, buffers, pair), pair).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        return self.task.weight(self.task.answer(model, weights, buffers, batch), batch)

    def as_task(self):
        return self.task if type(self) is CLIPModelOutput else None


class TextTupleTask(ClassificationTask):
    """Classification of (input_ids, token_type_ids, attention_mask, label) batches."""

    name = "text_classification"

    def predict(self, model, batch):
        return _logits(model(**_keywords(*batch[:-1])))


class IterativeTask(Task):
    """A model output that takes the model itself and a whole batch."""

    def __init__(self, model_output: AbstractModelOutput):
        self.model_output = model_output
        self.name = type(model_output).__name__
        self.doubts = getattr(model_output, "doubts", False)

    def predict(self, model, batch):
        weight = self.model_output.get_out_to_loss_grad(model, None, None, batch)
        return self.model_output.get_output(model, None, None, *batch), weight.detach().flatten()

    def output(self, prediction, batch):
        return prediction[0]

    def weight(self, prediction, batch):
        return prediction[1].double()


MODEL_OUTPUTS = {
    "image_classification": ImageClassificationModelOutput,
    "text_classification": TextClassificationModelOutput,
    "clip": CLIPModelOutput,
    "iterative_image_classification": IterativeImageClassificationModelOutput,
}


def as_model_output(task: Any) -> AbstractModelOutput | Task:
    """What `TRAKer(task=...)` means: a name, a model output (or anything with its two
    methods), or a task of this package."""
    if hasattr(task, "get_output") and hasattr(task, "get_out_to_loss_grad"):
        return task
    if isinstance(task, str) and task in MODEL_OUTPUTS:
        return MODEL_OUTPUTS[task]()
    return as_task(task)


def _logits(answer):
    return getattr(answer, "logits", answer)


def _doubt(logits, labels):
    return torch.sigmoid(-margin(logits.detach().double(), labels))[:, None]


def _keywords(input_ids, token_type_ids, attention_mask) -> dict:
    return {
        "input_ids": input_ids,
        "token_type_ids": token_type_ids,
        "attention_mask": attention_mask,
    }
