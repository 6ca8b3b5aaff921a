"""Tools for assistants: the Model Context Protocol, over a server's own HTTP API.

`corral mcp` serves them over stdin and stdout, the server at `/mcp`. Both call the same functions, which know the
server by its HTTP API alone, so each call has the rights of its caller. One module knows the protocol's SDK
(`serving`), and is imported where it is needed: the SDK takes a second of processor time and some 60 MB.

Belongs here: the tools, their arguments and answers, the SDK.
Does not belong here: whose call it is, HTTP, printing.
May import: `corral.client`, `corral.batchfile`, `corral.engines.inputs`, `corral.wire`, `corral.units`, `corral.work`,
`corral.errors`.
"""
