"""Workflows as ComfyUI's editor saves them, converted to what `/prompt` takes.

The editor's page converts a workflow itself before it queues it, with the node types that the instance describes in
`/object_info`. The same is done here, from a file. The rules are those of Comfy-Org/ComfyUI_frontend, read in 2025 and
2026: `src/utils/executionUtil.ts` (the conversion), `litegraph/src/subgraph/ExecutableNodeDTO.ts` (links through
subgraphs, bypassed and virtual nodes), `src/extensions/core/widgetInputs.ts` (primitives), `src/utils/litegraphUtil.ts`
(values of older versions), `src/core/graph/widgets/dynamicWidgets.ts` (inputs that depend on a choice).

Belongs here: the file's shape, its values and links, the conversion; a pure function of the file and `/object_info`.
Does not belong here: which instance is asked, running a workflow.
May import: as `corral.engines.comfyui`.
"""
