"""Retrainings beside a notebook: one at a time, in a process of its own, paused or cancelled."""
