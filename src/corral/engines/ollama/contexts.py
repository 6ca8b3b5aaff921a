"""The context of a request to an Ollama server, so that clients do not have it load a model back and forth.

A server loads a model anew whenever `num_ctx` differs between two requests (`server/sched.go` of Ollama 0.32.15). So
where the cluster file gives the context size, every request carries that one; elsewhere the context of the model in
memory stays, and only grows.
"""

from __future__ import annotations

from corral.engines.http.errors import RequestRefusedError


def choose_context(asked: int | None, *, kept: int | None, loaded: int | None) -> int | None:
    """Return the `num_ctx` of a request, in tokens; None leaves it to the server.

    `kept` is the one of the cluster file, `loaded` that of the model in memory; None where there is none, or it is not
    known. Raises: RequestRefusedError when more is asked for than is kept: the prompt would be cut.
    """
    if kept is not None:
        if asked is not None and asked > kept:
            raise RequestRefusedError(
                f"a context of {asked} tokens is asked for, and this server's models are kept at {kept}",
                where="options.num_ctx",
                hint="ask for less, or raise contextSize of the engine in the cluster file",
            )
        return kept
    if loaded is None:
        return asked
    return loaded if asked is None else max(asked, loaded)
