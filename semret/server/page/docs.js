// Draws the description of the HTTP interface, openapi.json.

import { ask } from "./api.js";

const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const place = document.getElementById("operations");

function type(schema) {
  if (!schema) return "";
  if (schema.anyOf) return schema.anyOf.map(type).filter((one) => one !== "null").join(" or ");
  if (schema.type === "array") return `list of ${type(schema.items)}`;
  return schema.format === "binary" ? "file" : (schema.type ?? "value");
}

function range(schema) {
  const one = schema.anyOf?.find((each) => each.type !== "null") ?? schema;
  return [
    one.minimum !== undefined ? `from ${one.minimum}` : "",
    one.maximum !== undefined ? `to ${one.maximum}` : "",
  ].filter(Boolean).join(" ");
}

function table(fields) {
  const rows = fields.map(({ name, required, schema, description }) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, make("code", { textContent: name })),
      make("td", { textContent: type(schema) }),
      make("td", { textContent: required ? "required" : (JSON.stringify(schema.default ?? null) ?? "") }),
      make("td", { textContent: [description ?? schema.description ?? "", range(schema)].filter(Boolean).join("; ") }),
    ),
  );
  const head = ["name", "kind", "default", "meaning"].map((text) => make("th", { scope: "col", textContent: text }));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function bodies(content) {
  const found = [];
  for (const [media, { schema, example }] of Object.entries(content)) {
    const one = schema.oneOf?.[0] ?? schema;
    const fields = Object.entries(one.properties ?? {}).map(([name, each]) => ({
      name,
      schema: each,
      required: (one.required ?? []).includes(name),
    }));
    found.push(make("h3", { textContent: `Body: ${media}` }), table(fields));
    if (schema.oneOf) found.push(make("p", { className: "note", textContent: "Or {\"queries\": [...]} with several of these." }));
    if (example) found.push(make("pre", { textContent: JSON.stringify(example, null, 1) }));
  }
  return found;
}

function example(method, path, operation) {
  const address = `${location.origin}${path}`.replaceAll("{id}", "1");
  const content = operation.requestBody?.content;
  if (!content) {
    const needed = (operation.parameters ?? []).filter((one) => one.required && one.in === "query");
    const asked = needed.map((one) => `${one.name}=1`).join("&");
    return `curl ${method === "post" ? "-X POST " : ""}'${address}${asked && "?"}${asked}'`;
  }
  const json = content["application/json"];
  if (json) return `curl '${address}' -H 'Content-Type: application/json' -d '${JSON.stringify(json.example)}'\ncurl '${address}' -F image=@photo.jpg -F k=5`;
  const needsId = content["multipart/form-data"].schema.required.includes("id");
  return `curl '${address}' -F image=@photo.jpg${needsId ? " -F id=1" : ""}`;
}

function section(method, path, operation) {
  const made = make(
    "section",
    {},
    make("h2", {}, make("span", { className: "method", textContent: method.toUpperCase() }), ` ${path}`),
    make("p", { textContent: (operation.description ?? operation.summary ?? "").replaceAll("`", "") }),
  );
  if (operation.parameters?.length) made.append(make("h3", { textContent: "Parameters" }), table(operation.parameters));
  if (operation.requestBody) made.append(...bodies(operation.requestBody.content));
  made.append(make("pre", { textContent: example(method, path, operation), tabIndex: 0 }));
  return made;
}

try {
  const description = await ask("openapi.json");
  document.getElementById("about").textContent = `version ${description.info.version}`;
  const sections = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(method, path, operation)),
  );
  place.replaceChildren(make("p", { textContent: description.info.description.replaceAll("`", "") }), ...sections);
} catch (error) {
  place.replaceChildren(make("p", { role: "alert", textContent: error.message }));
}
