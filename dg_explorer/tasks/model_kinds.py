"""What a model is before it is asked: its class's task, and whether its parameters exist yet."""

from __future__ import annotations

from typing import Any

from torch.nn.parameter import is_lazy

from ..errors import SettingError

# ending of a class's name -> task; the first that fits counts
_ENDINGS = (
    ("ForMaskedLM", "masked_language_modeling"),
    ("ForTokenClassification", "token_classification"),
    ("ForSequenceClassification", "sequence_classification"),
    ("ForMultipleChoice", "classification"),
    ("ForNextSentencePrediction", "classification"),
    ("ForImageClassification", "classification"),
    ("ForVideoClassification", "classification"),
    ("ForAudioClassification", "classification"),
    ("ForSemanticSegmentation", "segmentation"),
    ("ForConditionalGeneration", "generation"),
    ("ForCausalLM", "language_modeling"),
    ("LMHeadModel", "language_modeling"),
    ("ForQuestionAnswering", "question answering"),
    ("ForObjectDetection", "object detection"),
    ("ForCTC", "speech recognition (CTC)"),
    ("ForPreTraining", "pre-training with several losses"),
    ("CLIPModel", "clip"),
)


def bare(model: Any) -> Any:
    """The model inside wrappers: DistributedDataParallel, torch.compile, PEFT."""
    for _ in range(8):
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = model.module
        if inner is None and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        if inner is None or inner is model:
            return model
        model = inner
    return model


def is_hugging_face(model: Any) -> bool:
    """Whether a model is one of transformers' own, or a subclass of one."""
    return any(c.__module__.startswith("transformers.") for c in type(bare(model)).__mro__)


def kind_of(model: Any) -> str | None:
    """The task in the name of a transformers class, or of the class that it inherits from.

    "generation" is told apart by the model's own encoder, "sequence_classification" by its
    `problem_type`; kinds that no task here serves come back in words.
    """
    model = bare(model)
    if not is_hugging_face(model):
        return None
    config = getattr(model, "config", None)
    encoder = bool(getattr(config, "is_encoder_decoder", False))
    for each in type(model).__mro__:
        kind = next((k for ending, k in _ENDINGS if each.__name__.endswith(ending)), None)
        if kind is None:
            continue
        if kind in ("generation", "language_modeling"):
            return "sequence_to_sequence" if encoder else "language_modeling"
        if kind == "sequence_classification":
            problem = getattr(config, "problem_type", None)
            by_problem = {
                "regression": "regression",
                "multi_label_classification": "multilabel",
                "single_label_classification": "classification",
            }
            if problem in by_problem:
                return by_problem[problem]
            # as transformers decide it at the first loss
            return "regression" if getattr(config, "num_labels", 2) == 1 else None
        return kind
    return None


def check_shaped(model: Any) -> None:
    """`SettingError` where a parameter has no shape before the model's first pass."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise SettingError(
                f"The parameter {name!r} has no shape yet (a lazy layer). Call the model once on a "
                f"batch before it is given, and before the optimizer is made: model(inputs)."
            )
