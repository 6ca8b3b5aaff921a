"""Anthropic's Messages API, passed on to servers that have it: Ollama, llama.cpp's server and vLLM do.

Source of the protocol: Anthropic's reference of the Messages API, version 2023-06-01.
"""
