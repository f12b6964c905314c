import assert from "node:assert/strict";
import { test } from "node:test";
import { page } from "../src/notes.js";

test("a note with fields", () => {
  const html = page("---\ntitle: A < B\ntags: [one, two]\n---\n# Head\n\n*text*\n");
  assert.match(html, /<title>A &lt; B<\/title>/);
  assert.match(html, /<li>one<\/li><li>two<\/li>/);
  assert.match(html, /<h1>Head<\/h1>\n<p><em>text<\/em><\/p>/);
});

test("a note without fields", () => {
  assert.match(page("text\n"), /<title>Notes<\/title>\n<ul><\/ul>\n<p>text<\/p>/);
});
