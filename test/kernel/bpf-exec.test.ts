/** `podwire bpf exec` as the conformance suite's runner calls it: a process for each of its files. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { assemble, encodeInstructions } from "../../src/filter/bpf/index.ts";
import { parseConformanceFile } from "../filter/bpf/conformance-file.ts";
import { describeNeeding } from "../needs.ts";

const folder = join(process.env["PODWIRE_SHARED"] ?? "../shared", "truth/bpf-conformance");
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".data")) : [];

/** As the runner writes bytes: two digits and two spaces each. */
const runnerHex = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => `${byte.toString(16).padStart(2, "0")}  `).join("");

function execute(program: Uint8Array, memory: Uint8Array): Promise<string> {
  const args = ["dist/cli/main.js", "bpf", "exec", ...(memory.length > 0 ? [runnerHex(memory)] : [])];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
    let [out, errors] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk;
    });
    child.on("exit", (code) => (code === 0 ? resolve(out.trim()) : reject(new Error(`${code}: ${errors}`))));
    child.stdin.end(runnerHex(program));
  });
}

describeNeeding("podwire bpf exec", [], () => {
  it.skipIf(files.length === 0)(
    "gives the result of every conformance file",
    { timeout: 600_000 },
    async () => {
      const wrong: string[] = [];
      const queue = [...files];
      const work = async (): Promise<void> => {
        for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
          const { asm, memory, result } = parseConformanceFile(readFileSync(join(folder, file), "utf8"));
          const answer = await execute(encodeInstructions(assemble(asm, file)), memory).catch(String);
          if (!/^[0-9a-f]+$/.test(answer) || BigInt(`0x${answer}`) !== result)
            wrong.push(`${file}: ${answer}`);
        }
      };
      await Promise.all([work(), work()]);
      expect(wrong).toEqual([]);
    },
  );
});
