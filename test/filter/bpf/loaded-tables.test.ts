/** A node's BPF while it runs: loaded, loaded again, maps made and taken away, everything taken away. */
import { describe, expect, it } from "vitest";
import {
  type BpfDatapath,
  type BpfOp,
  type BpfTables,
  linkBpf,
  type MapEntry,
  type MapRepr,
  MapType,
  noBpfTables,
  ProgramBuilder,
  ProgramType,
  r0,
} from "../../../src/filter/bpf/index.ts";
import { type ApplyResult, CompositeDatapath, Hook } from "../../../src/filter/index.ts";
import { linkContext } from "../node.ts";

const word = (value: number): Uint8Array => Uint8Array.of(value, 0, 0, 0);
const entry = (key: number, value: number): MapEntry => ({ key: word(key), value: word(value) });
const hash = (name: string, entries: readonly MapEntry[]): MapRepr => ({
  name,
  type: MapType.hash,
  keySize: 4,
  valueSize: 4,
  maxEntries: 8,
  flags: 0,
  entries,
});
const outer = (entries: readonly MapEntry[]): MapRepr => ({
  ...hash("outer", entries),
  type: MapType.hashOfMaps,
  inner: hash("", []),
});
const pass = new ProgramBuilder().mov(r0, 0).exit().build();
const tables = (maps: readonly MapRepr[]): BpfTables => ({
  maps,
  programs: [{ name: "pass", type: ProgramType.schedCls, instructions: pass }],
  attachments: [{ kind: "tc", direction: "ingress", interface: "eth0", program: 0 }],
});

const apply = (datapath: BpfDatapath, op: BpfOp): ApplyResult => datapath.apply(op);

/** By map name; values of maps of maps as names. */
function contents(datapath: BpfDatapath): Readonly<Record<string, readonly string[]>> {
  const { maps } = datapath.tables();
  return Object.fromEntries(
    maps.map(({ name, type, entries, base = [] }) => [
      name,
      [...base, ...entries].map(({ key, value }) => {
        const target = type === MapType.hashOfMaps ? maps[value[0] ?? -1]?.name : value[0];
        return `${key[0]}=${target}`;
      }),
    ]),
  );
}

describe("tables loaded onto a running node", () => {
  it("attach their programs, also where none were before, and take them away again", () => {
    const datapath = linkBpf(noBpfTables, linkContext());
    const whole = new CompositeDatapath([{ datapath, ops: ["bpf-load"] }]);
    expect(whole.hooks).toEqual([]);
    expect(apply(datapath, { kind: "bpf-load", tables: tables([hash("a", [entry(1, 2)])]) })).toEqual({
      ok: true,
    });
    expect(whole.hooks).toEqual([Hook.tcIngress]);
    expect(contents(datapath)).toEqual({ a: ["1=2"] });
    apply(datapath, { kind: "bpf-load", tables: noBpfTables });
    expect(whole.hooks).toEqual([]);
    expect(contents(datapath)).toEqual({});
  });

  it("forget the clients that their maps remember, and nothing else", () => {
    const clients: MapRepr = { ...hash("clients", []), type: MapType.lruHash, remembersClients: true };
    const datapath = linkBpf(tables([clients, hash("a", [entry(1, 2)])]), linkContext());
    const come = (client: number): void => {
      const written = { key: word(client), value: word(7) };
      expect(apply(datapath, { kind: "bpf-map", op: "update", map: "clients", ...written })).toEqual({
        ok: true,
      });
    };
    for (const client of [1, 2, 3]) come(client);
    expect(contents(datapath)["clients"]).toEqual(["1=7", "2=7", "3=7"]);
    datapath.forgetClients();
    expect(contents(datapath)).toEqual({ clients: [], a: ["1=2"] });
    come(2);
    expect(contents(datapath)["clients"]).toEqual(["2=7"]);
  });

  it("find maps of the same name and shape as they were left, and make anew those of another shape", () => {
    const datapath = linkBpf(tables([hash("a", [entry(1, 2)]), hash("b", [entry(3, 4)])]), linkContext());
    apply(datapath, { kind: "bpf-map", op: "update", map: "a", key: word(9), value: word(9) });
    const again = tables([
      { ...hash("b", [entry(3, 5)]), maxEntries: 9 },
      hash("a", [entry(1, 7)]),
      hash("c", []),
    ]);
    apply(datapath, { kind: "bpf-load", tables: again });
    expect(contents(datapath)).toEqual({ b: ["3=5"], a: ["1=2", "9=9"], c: [] });
  });

  it("name inner maps by their place, wherever they stand among those that were there", () => {
    const datapath = linkBpf(tables([hash("a", []), hash("b", [])]), linkContext());
    apply(datapath, {
      kind: "bpf-load",
      tables: tables([outer([entry(1, 2), entry(2, 1)]), hash("b", []), hash("c", [])]),
    });
    expect(contents(datapath)).toEqual({ outer: ["1=c", "2=b"], b: [], c: [], a: [] });
  });
});

