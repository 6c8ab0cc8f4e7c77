"""What every analyzer shares: its state is a run, so saving and loading are the record's."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import NotARunError, SettingError
from ...record.run import as_run
from ...run import Run

_SETTINGS = "analyzer"


class OnRecord:
    """An analyzer with its measurements in `self.run`, in memory unless it was given one."""

    def __init__(self, run: Run | None, name: str):
        self.run = Run.create(None, name=name) if run is None else as_run(run)

    def settings(self) -> dict:
        """The keyword arguments that make the same analyzer again, as plain values."""
        return {}

    def save(self, path: str | Path) -> Path:
        """Write the record to a folder of this name, whatever its suffix; never a pickle.

        A record that is there already is replaced; anything else there is left alone and
        refused.
        """
        self._settle()
        kept = {**self.run.attrs.get(_SETTINGS, {}), type(self).__name__: self.settings()}
        self.run.set_attrs(**{_SETTINGS: json.loads(json.dumps(kept))})
        self.run.copy_to(path, overwrite=True)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, **settings):
        """Read back what `save` wrote; going on from there leaves the saved record as it is.

        Parameters
        ----------
        path : folder of a record
        **settings
            What a record cannot hold, such as `model`; or another value for a saved setting.

        Raises
        ------
        NotARunError
            The path is no record. A file, such as a pickle, is refused without being opened.
        SettingError
            The record was not saved by an analyzer of this kind and settings are missing.
        """
        if Path(path).is_file():
            raise NotARunError(
                f"{path} is a file, but analyzers are saved as a folder of labelled arrays. "
                f"If it is a pickle it stays unopened: unpickling runs whatever code is in it. "
                f"Load it in the code that wrote it, and save its numbers into a Run."
            )
        run = Run.open(path).copy_to(None)
        saved = run.attrs.get(_SETTINGS, {}).get(cls.__name__, {})
        try:
            return cls(**{**saved, **settings}, run=run)
        except TypeError as error:
            raise SettingError(
                f"{cls.__name__}.load({str(path)!r}) lacks a setting: {error}. The record holds "
                f"settings of {', '.join(run.attrs.get(_SETTINGS, {})) or 'no analyzer'}; "
                f"pass what is missing by name."
            ) from error

    def _settle(self) -> None:
        """Write down whatever is still being gathered."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run!r})"
