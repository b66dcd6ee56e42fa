/** Test files of the bpf_conformance project: sections `-- asm`, `-- mem`, `-- raw`, `-- result`, `-- error`. */

export interface ConformanceFile {
  readonly asm: string;
  readonly memory: Uint8Array;
  readonly result: bigint | undefined;
  readonly error: string | undefined;
}

export function parseConformanceFile(text: string): ConformanceFile {
  const sections = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    const head = /^-- (.*\S)/.exec(line);
    if (head === null) {
      lines.push(line.replace(/#.*$/, ""));
      continue;
    }
    lines = [];
    sections.set(head[1] ?? "", lines);
  }
  const section = (name: string): string | undefined => sections.get(name)?.join("\n");
  const bytes = (section("mem") ?? "").split(/\s+/).filter(Boolean);
  const result = section("result")?.trim();
  return {
    asm: section("asm") ?? "",
    memory: Uint8Array.from(bytes, (byte) => Number.parseInt(byte, 16)),
    result: result === undefined ? undefined : BigInt(result),
    error: section("error")?.trim(),
  };
}
