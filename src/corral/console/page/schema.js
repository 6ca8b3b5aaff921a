// Fields of a form from a JSON Schema, and what was typed into them as JSON.

/**
 * One input of an engine. `lines` is a list of texts, one on each line; `json` is anything that has no simpler form.
 * @typedef {{name: string, kind: "text" | "long" | "number" | "choice" | "lines" | "json", isRequired: boolean,
 *   description: string, choices: readonly string[], initial: string}} Field
 */
/** @typedef {Record<string, any>} Schema */

/** Characters of a text from which on it is asked for in several lines. */
const LONG = 2000;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The fields of an object's properties, those that are required first. @param {Schema} schema */
export function listFields(schema) {
  const required = new Set(schema["required"] ?? []);
  const fields = Object.entries(/** @type {Record<string, Schema>} */ (schema["properties"] ?? {})).map(
    ([name, given]) => describeField(name, given, schema, required.has(name)),
  );
  return fields.sort((one, other) => Number(other.isRequired) - Number(one.isRequired));
}

/**
 * @param {string} name
 * @param {Schema} given
 * @param {Schema} root
 * @param {boolean} isRequired
 * @returns {Field}
 */
function describeField(name, given, root, isRequired) {
  const options = listOptions(given, root);
  const initial = given["default"];
  const hasInitial = initial !== undefined && initial !== null && typeof initial !== "object";
  return {
    name,
    kind: chooseKind(options, root),
    isRequired,
    description: given["description"] ?? "",
    choices: listChoices(options),
    initial: hasInitial ? String(initial) : "",
  };
}

/** What a value can be, null apart. @param {Schema} given @param {Schema} root @returns {Schema[]} */
function listOptions(given, root) {
  const schema = resolve(given, root);
  const options = /** @type {Schema[]} */ (schema["anyOf"] ?? schema["oneOf"] ?? [schema]);
  return options.map((option) => resolve(option, root)).filter((option) => option["type"] !== "null");
}

/** @param {Schema} given @param {Schema} root @returns {Schema} */
function resolve(given, root) {
  const name = /^#\/\$defs\/(.+)$/.exec(given["$ref"] ?? "")?.[1];
  return name === undefined ? given : (root["$defs"]?.[name] ?? {});
}

/** @param {Schema[]} options @returns {string[]} */
function listChoices(options) {
  const [only] = options;
  if (options.length !== 1 || only === undefined) return [];
  if (only["type"] === "boolean") return ["true", "false"];
  return (only["enum"] ?? (only["const"] === undefined ? [] : [only["const"]])).map(String);
}

/** @param {Schema[]} options @param {Schema} root @returns {Field["kind"]} */
function chooseKind(options, root) {
  if (listChoices(options).length) return "choice";
  if (options.every((option) => ["number", "integer", "string"].includes(option["type"]))) {
    if (options.some((option) => option["type"] !== "string")) return "number";
    return options.some((option) => (option["maxLength"] ?? 0) > LONG) ? "long" : "text";
  }
  const items = options.length === 1 && options[0]?.["type"] === "array" ? options[0]["items"] : undefined;
  return items !== undefined && resolve(items, root)["type"] === "string" ? "lines" : "json";
}

/**
 * What was typed, as JSON; text stays text where it is not what is expected, and the server says so.
 * Raises SyntaxError for a `json` field that is not JSON, RangeError for an integer that JavaScript would round.
 * @param {Field["kind"]} kind
 * @param {string} text
 * @returns {unknown}
 */
export function readValue(kind, text) {
  switch (kind) {
    case "number":
      return NUMBER.test(text.trim()) ? keepExact(text.trim(), Number(text)) : text.trim();
    case "choice":
      return text === "true" ? true : text === "false" ? false : text;
    case "lines":
      return listLines(text);
    case "json":
      return readJson(text);
    default:
      return text;
  }
}

/** JSON whose integers are those that were written. Raises as `readValue`. @param {string} text @returns {any} */
export function readJson(text) {
  return JSON.parse(text, (_, value) => (typeof value === "number" ? keepExact(String(value), value) : value));
}

/** @param {string} text of the number @param {number} value */
function keepExact(text, value) {
  if (!/^-?\d+$/.test(text) || Number.isSafeInteger(value)) return value;
  throw new RangeError(`an integer beyond ±${Number.MAX_SAFE_INTEGER} would be rounded here; \`corral submit\` sends it whole`);
}

/** The lines of a text that are not empty. @param {string} text */
export function listLines(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}
