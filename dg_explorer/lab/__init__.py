"""Starting JupyterLab on this machine, with a notebook that shows a board."""
