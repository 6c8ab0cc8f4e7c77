"""Reading a run for views: rows, tables, marks, and the selection."""
