/** A BPF program of a node in the running kernel, over maps of the same content: a peer of benchmarks, where root allows. */
import { readFileSync } from "node:fs";
import { type BpfTables, contentOf, type MapRepr, MapType, ProgramType } from "../src/filter/bpf/index.ts";
import { type BpfJudge, startBpfJudge } from "../src/harness/kernel/index.ts";
import type { Peer } from "./benchmark.ts";

/** A table of connections as large as a node's would take the kernel longer to make than to measure. */
const entriesMax = 65_536;
const repeats = 2000;

/** None where the kernel cannot be asked. It must return the same codes. One measure is the time of `runs` runs, evenly over the packets. */
export async function kernelPrograms(
  tables: BpfTables,
  name: string,
  rows: readonly { readonly frame: Uint8Array; readonly index: number; readonly code: number }[],
  runs: number,
): Promise<readonly Peer[]> {
  if (process.getuid?.() !== 0) return [];
  const judge = startBpfJudge(Math.max(...rows.map(({ index }) => index)));
  const program = await load(judge, tables, name);
  const measureMs = async (): Promise<number> => {
    let ns = 0;
    for (const { frame, index, code } of rows) {
      const context = new Uint8Array(192);
      const view = new DataView(context.buffer);
      view.setUint32(36, index, true);
      view.setUint32(40, index, true);
      const ran = await judge.run(program, frame, context, repeats);
      if (typeof ran === "number") throw new Error(`BPF_PROG_TEST_RUN answers ${ran}`);
      if (ran.code !== code) throw new Error(`the kernel returns ${ran.code}, not ${code}`);
      ns += ran.nsPerRun;
    }
    return (ns / rows.length) * (runs / 1e6);
  };
  const jit = readFileSync("/proc/sys/net/core/bpf_jit_enable", "utf8").trim();
  const peerName = jit === "0" ? "kernel, interpreted" : "kernel, JIT";
  return [{ name: `${peerName}, alone`, measureMs, close: () => judge.close() }];
}

const isOuter = ({ type }: MapRepr): boolean => type === MapType.hashOfMaps || type === MapType.arrayOfMaps;
const word = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

/** Number of the program in the kernel. Inner maps are made before the maps that hold them. */
async function load(judge: BpfJudge, { maps, programs }: BpfTables, name: string): Promise<number> {
  const numbers: number[] = [];
  const order = [...maps.entries()].sort(([, a], [, b]) => Number(isOuter(a)) - Number(isOuter(b)));
  for (const [place, map] of order) {
    const template = map.inner === undefined ? -1 : await judge.createMap(map.inner);
    const shape = { ...map, maxEntries: Math.min(map.maxEntries, entriesMax) };
    numbers[place] = await judge.createMap(shape, template);
    if ((numbers[place] ?? -1) < 0) throw new Error(`the kernel refuses map ${map.name}: ${numbers[place]}`);
  }
  for (const [place, map] of order) {
    if (map.type === MapType.perfEventArray) continue;
    for (const { key, value } of contentOf(map)) {
      const inner = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      const held = isOuter(map) ? word(numbers[inner] ?? -1) : value;
      const status = await judge.update(numbers[place] ?? -1, key, held);
      if (status < 0) throw new Error(`the kernel refuses an entry of map ${map.name}: ${status}`);
    }
  }
  const program = programs.find((one) => one.name === name);
  const code = (program?.instructions ?? []).map((one) =>
    one.opcode === 0x18 && (one.src === 1 || one.src === 2) ? { ...one, imm: numbers[one.imm] ?? -1 } : one,
  );
  return judge.load(ProgramType.schedCls, code, 0);
}
