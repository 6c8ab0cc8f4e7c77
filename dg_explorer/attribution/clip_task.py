"""The task of contrastive pairs lives in `dg_explorer.tasks`; its name stays importable here."""

from ..tasks.clip import CLIPPairsTask, embeddings_of

__all__ = ["CLIPPairsTask", "embeddings_of"]
