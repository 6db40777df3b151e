// Draws the OpenAPI document: each call with its parameters, its body and its answers, as text.

const main = document.getElementById("main");

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const nameOf = (schema) => schema.$ref?.split("/").pop();

function typeOf(schema) {
  if (schema.$ref) return nameOf(schema);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `[${schema.items ? typeOf(schema.items) : "any"}]`;
  if (schema.type === "object" && schema.additionalProperties) return `{text: ${typeOf(schema.additionalProperties)}}`;
  return schema.type ?? "any";
}

function refs(schema) {
  if (schema.$ref) return [nameOf(schema)];
  return [...(schema.anyOf ?? []).flatMap(refs), ...(schema.items ? refs(schema.items) : []),
    ...(typeof schema.additionalProperties === "object" ? refs(schema.additionalProperties) : [])];
}

function typeLine(title, content) {
  const [[media, { schema }]] = Object.entries(content);
  const links = [...new Set(refs(schema))].map((name) => make("a", { href: `#${name}`, text: ` ${name} ` }));
  return make("div", {}, make("span", { class: "quiet small", text: `${title}: ` }),
    make("span", { class: "mono", text: `${media} ${typeOf(schema)}` }), ...links);
}

function parameters(rows) {
  if (!rows.length) return null;
  const lines = rows.map((row) => make("tr", {},
    make("td", { class: "mono", text: row.name }),
    make("td", { class: "quiet", text: `${row.in}, ${row.schema.type}${row.required ? ", required" : ""}${row.schema.default === undefined ? "" : `, default ${row.schema.default}`}` }),
    make("td", { class: "quiet", text: row.description ?? "" })));
  return make("table", {}, make("tbody", {}, ...lines));
}

function call(path, method, operation) {
  const answers = Object.entries(operation.responses).map(([code, answer]) =>
    answer.content && Number(code) < 400
      ? typeLine(code, answer.content)
      : make("div", {}, make("span", { class: "quiet small", text: `${code}: ${answer.description}` })));
  return make("details", { class: "call" },
    make("summary", {}, make("span", { class: "method", text: method.toUpperCase() }), make("span", { class: "mono", text: path }), make("span", { class: "quiet small", text: `  ${operation.summary}` })),
    make("div", { class: "body" }, parameters(operation.parameters), operation.requestBody ? typeLine("Body", operation.requestBody.content) : null, ...answers));
}

function type(name, schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([field, kind]) => make("tr", {},
    make("td", { class: "mono", text: field }),
    make("td", { class: "mono quiet", text: typeOf(kind) }),
    make("td", { class: "quiet number", text: kind.default === undefined ? "" : JSON.stringify(kind.default) })));
  const body = rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", { class: "mono quiet", text: typeOf(schema) });
  return make("details", { class: "call", id: name }, make("summary", {}, make("b", { text: name }), make("span", { class: "quiet small", text: `  ${(schema.description ?? "").split("\n")[0]}` })), make("div", { class: "body" }, body));
}

function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) target.open = true;
}

const document_ = await (await fetch("/api-docs")).json();
document.getElementById("about").textContent = `${document_.info.version}, ${document_.info.description}`;
const calls = Object.entries(document_.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [path, method, operation]));
const groups = document_.tags.map(({ name }) => make("section", { class: "card" },
  make("h2", { text: name[0].toUpperCase() + name.slice(1) }),
  ...calls.filter(([, , operation]) => operation.tags[0] === name).map((found) => call(...found))));
const types = make("section", { class: "card" }, make("h2", { text: "Types" }),
  ...Object.entries(document_.components.schemas).map((found) => type(...found)));
main.replaceChildren(...groups, types);
addEventListener("hashchange", reveal);
reveal();
