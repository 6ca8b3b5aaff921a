"""Ollama's API over all instances that have language models, whatever protocol each of them speaks.

Where an instance speaks Ollama's protocol, requests and answers pass untouched; where it speaks OpenAI's alone, both
are translated. What clients poll (`/api/tags`, `/api/ps`, `/api/show`, `/api/version`) is answered from what is known.

Source of the protocol: Ollama 0.17.4, `api/types.go` and `server/routes.go`.
"""
