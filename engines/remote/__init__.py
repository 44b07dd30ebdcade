"""Any OpenAI-compatible HTTP server as an engine."""
