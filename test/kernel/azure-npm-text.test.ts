/**
 * NPM's own input given to the real tools: restore files with the tokens in NPM's order and spelling go in, and what
 * iptables-save and ipset save print then is what `compile` says they print.
 */
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { npmChain, policyChains } from "../../src/engine/azure-npm/chains.ts";
import { SetCache } from "../../src/engine/azure-npm/sets.ts";
import {
  type Acl,
  type SetMatch,
  type TranslatedPolicy,
  translatePolicy,
} from "../../src/engine/azure-npm/translate.ts";
import { type NpmVariant, npmVariant } from "../../src/engine/azure-npm/versions.ts";
import { platformTables } from "../../src/engine/platform/index.ts";
import { entryText, type IpsetRepr, saveIpsets } from "../../src/filter/ipset/index.ts";
import { saveRuleset } from "../../src/filter/iptables/index.ts";
import { clusterObjects, clusterOf, type ProductSelection, parseSelection } from "../../src/harness/index.ts";
import type { ClusterState } from "../../src/k8s/index.ts";
import { describeNeeding } from "../needs.ts";

const netns = `podwire-npm-text-${process.pid}`;

function run(command: readonly string[], input = ""): string {
  const [tool = "", ...args] = command;
  const { status, stdout, stderr } = spawnSync("ip", ["netns", "exec", netns, tool, ...args], {
    input,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}\n${input}`);
  return stdout;
}

/** The kernel lets go of sets a little after the rules that named them are gone. */
function clear(backend: string): void {
  run([`iptables-${backend}`, "-F"]);
  run([`iptables-${backend}`, "-X"]);
  run(["ipset", "flush"]);
  for (let left = 50; ; left--) {
    try {
      run(["ipset", "destroy"]);
      return;
    } catch (error) {
      if (left === 0) throw error;
      spawnSync("sleep", ["0.05"]);
    }
  }
}

const types: Readonly<Record<string, string>> = {
  "hash:net": "nethash",
  "hash:ip,port": "hash:ip,port",
  "list:set": "setlist",
};

/** NPM's `ipset restore` input: all creations, then all members. */
function setInput(sets: readonly IpsetRepr[]): string {
  const creates = sets.map(
    ({ name, type, title }) =>
      `-N ${name} --exist ${types[type]}${title?.startsWith("cidr-") ? " maxelem 4294967295" : ""}`,
  );
  const adds = sets.flatMap(({ name, entries }) =>
    entries.map(
      (entry) =>
        `-A ${name} ${entryText(entry).replace(/,(tcp|udp|sctp):/, (protocol) => protocol.toUpperCase())}`,
    ),
  );
  return [...creates, ...adds].map((line) => `${line}\n`).join("");
}

/** NPM's `iptables-restore --noflush` input for policies, one after another, as its policy manager writes lines. */
function ruleInput(policies: readonly TranslatedPolicy[], variant: NpmVariant, cache: SetCache): string {
  const { marks } = variant;
  const mark = (value: number): string => marks.text(value);
  const set = ({ set: name, isIncluded }: SetMatch, flags: string): string =>
    `-m set ${isIncluded ? "" : "! "}--match-set ${cache.kernelName(name)} ${flags}`;
  const words = (peers: readonly SetMatch[]): string =>
    peers.map(({ set: name, isIncluded }) => `${isIncluded ? "" : "!"}${name.text}`).join("-AND-");
  const rule = ({ direction, action, protocol, ports, peers, namedPort }: Acl): string => {
    const isIn = direction === "ingress";
    const range = ports?.[0] === ports?.[1] ? `${ports?.[0]}` : `${ports?.[0]}:${ports?.[1]}`;
    const target =
      action === "drop"
        ? `MARK --set-mark ${mark(isIn ? marks.ingressDrop : marks.egressDrop)}`
        : isIn
          ? npmChain.allowMark
          : npmChain.accept;
    const comment = [
      action === "drop" ? "DROP" : "ALLOW",
      peers.length === 0 ? "-ALL" : `-${isIn ? "FROM" : "TO"}-${words(peers)}`,
      protocol === undefined ? "" : `-ON-${protocol}`,
      ports === undefined ? "" : `-TO-PORT-${range}`,
      namedPort === undefined ? "" : `-TO-${namedPort.set.text}`,
    ].join("");
    return [
      `-j ${target}`,
      protocol === undefined ? "" : `-p ${protocol}`,
      ports === undefined ? "" : `--dport ${range}`,
      ...peers.map((peer) => set(peer, isIn ? "src" : "dst")),
      namedPort === undefined ? "" : set(namedPort, "dst,dst"),
      `-m comment --comment ${comment}`,
    ]
      .filter((part) => part !== "")
      .join(" ");
  };
  const lines = [
    ...Object.values(npmChain).map((chain) => `:${chain} - -`),
    `-A ${npmChain.ingress} -j DROP -m mark --mark ${mark(marks.ingressDrop)} -m comment --comment DROP-ON-INGRESS-DROP-MARK-${mark(marks.ingressDrop)}`,
    `-A ${npmChain.allowMark} -j MARK --set-mark ${mark(marks.ingressAllow)} -m comment --comment SET-INGRESS-ALLOW-MARK-${mark(marks.ingressAllow)}`,
    `-A ${npmChain.allowMark} -j ${npmChain.egress}`,
    `-A ${npmChain.egress} -j DROP -m mark --mark ${mark(marks.egressDrop)} -m comment --comment DROP-ON-EGRESS-DROP-MARK-${mark(marks.egressDrop)}`,
    `-A ${npmChain.egress} -j ${npmChain.accept} -m mark --mark ${mark(marks.ingressAllow)} -m comment --comment ACCEPT-ON-INGRESS-ALLOW-MARK-${mark(marks.ingressAllow)}`,
    ...(marks.isCleared
      ? [`-A ${npmChain.accept} -j MARK --set-mark 0x0 -m comment --comment CLEAR-AZURE-NPM-MARKS`]
      : []),
    `-A ${npmChain.accept} -j ACCEPT`,
  ];
  policies.forEach((policy, i) => {
    const chains = policyChains(policy, variant, (name) => cache.kernelName(name));
    lines.push(...chains.map(({ chain }) => `:${chain} - -`));
    if (i === 0)
      lines.push(
        `-F ${npmChain.entry}`,
        ...[npmChain.ingress, npmChain.egress, npmChain.accept].map(
          (chain) => `-A ${npmChain.entry} -j ${chain}`,
        ),
      );
    for (const { chain, direction } of chains)
      for (const acl of policy.acls.filter((one) => one.direction === direction))
        lines.push(`-A ${chain} ${rule(acl)}`);
    for (const { chain, direction } of chains) {
      const [parent, flag, word, preposition] =
        direction === "ingress"
          ? [npmChain.ingress, "dst", "INGRESS", "TO"]
          : [npmChain.egress, "src", "EGRESS", "FROM"];
      const sets = policy.selector.map((match) => set(match, flag)).join(" ");
      lines.push(
        `-I ${parent} 1 -j ${chain} ${sets} -m comment --comment ${word}-POLICY-${policy.key}-${preposition}-${words(policy.selector)}-IN-ns-${policy.namespace}`,
      );
    }
  });
  return `*filter\n${lines.join("\n")}\nCOMMIT\n`;
}

/** Rules of NPM's chains, in the order of the text; which chain comes first is the backend's affair. */
function npmRules(text: string): readonly string[] {
  const rules = text.split("\n").filter((line) => line.startsWith("-A AZURE-NPM"));
  const chain = (line: string): string => line.split(" ")[1] ?? "";
  return [...rules.entries()]
    .sort(([i, a], [j, b]) => (chain(a) === chain(b) ? i - j : chain(a) < chain(b) ? -1 : 1))
    .map(([, line]) => line);
}

function npmSets(text: string): readonly string[] {
  return text
    .split("\n")
    .filter((line) => line.includes(" azure-npm-"))
    .map((line) =>
      line
        .replace(/ bucketsize \S+/, "")
        .replace(/ initval \S+/, "")
        .replace(/hashsize \d+/, "hashsize N"),
    )
    .sort();
}

describeNeeding(
  "NPM's restore files in the real tools",
  ["root", "iptables", "iptables-nft", "ipset", "ip"],
  () => {
    beforeAll(() => {
      spawnSync("ip", ["netns", "add", netns]);
    });
    afterAll(() => {
      spawnSync("ip", ["netns", "del", netns]);
    });

    function compare(
      state: ClusterState,
      selection: ProductSelection,
      variant: NpmVariant,
      backend: string,
    ): void {
      const node = state.nodes.get("n1");
      const engine = selection.engines.linux;
      if (node === undefined || engine === undefined) throw new Error("there is a node, and NPM runs on it");
      const { tables } = engine.compile(state)(node, platformTables(state, node));
      const own = tables.iptables;
      if (own === undefined) throw new Error("a Linux node has iptables");
      const sets = [...own.sets.values()].filter(({ name }) => name.startsWith("azure-npm-"));
      const cache = new SetCache(variant);
      const policies = [...state.networkPolicies.values()].flatMap((policy) => {
        const translation = translatePolicy(policy, variant);
        return translation.ok ? [translation.policy] : [];
      });
      clear(backend);
      run(["ipset", "restore"], setInput(sets));
      run([`iptables-${backend}-restore`, "--noflush"], ruleInput(policies, variant, cache));
      expect(npmRules(run([`iptables-${backend}-save`, "-t", "filter"]))).toEqual(
        npmRules(saveRuleset(own.v4)),
      );
      expect(npmSets(run(["ipset", "save"]))).toEqual(npmSets(saveIpsets(sets)));
      clear(backend);
    }

    it.each([
      { backend: "legacy", version: "2026-08", runs: 25 },
      { backend: "nft", version: "2026-08", runs: 15 },
      { backend: "legacy", version: "2022-04", runs: 10 },
      { backend: "nft", version: "2026-09", runs: 10 },
    ])(
      "print, on $backend and as $version, what compile says ($runs clusters)",
      { timeout: 300_000 },
      ({ backend, version, runs }) => {
        const selection = parseSelection(`azure-npm@${version}`) as ProductSelection;
        for (const objects of fc.sample(clusterObjects({ podsMax: 5, policiesMax: 4 }), {
          numRuns: runs,
          seed: 77,
        }))
          compare(clusterOf(objects, selection.aks).state, selection, npmVariant(version, {}), backend);
      },
    );
  },
);
