import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { load } from "js-yaml";
import { marked } from "marked";

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => escapes[c]);

// page renders a note: Markdown, with fields in YAML before it, between lines of
// three dashes.
export function page(text) {
  const [, fields = "", body] = text.match(/^(?:---\n([^]*?)\n---\n)?([^]*)$/);
  const { title = "Notes", tags = [] } = load(fields) ?? {};
  const list = tags.map((t) => `<li>${escape(t)}</li>`).join("");
  return `<!doctype html>\n<title>${escape(title)}</title>\n<ul>${list}</ul>\n${marked.parse(body)}`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(page(readFileSync(process.argv[2] ?? 0, "utf8")));
}
