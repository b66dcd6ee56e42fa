/** The datapath's maps: shapes that the kernel takes, at the places that programs name, with layouts that fill them. */
import { describe, expect, it } from "vitest";
import { ipcacheEntry, lxcEntry } from "../../../src/engine/cilium/entries.ts";
import { datapathMaps, firstPolicyPlace, MapPlace } from "../../../src/engine/cilium/maps.ts";
import { BpfSpace, linkBpf } from "../../../src/filter/bpf/index.ts";
import { ip, linkContext } from "../../filter/node.ts";

const maps = datapathMaps({ generation: "G2", policyMapMax: 16_384 });

describe("the datapath's maps", () => {
  it("are of shapes that the kernel takes", () => {
    const space = new BpfSpace();
    for (const shape of maps) expect(space.createMap(shape)).toBeGreaterThanOrEqual(0);
  });

  it("stand at their places, the policy maps behind them", () => {
    expect(maps.length).toBe(firstPolicyPlace);
    expect(maps[MapPlace.lxc]?.name).toBe("cilium_lxc");
    expect(maps[MapPlace.snat6]?.name).toBe("cilium_snat_v6_external");
    expect(new Set(Object.values(MapPlace)).size).toBe(maps.length);
  });

  it("have layouts whose fields lie in their keys and values and do not overlap", () => {
    for (const { name, keySize, valueSize, layout } of maps)
      for (const [fields, size] of [
        [layout?.key ?? [], keySize],
        [layout?.value ?? [], valueSize],
      ] as const) {
        const bytes = fields.flatMap((one) => Array.from({ length: one.size }, (_, i) => one.offset + i));
        expect(new Set(bytes).size, name).toBe(bytes.length);
        expect(Math.max(-1, ...bytes), name).toBeLessThan(size);
      }
  });

  it("hold an endpoint with its interface's number on the node where they are linked", () => {
    const entry = lxcEntry({ ip: ip("10.0.0.5"), id: 7, identity: 300, interface: "azv22" });
    const datapath = linkBpf(
      {
        maps: maps.map((map, place) => ({ ...map, entries: place === MapPlace.lxc ? [entry] : [] })),
        programs: [],
        attachments: [],
      },
      linkContext(),
    );
    const held = datapath.tables().maps[MapPlace.lxc]?.entries[0]?.value ?? new Uint8Array(48);
    expect(new DataView(held.buffer).getUint32(0, true)).toBe(4);
    const op = { kind: "bpf-map", op: "update", map: "cilium_lxc" } as const;
    const other = lxcEntry({ ip: ip("10.0.0.6"), id: 8, identity: 300, interface: "azv1" });
    expect(datapath.apply({ ...op, ...other } as typeof op).ok).toBe(true);
    const second = datapath.tables().maps[MapPlace.lxc]?.entries[1]?.value ?? new Uint8Array(48);
    expect(new DataView(second.buffer).getUint32(0, true)).toBe(3);
  });

  it("know a prefix by its length behind the family", () => {
    const { key } = ipcacheEntry({ ...ip("10.1.0.0"), prefix: 16 }, 16_777_217);
    expect([...key]).toEqual([48, 0, 0, 0, 0, 0, 0, 1, 10, 1, 0, 0, ...new Array<number>(12).fill(0)]);
  });
});
