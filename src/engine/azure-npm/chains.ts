/**
 * NPM's chains in table filter: static rules, policy chains and their jumps. Governing source:
 * azure-container-networking npm/pkg/dataplane/policies (chain-management_linux.go, policymanager_linux.go).
 */
import type { Origin } from "../../base/index.ts";
import { type Chain, CtStateBit, type Match, type Rule, type Target } from "../../filter/iptables/index.ts";
import type { Acl, Direction, SetMatch, SetName, TranslatedPolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

export const npmChain = {
  entry: "AZURE-NPM",
  ingress: "AZURE-NPM-INGRESS",
  allowMark: "AZURE-NPM-INGRESS-ALLOW-MARK",
  egress: "AZURE-NPM-EGRESS",
  accept: "AZURE-NPM-ACCEPT",
} as const;

const base: Origin = { kind: "engine", name: "azure-npm", path: "", role: "base" };
const denies = (direction: Direction): Origin => ({ ...base, role: "deny", direction });

/** Bytes of a comment that the kernel keeps; iptables cuts longer ones off without a word (XT_MAX_COMMENT_LEN). */
const commentMax = 255;
const comment = (text: string): Match => ({ kind: "comment", text: text.slice(0, commentMax) });
const jump = (chain: string): Target => ({ kind: "jump", chain });
const protocolNumber = { TCP: 6, UDP: 17, SCTP: 132 } as const;
const transport = { TCP: "tcp", UDP: "udp", SCTP: "sctp" } as const;

export type KernelName = (set: SetName) => string;

/** The jump into NPM: only new connections get there. */
export const forwardJump: Rule = {
  matches: [{ kind: "ctstate", states: CtStateBit.NEW }],
  target: jump(npmChain.entry),
  origin: base,
};

/** Rules of AZURE-NPM; there as long as there is a policy. */
export const activeRules: readonly Rule[] = [npmChain.ingress, npmChain.egress, npmChain.accept].map(
  (chain) => ({
    matches: [],
    target: jump(chain),
    origin: base,
  }),
);

export interface StaticRules {
  readonly ingressTail: readonly Rule[];
  readonly egressTail: readonly Rule[];
  readonly allowMark: readonly Rule[];
  readonly accept: readonly Rule[];
}

/** What stands behind the policies' jumps, and the two small chains. */
export function staticRules({ marks }: NpmVariant): StaticRules {
  const { ingressAllow, ingressDrop, egressDrop, mask, text, isCleared } = marks;
  const onMark = (value: number, words: string, target: Target, origin: Origin): Rule => ({
    matches: [{ kind: "mark", value, mask: mask(value) }, comment(`${words}-${text(value)}`)],
    target,
    origin,
  });
  const clear: Rule = {
    matches: [comment("CLEAR-AZURE-NPM-MARKS")],
    target: { kind: "MARK", value: 0, mask: 0xffffffff },
    origin: base,
  };
  return {
    ingressTail: [onMark(ingressDrop, "DROP-ON-INGRESS-DROP-MARK", { kind: "DROP" }, denies("ingress"))],
    egressTail: [
      onMark(egressDrop, "DROP-ON-EGRESS-DROP-MARK", { kind: "DROP" }, denies("egress")),
      onMark(ingressAllow, "ACCEPT-ON-INGRESS-ALLOW-MARK", jump(npmChain.accept), base),
    ],
    allowMark: [
      {
        matches: [comment(`SET-INGRESS-ALLOW-MARK-${text(ingressAllow)}`)],
        target: { kind: "MARK", value: ingressAllow, mask: mask(ingressAllow) },
        origin: base,
      },
      { matches: [], target: jump(npmChain.egress), origin: base },
    ],
    accept: [...(isCleared ? [clear] : []), { matches: [], target: { kind: "ACCEPT" }, origin: base }],
  };
}

/** A policy's chain of one direction, and the jump to it. */
export interface PolicyChain {
  readonly direction: Direction;
  readonly chain: string;
  readonly rules: readonly Rule[];
  readonly jump: Rule;
}

export function policyChains(
  policy: TranslatedPolicy,
  variant: NpmVariant,
  kernelName: KernelName,
): readonly PolicyChain[] {
  const digest = variant.naming.chainDigest(policy.key);
  const chains: PolicyChain[] = [];
  for (const direction of ["ingress", "egress"] as const) {
    const acls = policy.acls.filter((acl) => acl.direction === direction);
    if (acls.length === 0) continue;
    const chain = `${direction === "ingress" ? npmChain.ingress : npmChain.egress}-${digest}`;
    const rules = acls.map((acl) => aclRule(acl, variant, kernelName));
    chains.push({ direction, chain, rules, jump: jumpRule(policy, direction, chain, kernelName) });
  }
  return chains;
}

function jumpRule(
  policy: TranslatedPolicy,
  direction: Direction,
  chain: string,
  kernelName: KernelName,
): Rule {
  const flag = direction === "ingress" ? "dst" : "src";
  const words = direction === "ingress" ? ["INGRESS", "TO"] : ["EGRESS", "FROM"];
  const sets = policy.selector.map(setWord).join("-AND-");
  return {
    matches: [
      ...policy.selector.map((match) => setMatch(match, [flag], kernelName)),
      comment(`${words[0]}-POLICY-${policy.key}-${words[1]}-${sets}-IN-ns-${policy.namespace}`),
    ],
    target: jump(chain),
    origin: { ...policy.selectOrigin, direction },
  };
}

function aclRule(acl: Acl, variant: NpmVariant, kernelName: KernelName): Rule {
  const matches: Match[] = [];
  if (acl.protocol !== undefined) {
    matches.push({ kind: "protocol", protocol: protocolNumber[acl.protocol] });
    if (acl.ports !== undefined) {
      const [min, max] = acl.ports;
      matches.push({ kind: "transport", protocol: transport[acl.protocol] }, { kind: "dport", min, max });
    }
  }
  const flag = acl.direction === "ingress" ? "src" : "dst";
  for (const peer of acl.peers) matches.push(setMatch(peer, [flag], kernelName));
  if (acl.namedPort !== undefined) matches.push(setMatch(acl.namedPort, ["dst", "dst"], kernelName));
  matches.push(comment(aclComment(acl)));
  return { matches, target: aclTarget(acl, variant), origin: acl.origin };
}

function aclTarget({ action, direction }: Acl, { marks }: NpmVariant): Target {
  if (action === "allow") return jump(direction === "ingress" ? npmChain.allowMark : npmChain.accept);
  const value = direction === "ingress" ? marks.ingressDrop : marks.egressDrop;
  return { kind: "MARK", value, mask: marks.mask(value) };
}

function setMatch(
  { set, isIncluded }: SetMatch,
  flags: readonly ("src" | "dst")[],
  kernelName: KernelName,
): Match {
  return { kind: "set", set: kernelName(set), flags, ...(isIncluded ? {} : { not: true }) };
}

function setWord({ set, isIncluded }: SetMatch): string {
  return `${isIncluded ? "" : "!"}${set.text}`;
}

function aclComment(acl: Acl): string {
  const side = acl.direction === "ingress" ? "FROM" : "TO";
  let text = acl.action === "allow" ? "ALLOW" : "DROP";
  text += acl.peers.length === 0 ? "-ALL" : `-${side}-${acl.peers.map(setWord).join("-AND-")}`;
  if (acl.protocol !== undefined) text += `-ON-${acl.protocol}`;
  if (acl.ports !== undefined)
    text += `-TO-PORT-${acl.ports[0]}${acl.ports[1] === acl.ports[0] ? "" : `:${acl.ports[1]}`}`;
  if (acl.namedPort !== undefined) text += `-TO-${acl.namedPort.set.text}`;
  return text;
}

/**
 * NPM's chains for policies in the order of their creation; the newest policy's jump comes first. Of two policies with
 * one chain name the later one's rules are in the chain, and both jumps lead there.
 */
export function npmChains(
  policies: readonly TranslatedPolicy[],
  variant: NpmVariant,
  kernelName: KernelName,
): readonly Chain[] {
  const fixed = staticRules(variant);
  const own = policies.flatMap((policy) => policyChains(policy, variant, kernelName));
  const jumps = (direction: Direction): readonly Rule[] =>
    own
      .filter((chain) => chain.direction === direction)
      .map((chain) => chain.jump)
      .reverse();
  return [
    { name: npmChain.entry, rules: policies.length > 0 ? activeRules : [] },
    { name: npmChain.ingress, rules: [...jumps("ingress"), ...fixed.ingressTail] },
    { name: npmChain.allowMark, rules: fixed.allowMark },
    { name: npmChain.egress, rules: [...jumps("egress"), ...fixed.egressTail] },
    { name: npmChain.accept, rules: fixed.accept },
    ...[...new Map(own.map(({ chain, rules }) => [chain, { name: chain, rules }])).values()],
  ];
}

/** Where the jump goes in FORWARD, counted from 1: first, or right behind kube-proxy's jump to KUBE-SERVICES. */
export function jumpNumber(forward: readonly Rule[], placeFirst: boolean): number {
  if (placeFirst) return 1;
  const services = forward.findIndex(
    ({ target }) => target?.kind === "jump" && target.chain === "KUBE-SERVICES",
  );
  return services < 0 ? 1 : services + 2;
}
