"""How a record lies on a disk: files that never change, a journal, a manifest; no schema."""
