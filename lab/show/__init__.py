"""What a reader sees: plots, diagrams, widgets. No module above imports it."""
