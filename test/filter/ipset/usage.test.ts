/** Sizes of sets against what `ipset list -t` of a 64-bit kernel (6.18) says. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ipsetBytes, ipsetUsage, restoreIpsets } from "../../../src/filter/ipset/index.ts";
import { runs } from "../../runs.ts";

function setOf(
  header: string,
  members: readonly string[] = [],
): ReturnType<typeof ipsetUsage> & { size: number } {
  const text = [`create s ${header}`, ...members.map((member) => `add s ${member}`)].join("\n");
  const set = restoreIpsets(`create m hash:ip\n${text}\n`, "t").get("s");
  if (set === undefined) throw new RangeError("no set");
  return { ...ipsetUsage(set), size: ipsetBytes(set) };
}

const addresses = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, i) => `10.${224 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`);

describe("a set's size", () => {
  it.each([
    ["hash:ip", [], 216],
    ["hash:ip", ["10.0.0.1"], 256],
    ["hash:ip family inet6", ["fd00::1"], 288],
    ["hash:ip hashsize 16384", [], 576],
    ["hash:net", [], 456],
    ["hash:net", ["10.0.0.1"], 504],
    ["hash:net family inet6", ["fd00::1"], 1312],
    ["hash:ip,port", ["10.0.0.1,tcp:80"], 264],
    ["hash:net,port", ["10.0.0.1,tcp:80"], 504],
    ["hash:ip,port,ip", ["10.0.0.1,tcp:80,10.0.0.2"], 264],
    ["hash:ip,port,net", ["10.0.0.1,tcp:80,10.0.0.2"], 520],
    ["hash:net,iface", ["10.0.0.1,eth0"], 576],
    ["hash:ip timeout 60", ["10.0.0.1"], 280],
    ["hash:net family inet6 timeout 60 comment", ["fd00::1"], 1352],
    ["hash:ip skbinfo", ["10.0.0.1"], 288],
    ["hash:ip counters comment skbinfo timeout 9", ["10.0.0.1"], 360],
    ["list:set", [], 80],
    ["list:set", ["m"], 128],
    ["list:set counters", ["m"], 144],
    ["bitmap:port range 0-65535", [], 8264],
    ["bitmap:port range 0-1023 counters", ["5"], 16_584],
    ["bitmap:ip range 10.0.0.0/16", [], 8280],
    ["bitmap:ip range 10.0.0.0-10.0.0.255 timeout 5", [], 2168],
  ] as const)("%s with %j is %d bytes", (header, members, bytes) => {
    expect(setOf(header, members).size).toBe(bytes);
  });

  // buckets are filled by chance: what one kernel had, once
  it.each([
    ["hash:ip", 1000, 28_936],
    ["hash:net", 4000, 108_648],
    ["hash:net", 10_000, 289_968],
    ["hash:ip", 20_000, 480_824],
    ["hash:net", 40_000, 1_156_704],
  ] as const)("%s with %d addresses is about %d bytes", (header, count, bytes) => {
    const { size } = setOf(header, addresses(count));
    expect(Math.abs(size / bytes - 1)).toBeLessThan(0.02);
  });

  it("law: grows with the members", () => {
    const law = fc.property(fc.nat({ max: 3000 }), fc.integer({ min: 1, max: 500 }), (count, more) => {
      const [few, many] = [setOf("hash:net", addresses(count)), setOf("hash:net", addresses(count + more))];
      expect(many.size).toBeGreaterThanOrEqual(few.size);
      expect(many.bytes ?? 0).toBeGreaterThan(few.size);
    });
    fc.assert(law, { ...runs(10) });
  });

  it("a hash says how many it holds, what is no hash does not", () => {
    expect(setOf("hash:ip maxelem 77", ["10.0.0.1"])).toMatchObject({ entries: 1, entriesMax: 77 });
    expect(setOf("list:set size 8", ["m"])).not.toHaveProperty("entriesMax");
  });
});
