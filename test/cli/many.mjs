/**
 * Runs many command lines in one process, each as if alone: `node many.mjs PROGRAM.js` reads `[{ args, cwd }]` from
 * standard input and prints `[{ code, stdout, stderr }]`. Standard input of each is empty. For tables of cases, where
 * starting a process for each would cost more than what is tested.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { pathToFileURL } from "node:url";

const cases = JSON.parse(fs.readFileSync(0, "utf8"));
const { readSync, writeSync } = fs;
let stdout = "";
let stderr = "";

fs.writeSync = (descriptor, data, ...rest) => {
  if (descriptor !== 1) return writeSync(descriptor, data, ...rest);
  const [from = 0] = rest;
  stdout += data.toString("utf8", from);
  return data.length - from;
};
fs.readSync = (descriptor, ...rest) => (descriptor === 0 ? 0 : readSync(descriptor, ...rest));
syncBuiltinESMExports();
process.stdout.write = (text) => {
  stdout += text;
  return true;
};
process.stderr.write = (text) => {
  stderr += text;
  return true;
};

const { runCli } = await import(pathToFileURL(process.argv[2] ?? "").href);
const results = [];
for (const { args, cwd } of cases) {
  stdout = "";
  stderr = "";
  process.chdir(cwd);
  const code = await runCli(args);
  results.push({ code, stdout, stderr });
}
writeSync(1, JSON.stringify(results));
