/** podwire's own version, as in package.json. */
import { readFileSync } from "node:fs";

interface PackageFile {
  readonly version: string;
}

const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");

export const version: string = (JSON.parse(text) as PackageFile).version;
