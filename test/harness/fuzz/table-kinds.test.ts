/**
 * Every kind of match, target and set is drawn by the search for rule sets, or stands here with what is looked at instead.
 * The tables are complete by their types: a new kind needs an entry.
 */
import { expect, it } from "vitest";
import { createPrng } from "../../../src/base/index.ts";
import { type IpsetType, restoreIpsets } from "../../../src/filter/ipset/index.ts";
import { type Match, restoreRuleset, type Target } from "../../../src/filter/iptables/index.ts";
import { drawTables } from "../../../src/harness/fuzz/tables.ts";

/** `undefined`: drawn. */
type Kinds<K extends string> = { readonly [P in K]: string | undefined };

const injectorsProcess =
  "the kernel sees the injector's process, the emulator none: forms in test/kernel/iptables-text.test.ts";
const absentType = "no kernel of the checks has it: lookups in test/filter/ipset/sets.test.ts";

const matches: Kinds<Match["kind"]> = {
  source: undefined,
  destination: undefined,
  "in-interface": undefined,
  "out-interface": undefined,
  protocol: undefined,
  fragment: undefined,
  sport: undefined,
  dport: undefined,
  multiport: undefined,
  transport: undefined,
  "tcp-option": undefined,
  "tcp-flags": undefined,
  "sctp-chunks": undefined,
  "icmp-type": undefined,
  "tcp-mss": undefined,
  addrtype: undefined,
  iprange: undefined,
  rpfilter: undefined,
  mac: undefined,
  pkttype: undefined,
  length: undefined,
  ttl: undefined,
  tos: undefined,
  dscp: undefined,
  ecn: undefined,
  u32: undefined,
  bpf: undefined,
  ctstate: undefined,
  conntrack: undefined,
  connmark: undefined,
  connbytes: undefined,
  set: undefined,
  limit: undefined,
  hashlimit: undefined,
  recent: undefined,
  statistic: undefined,
  time: undefined,
  quota: undefined,
  mark: undefined,
  owner: injectorsProcess,
  socket: undefined,
  cgroup: injectorsProcess,
  physdev: undefined,
  comment: undefined,
};

const targets: Kinds<Target["kind"]> = {
  ACCEPT: undefined,
  DROP: undefined,
  RETURN: undefined,
  REJECT: undefined,
  jump: undefined,
  goto: undefined,
  MARK: undefined,
  CONNMARK: undefined,
  LOG: undefined,
  NFLOG: undefined,
  TRACE: undefined,
  NFQUEUE: undefined,
  DNAT: undefined,
  SNAT: undefined,
  MASQUERADE: undefined,
  REDIRECT: undefined,
  NETMAP: undefined,
  TPROXY: undefined,
  NOTRACK: undefined,
  CT: undefined,
  SET: undefined,
  TTL: undefined,
  TOS: undefined,
  DSCP: undefined,
  TCPMSS: undefined,
  CLASSIFY: undefined,
  CHECKSUM: undefined,
  AUDIT: "writes into the log of the whole system: forms in test/kernel/iptables-text.test.ts",
};

const sets: Kinds<IpsetType> = {
  "hash:ip": undefined,
  "hash:net": undefined,
  "hash:ip,port": undefined,
  "hash:net,port": undefined,
  "hash:ip,port,ip": undefined,
  "hash:ip,port,net": undefined,
  "hash:net,iface": undefined,
  "hash:net,net": absentType,
  "hash:net,port,net": absentType,
  "hash:ip,mark": absentType,
  "bitmap:ip": undefined,
  "bitmap:port": undefined,
  "list:set": undefined,
};

interface Drawn {
  readonly matches: Set<string>;
  readonly targets: Set<string>;
  readonly sets: Set<string>;
}

/** What so many rule sets have, by family. */
function drawn(count: number): Readonly<Record<4 | 6, Drawn>> {
  const none = (): Drawn => ({ matches: new Set(), targets: new Set(), sets: new Set() });
  const all = { 4: none(), 6: none() };
  for (let i = 0; i < count; i++) {
    const { v4 = "", v6 = "", sets: text = "" } = drawTables(createPrng(i));
    for (const { family, type } of restoreIpsets(text, "sets").values())
      for (const one of type === "list:set" || type === "bitmap:port" ? [4, 6] : [family])
        all[one as 4 | 6].sets.add(type);
    for (const rules of [restoreRuleset(v4, "v4", 4), restoreRuleset(v6, "v6", 6)])
      for (const { chains } of Object.values(rules.tables))
        for (const { matches: asked, target } of chains.flatMap((chain) => chain.rules)) {
          for (const { kind } of asked) all[rules.family].matches.add(kind);
          if (target !== undefined) all[rules.family].targets.add(target.kind);
        }
  }
  return all;
}

const drawnKinds = (kinds: Kinds<string>, others: readonly string[] = []): readonly string[] =>
  Object.keys(kinds)
    .filter((kind) => kinds[kind] === undefined && !others.includes(kind))
    .sort();

it("the search for rule sets draws every kind that is not excused, in both families", () => {
  const all = drawn(200);
  for (const family of [4, 6] as const) {
    const seen = all[family];
    expect([...seen.matches].sort()).toEqual(drawnKinds(matches, family === 6 ? ["fragment"] : []));
    expect([...seen.targets].sort()).toEqual(drawnKinds(targets));
    expect([...seen.sets].sort()).toEqual(drawnKinds(sets, family === 6 ? ["bitmap:ip"] : []));
  }
});
