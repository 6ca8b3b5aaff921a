"""The dashboards, each with the panels that the cluster file has something for."""
