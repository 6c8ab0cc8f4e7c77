"""The record on disk: arrays, journal, files beside them. `dg_explorer.run.Run` is its one face."""
