"""Named errors: each says what was asked, what there is, and what to do."""


class DGExplorerError(Exception):
    """Base of every error this package raises on purpose."""


class RunError(DGExplorerError):
    """A record could not be created, opened or written."""


class NotARunError(RunError):
    """The path holds no dg_explorer record."""


class NewerSchemaError(RunError):
    """The record was written by a newer version of this package."""


class ReadOnlyRunError(RunError):
    """Something asked to write to a record that may only be read."""


class DamagedRecordError(RunError):
    """What a file of the record holds is not what was written."""


class MissingFileError(DamagedRecordError, FileNotFoundError):
    """A file that the record names is not there."""

    def __str__(self):
        return Exception.__str__(self)


class SchemaError(RunError, ValueError):
    """Data offered to the record does not fit its schema."""


class MissingGroupError(RunError, KeyError):
    """A group of the record was asked for that is not there."""

    @classmethod
    def of(cls, what: str, there: list[str], hint: str = ""):
        """What the run lacks, what it has, what to do."""
        return cls(
            f"This run has no {what}; it has {', '.join(there) or 'no groups'}. {hint}".strip()
        )

    def __str__(self):  # KeyError would show the repr, quotes and all
        return Exception.__str__(self)


class UnknownExampleError(DGExplorerError, KeyError):
    """An example id was asked for that the record does not know."""

    def __str__(self):
        return Exception.__str__(self)


class ShuffledLoaderError(DGExplorerError, ValueError):
    """Example ids were to be inferred from a loader with an order that is not the dataset's."""


class DataError(DGExplorerError, ValueError):
    """A dataset or loader cannot be used: empty, labels out of range, wrong shape."""


class CheckpointError(DGExplorerError):
    """A checkpoint cannot be read."""


class UnsafeCheckpointError(CheckpointError):
    """Reading the checkpoint would mean unpickling code; refused."""


class ArchitectureMismatchError(CheckpointError, ValueError):
    """A checkpoint belongs to another architecture than the model."""


class NonFiniteError(DGExplorerError, ValueError):
    """Weights, gradients or scores contain NaN or infinity."""


class SettingError(DGExplorerError, TypeError, ValueError):
    """A setting is misspelt or out of range."""
