"""A board as a page, a still picture, a plotly figure."""
