"""The names of what a scheduler can be asked for. Imports nothing, so that help starts at once."""

POLICIES = ("fcfs", "priority")
BATCHING = ("continuous", "static")
