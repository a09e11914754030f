"""Language models: any OpenAI-compatible server, or a local GGUF or OpenVINO model in this process; retried, cached, counted."""
