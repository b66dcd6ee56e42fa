/** Judges recorded cases by a built package: prints the first case that differs from the kernel's fates, or "none". */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { deserialize } from "node:v8";

const [, , folder, file, backend] = process.argv;
const { compareCase } = await import(pathToFileURL(`${folder}/harness/fuzz/table-comparison.js`).href);
let found = "none";
for (const [i, one] of deserialize(readFileSync(file)).entries()) {
  let difference;
  try {
    difference = compareCase(one, backend).difference;
  } catch (error) {
    difference = error; // a mutant that cannot even run is found too
  }
  if (difference === undefined) continue;
  found = String(i);
  break;
}
process.stdout.write(found);
