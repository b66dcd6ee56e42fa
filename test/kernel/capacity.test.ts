/**
 * Modelled sizes beside the kernel's own: the sets and rules of a generated cluster loaded into a network namespace, maps
 * made by bpftool. Structure sizes differ between kernels by little; the tables of rules by nothing.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { MapFlag, MapType, mapBytes } from "../../src/filter/bpf/index.ts";
import { type IpsetRepr, ipsetBytes, saveIpsets } from "../../src/filter/ipset/index.ts";
import {
  type IptablesTables,
  type Ruleset,
  saveRuleset,
  tableSize,
} from "../../src/filter/iptables/index.ts";
import {
  compileCluster,
  generateCluster,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import { buildCluster, loadObjects } from "../../src/k8s/index.ts";
import { describeNeeding } from "../needs.ts";

const netns = `podwire-capacity-${process.pid}`;

function run(command: readonly string[], input = ""): string {
  const [tool = "", ...args] = command;
  const { status, stdout, stderr } = spawnSync(tool, args, { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

const inside = (command: readonly string[], input?: string): string =>
  run(["ip", "netns", "exec", netns, ...command], input);

/** A set of this many hosts, as Azure NPM makes them. */
function hosts(name: string, count: number): IpsetRepr {
  const entries = Array.from({ length: count }, (_, i) => ({
    net: { family: 4 as const, words: [0x0ae0_0000 + i], prefix: 32 },
  }));
  return { name, type: "hash:net", family: 4, hashsize: 1024, maxelem: 65_536, entries };
}

function npmTables(): IptablesTables {
  const npm = parseSelection("azure-npm") as ProductSelection;
  const sizes = { nodes: 4, pods: 800, namespaces: 10, policies: 60 };
  const { state } = buildCluster(loadObjects("made", generateCluster("aks-npm-limit", 1, sizes)), npm.aks);
  const tables = [...compileCluster(state, npm).values()][0]?.tables.iptables;
  if (tables === undefined) throw new RangeError("Azure NPM makes iptables tables");
  return tables;
}

/** `struct ipt_getinfo`: what IPT_SO_GET_INFO answers about a table. */
const infoScript = `
import ctypes, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
handle = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for name in sys.argv[1:]:
    info = ctypes.create_string_buffer(name.encode(), 84)
    size = ctypes.c_uint32(84)
    if libc.getsockopt(handle.fileno(), 0, 64, info, ctypes.byref(size)) != 0:
        sys.exit(f"{name}: errno {ctypes.get_errno()}")
    print(name, *struct.unpack_from("<II", info.raw, 76))
`;

describeNeeding("sets and rules of a generated cluster", ["root", "ip", "iptables", "ipset"], () => {
  beforeAll(() => void run(["ip", "netns", "add", netns]));
  afterAll(() => void spawnSync("ip", ["netns", "delete", netns]));

  const { v4, sets } = npmTables();
  const all = [...sets.values(), hosts("many", 20_000)];

  it("take what the kernel says they take", () => {
    inside(["ipset", "restore"], saveIpsets(all));
    const listed = new Map(
      inside(["ipset", "list", "-t"])
        .split("\n\n")
        .map((block) => [
          /^Name: (.*)$/m.exec(block)?.[1] ?? "",
          Number(/^Size in memory: (\d+)$/m.exec(block)?.[1]),
        ]),
    );
    const wrong = all.filter((set) => Math.abs(ipsetBytes(set) / (listed.get(set.name) ?? 0) - 1) > 0.1);
    expect(wrong.map(({ name, type, entries }) => [name, type, entries.length, listed.get(name)])).toEqual(
      [],
    );
    const total = (sizes: Iterable<number>): number => [...sizes].reduce((sum, size) => sum + size, 0);
    const ratio = total(all.map(ipsetBytes)) / total(listed.values());
    expect(ratio).toBeGreaterThan(0.97);
    expect(ratio).toBeLessThan(1.03);

    inside(["iptables-legacy-restore"], saveRuleset(v4));
    const names = (Object.keys(v4.tables) as (keyof Ruleset["tables"])[]).filter(
      (name) => v4.tables[name] !== undefined,
    );
    const modelled = names.map((name) => {
      const table = v4.tables[name];
      if (table === undefined) throw new RangeError(`no table ${name}`);
      const { entries, bytes } = tableSize(table, 4);
      return `${name} ${entries} ${bytes}`;
    });
    const told = inside(["python3", "-", ...names], infoScript)
      .trim()
      .split("\n");
    expect(told).toEqual(modelled);
  });
});

describeNeeding("maps", ["root", "bpftool"], () => {
  const shapes = [
    ["hash", 4, 48, 1000, 0],
    ["hash", 12, 20, 1024, MapFlag.noPrealloc],
    ["lruHash", 16, 56, 65_536, 0],
    ["percpuHash", 4, 16, 1000, 0],
    ["array", 4, 60, 100, 0],
    ["percpuArray", 4, 16, 512, 0],
    ["progArray", 4, 4, 65_535, 0],
  ] as const;
  const words = {
    hash: "hash",
    lruHash: "lru_hash",
    percpuHash: "percpu_hash",
    array: "array",
    percpuArray: "percpu_array",
    progArray: "prog_array",
  } as const;

  it("take what the kernel says they take, within a tenth", () => {
    const processors =
      Number(/(\d+)\s*$/.exec(readFileSync("/sys/devices/system/cpu/possible", "utf8"))?.[1]) + 1;
    const makes = shapes.map(
      ([type, key, value, entries, flags], i) =>
        `bpftool map create $d/m${i} type ${words[type]} key ${key} value ${value} entries ${entries} name m${i} flags ${flags}; bpftool map show pinned $d/m${i} -j`,
    );
    const script = [
      "set -e",
      "d=$(mktemp -d)",
      "mount -t bpf bpf $d",
      ...makes,
      "umount $d",
      "rmdir $d",
    ].join("\n");
    const told = run(["unshare", "--mount", "sh", "-c", script])
      .trim()
      .split(/(?<=\})\s*(?=\{)/)
      .map((text) => (JSON.parse(text) as { readonly bytes_memlock: number }).bytes_memlock);
    const wrong = shapes.filter(([type, keySize, valueSize, maxEntries, flags], i) => {
      const shape = { name: "m", type: MapType[type], keySize, valueSize, maxEntries, flags };
      return Math.abs(mapBytes(shape, 0, processors) / (told[i] ?? 0) - 1) > 0.1;
    });
    expect(told).toHaveLength(shapes.length);
    expect(wrong).toEqual([]);
  });
});