describe("maps made at run time", () => {
  it("are inner maps as soon as they are there, and gone when destroyed", () => {
    const datapath = linkBpf(tables([outer([]), hash("a", [])]), linkContext());
    const put = (inner: string): unknown =>
      apply(datapath, { kind: "bpf-map", op: "update", map: "outer", key: word(1), inner });
    expect(put("new")).toMatchObject({ ok: false, errno: "ENOENT" });
    expect(apply(datapath, { kind: "bpf-pin", op: "create", map: hash("new", [entry(5, 6)]) })).toEqual({
      ok: true,
    });
    expect(apply(datapath, { kind: "bpf-pin", op: "create", map: hash("new", []) })).toMatchObject({
      errno: "EEXIST",
    });
    expect(put("new")).toEqual({ ok: true });
    expect(contents(datapath)).toEqual({ outer: ["1=new"], a: [], new: ["5=6"] });
    expect(put("a")).toEqual({ ok: true });
    expect(apply(datapath, { kind: "bpf-pin", op: "destroy", map: hash("new", []) })).toEqual({ ok: true });
    expect(apply(datapath, { kind: "bpf-pin", op: "destroy", map: hash("new", []) })).toMatchObject({
      errno: "ENOENT",
    });
    expect(contents(datapath)).toEqual({ outer: ["1=a"], a: [] });
  });
});

describe("entries that name interfaces", () => {
  it("look the node's interfaces through once, and again when some have come", () => {
    const context = linkContext();
    const facts = { ...context.facts, generation: 7 };
    let looked = 0;
    const counted = (count: number) =>
      Array.from({ length: count }, (_, i) => ({
        index: i + 1,
        addresses: [],
        isLoopback: false,
        get name() {
          looked++;
          return `azv${i}`;
        },
      }));
    facts.interfaces = counted(200);
    const naming = (i: number): MapEntry => ({
      key: word(i),
      value: word(0),
      interfaceAt: { offset: 0, name: `azv${i}` },
    });
    const map = {
      ...hash(
        "lxc",
        Array.from({ length: 200 }, (_, i) => naming(i)),
      ),
      maxEntries: 300,
    };
    const datapath = linkBpf(tables([map]), { ...context, facts });
    expect(contents(datapath)["lxc"]).toEqual(Array.from({ length: 200 }, (_, i) => `${i}=${i + 1}`));
    expect(looked).toBe(200);
    Object.assign(facts, { generation: 8, interfaces: counted(201) });
    const { key, value, interfaceAt } = naming(200);
    const late = { kind: "bpf-map", op: "update", map: "lxc", key, value, interfaceAt } as const;
    expect(apply(datapath, late as BpfOp)).toEqual({ ok: true });
    expect(contents(datapath)["lxc"]).toContain("200=201");
  });
});
