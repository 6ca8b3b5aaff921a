// What can vary in a workflow of ComfyUI.

/** @typedef {{name: string, label: string, kind: "text" | "number" | "choice"}} NodeInput */

/**
 * The inputs of a workflow's nodes that are no links, as `set.<node>.<input>`; a value has the type of the one there.
 * @param {Record<string, any>} workflow in API format
 * @returns {NodeInput[]}
 */
export function listNodeInputs(workflow) {
  return Object.entries(workflow).flatMap(([id, node]) =>
    Object.entries(node?.inputs ?? {})
      .filter(([, value]) => typeof value !== "object")
      .map(([input, value]) => ({
        name: `set.${id}.${input}`,
        label: `${node._meta?.title ?? node.class_type} (${id}): ${input}, now ${String(value).slice(0, 40)}`,
        kind: chooseKind(value),
      })),
  );
}

/** @param {unknown} value @returns {NodeInput["kind"]} */
function chooseKind(value) {
  if (typeof value === "boolean") return "choice";
  return typeof value === "number" ? "number" : "text";
}
