"""The record: `run.Run` is its face, `schema` its vocabulary, `policy` how data go into it."""
