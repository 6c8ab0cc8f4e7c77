"""What `transformers.Trainer` does beside a plain loop, and what of it cannot be followed."""

from __future__ import annotations

import inspect

import transformers
from torch.utils.data import IterableDataset
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...tasks.model_kinds import bare, kind_of
from ..trainer_facts import TrainerFacts

STREAM = "an iterable dataset, which has no order to record (give one with __len__ and __getitem__)"


def in_the_way(args, model, loader, task) -> dict[str, bool]:
    """What an exact replay cannot follow, by name, and whether this training has it."""
    dataset = getattr(loader, "dataset", ())
    halves = "label_smoothing_factor" if _smooths(args, model) else ""
    if of_trl(args) == "SFTConfig":
        halves = "a loss taken in the head, where it is SFTConfig's default: bf16=False"
    return {
        **_of_trl(args, model),
        "fp16=True (its scaled loss and the steps that it skips; bf16=True is followed)": args.fp16,
        f"bf16=True beside {halves}": args.bf16 and bool(halves),
        _of_smoothing(model): _smooths(args, model) and not _shifts_right(args, model, task),
        "torch_compile=True (other operations than the model's own)": args.torch_compile,
        STREAM: isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"),
        "neftune_noise_alpha (noise on the embeddings)": bool(args.neftune_noise_alpha),
        "deepspeed": bool(args.deepspeed),
        "fsdp": bool(args.fsdp),
        "a data-parallel model on several devices (n_gpu above 1)": args.n_gpu > 1,
        "optim_target_modules (projected gradients)": bool(args.optim_target_modules),
    }


def _smooths(args, model) -> bool:
    """Whether the trainer smooths labels."""
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    return args.label_smoothing_factor > 0 and problem != "multi_label_classification"


def _of_smoothing(model) -> str:
    """How smoothed labels are trained where the trainer does not shift them."""
    return (
        f"label_smoothing_factor with a {type(bare(model)).__name__} (transformers shifts smoothed "
        f"labels for its own causal models only, so this one is trained to repeat the token it "
        f"reads)"
    )


def _shifts_right(args, model, task) -> bool:
    """Whether smoothed labels are shifted where the model predicts what follows, and only there."""
    if of_trl(args):
        return True
    kind = kind_of(model) if task is None else getattr(task, "name", task)
    return kind is None or _is_causal(model) == (kind == "language_modeling")


def _is_causal(model) -> bool:
    """Whether transformers has the model's class among its causal ones."""
    return type(bare(model)).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def of_trl(args) -> str:
    """The settings of a trainer of TRL, by their class; "" for others."""
    kinds = [k for k in type(args).__mro__ if k.__module__.split(".")[0] == "trl"]
    names = [k.__name__ for k in kinds if not k.__name__.startswith("_")]
    return "SFTConfig" if "SFTConfig" in names else (names or [""])[0]


def _of_trl(args, model) -> dict[str, bool]:
    """What of TRL's trainers cannot be followed: of `SFTTrainer` some settings, of others all."""
    kind = of_trl(args)
    if kind != "SFTConfig":
        return {f"TRL's {kind} (a loss of its own, which is no mean over examples)": bool(kind)}
    config = getattr(bare(model), "config", None)
    routes = getattr(config, "output_router_logits", False)
    return {
        "packing=True (a row holds several examples)": bool(getattr(args, "packing", False)),
        "padding_free=True (a batch is one row)": bool(getattr(args, "padding_free", False)),
        "loss_type='dft' (weights that follow the answers)": (
            getattr(args, "loss_type", "nll") == "dft"
        ),
        "shuffle_dataset=True (who stands where is not said; the sampler shuffles anyhow)": bool(
            getattr(args, "shuffle_dataset", False)
        ),
        "router_aux_loss_coef (a loss of the routers, which couples examples; 0.0 takes it out)": (
            bool(routes) and getattr(args, "router_aux_loss_coef", None) != 0.0
        ),
    }


def facts_of(args, model) -> TrainerFacts:
    """What decides the weight of an example in this trainer."""
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes = inspect.signature(own.forward).parameters.values()
    keywords = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in takes)
    return TrainerFacts(
        name="trl.SFTTrainer" if of_trl(args) else "transformers.Trainer",
        accumulate=args.gradient_accumulation_steps,
        clip={"norm": float(args.max_grad_norm)} if args.max_grad_norm else {},
        smoothing=float(args.label_smoothing_factor) if _smooths(args, model) else 0.0,
        more={
            "transformers": transformers.__version__,
            "model": type(own).__name__,
            "loss_type": getattr(own, "loss_type", None),
            "shifts_smoothed": _is_causal(model) or bool(of_trl(args)),
            "accepts_loss_kwargs": bool(getattr(own, "accepts_loss_kwargs", keywords)),
        },
    )
