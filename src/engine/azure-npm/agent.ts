/**
 * NPM's agent on a Linux node: watch events in, `ipset restore` and `iptables-restore` out, in the order that the real
 * one keeps: boot clears everything, sets come before the rules that name them, an update is a removal and an addition,
 * pods change sets only, and sets that nothing needs are collected every five minutes.
 */
import type { IpsetCommand } from "../../filter/ipset/index.ts";
import type {
  Chain,
  IpsetRestoreOp,
  IptablesRestoreOp,
  Rule,
  RuleCommand,
} from "../../filter/iptables/index.ts";
import type { ClusterState, NetworkPolicy } from "../../k8s/index.ts";
import type { Agent, AgentContext, WatchEvent } from "../engine.ts";
import { activeRules, forwardJump, jumpNumber, npmChain, policyChains, staticRules } from "./chains.ts";
import { translationDiagnostic } from "./linux.ts";
import { setPrefix } from "./naming.ts";
import { SetCache } from "./sets.ts";
import { type TranslatedPolicy, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** Reconcile task: garbage collection of sets and deletion of stale chains. */
const reconcileNs = 300e9;

export function createLinuxAgent(variant: NpmVariant, context: AgentContext): Agent {
  return new LinuxAgent(variant, context);
}

class LinuxAgent implements Agent {
  readonly #variant: NpmVariant;
  readonly #context: AgentContext;
  #cache: SetCache;
  readonly #policies = new Map<string, TranslatedPolicy>();
  /** Flushed chains of removed policies, waiting for the reconcile task. */
  readonly #stale = new Set<string>();

  constructor(variant: NpmVariant, context: AgentContext) {
    this.#variant = variant;
    this.#context = context;
    this.#cache = new SetCache(variant);
  }

  /** Boot: whatever an earlier life left is cleared, and until the policies are back nothing is enforced. */
  start(state: ClusterState): void {
    this.#clear();
    const fixed = staticRules(this.#variant);
    const append = (chain: string, rules: readonly Rule[]): readonly RuleCommand[] =>
      rules.map((rule) => ({ op: "append", chain, rule }));
    this.#rules([
      ...Object.values(npmChain).map((chain): RuleCommand => ({ op: "chain", chain })),
      ...append(npmChain.ingress, fixed.ingressTail),
      ...append(npmChain.allowMark, fixed.allowMark),
      ...append(npmChain.egress, fixed.egressTail),
      ...append(npmChain.accept, fixed.accept),
    ]);
    const number = jumpNumber(this.#forwardRules(), this.#variant.placeFirst);
    this.#rules([{ op: "insert", chain: "FORWARD", number, rule: forwardJump }]);
    for (const namespace of state.namespaces.values()) this.#cache.addNamespace(namespace);
    for (const pod of state.pods.values()) this.#cache.addPod(pod);
    this.#applySets();
    for (const policy of state.networkPolicies.values()) this.#addPolicy(policy);
    this.#context.wakeAt(this.#context.nowNs() + reconcileNs);
  }

  #forwardRules(): readonly Rule[] {
    return this.#filterChains().find((chain) => chain.name === "FORWARD")?.rules ?? [];
  }

  #filterChains(): readonly Chain[] {
    return this.#context.tables().iptables?.v4.tables.filter?.chains ?? [];
  }

  /** Removes every chain and set that bears NPM's name. */
  #clear(): void {
    this.#cache = new SetCache(this.#variant);
    this.#policies.clear();
    this.#stale.clear();
    const chains = this.#filterChains().filter((chain) => chain.name.startsWith(npmChain.entry));
    const jumps = this.#forwardRules().filter(
      ({ target }) => target?.kind === "jump" && target.chain === npmChain.entry,
    );
    this.#rules([
      ...jumps.map((rule): RuleCommand => ({ op: "delete", chain: "FORWARD", rule })),
      ...chains.map(({ name }): RuleCommand => ({ op: "flush", chain: name })),
      ...chains.map(({ name }): RuleCommand => ({ op: "delete-chain", chain: name })),
    ]);
    const sets = [...(this.#context.tables().iptables?.sets.keys() ?? [])].filter((name) =>
      name.startsWith(setPrefix),
    );
    const commands = [
      ...sets.map((name) => ({ op: "flush", name }) as const),
      ...sets.map((name) => ({ op: "destroy", name }) as const),
    ];
    if (commands.length > 0) this.#check(this.#context.apply(setOp(commands)), "ipset restore");
  }

  event(event: WatchEvent): void {
    const { type, object, old } = event;
    switch (object.kind) {
      case "Namespace":
        if (type === "deleted") this.#cache.removeNamespace(object);
        else if (type === "modified" && old?.kind === "Namespace") this.#cache.updateNamespace(old, object);
        else this.#cache.addNamespace(object);
        this.#applySets();
        break;
      case "Pod":
        if (type === "deleted") this.#cache.removePod(object);
        else if (type === "modified" && old?.kind === "Pod") this.#cache.updatePod(old, object);
        else this.#cache.addPod(object);
        this.#applySets();
        break;
      case "NetworkPolicy":
        if (type === "deleted") this.#removePolicy(`${object.namespace}/${object.name}`);
        else this.#addPolicy(object);
        break;
      case "Node":
      case "Service":
        break; // NPM does not watch these
    }
  }

  wake(): void {
    this.#cache.collectGarbage();
    this.#applySets();
    this.#deleteStaleChains();
    this.#context.wakeAt(this.#context.nowNs() + reconcileNs);
  }

  stop(): void {
    this.#clear();
  }

  /** An untranslatable policy is logged and dropped; rules of its earlier form stay. */
  #addPolicy(source: NetworkPolicy): void {
    const key = `${source.namespace}/${source.name}`;
    const translation = translatePolicy(source, this.#variant);
    if (!translation.ok) {
      this.#context.log(translationDiagnostic(key, translation));
      return;
    }
    if (this.#policies.has(key)) this.#removePolicy(key);
    const { policy } = translation;
    const isFirst = this.#policies.size === 0;
    this.#policies.set(key, policy);
    this.#cache.addPolicy(policy);
    this.#applySets();
    const chains = policyChains(policy, this.#variant, (set) => this.#cache.kernelName(set));
    for (const { chain } of chains) this.#stale.delete(chain);
    this.#rules([
      ...chains.map(({ chain }): RuleCommand => ({ op: "chain", chain })),
      ...(isFirst ? this.#activation() : []),
      ...chains.flatMap(({ chain, rules }) =>
        rules.map((rule): RuleCommand => ({ op: "append", chain, rule })),
      ),
      ...chains.map(
        ({ direction, jump }): RuleCommand => ({
          op: "insert",
          chain: direction === "ingress" ? npmChain.ingress : npmChain.egress,
          number: 1,
          rule: jump,
        }),
      ),
    ]);
  }

  #activation(): readonly RuleCommand[] {
    return [
      { op: "flush", chain: npmChain.entry },
      ...activeRules.map((rule): RuleCommand => ({ op: "append", chain: npmChain.entry, rule })),
    ];
  }

  #removePolicy(key: string): void {
    const policy = this.#policies.get(key);
    if (policy === undefined) return;
    this.#policies.delete(key);
    const chains = policyChains(policy, this.#variant, (set) => this.#cache.kernelName(set));
    for (const { direction, jump } of chains)
      this.#rules([
        { op: "delete", chain: direction === "ingress" ? npmChain.ingress : npmChain.egress, rule: jump },
      ]);
    this.#rules([
      ...(this.#policies.size === 0 ? [{ op: "flush", chain: npmChain.entry } as const] : []),
      ...chains.map(({ chain }): RuleCommand => ({ op: "flush", chain })),
    ]);
    for (const { chain } of chains) this.#stale.add(chain);
    this.#cache.removePolicy(policy);
    this.#applySets();
  }

  #deleteStaleChains(): void {
    for (const chain of this.#stale) this.#rules([{ op: "delete-chain", chain }]);
    this.#stale.clear();
  }

  #rules(commands: readonly RuleCommand[]): void {
    if (commands.length === 0) return;
    const op: IptablesRestoreOp = { kind: "iptables-restore", family: 4, table: "filter", commands };
    this.#check(this.#context.apply(op), "iptables-restore");
  }

  #applySets(): void {
    const commands = this.#cache.drain();
    if (commands.length === 0) return;
    this.#check(this.#context.apply(setOp(commands)), "ipset restore");
  }

  #check(result: ReturnType<AgentContext["apply"]>, tool: string): void {
    if (result.ok) return;
    const line = result.line === undefined ? "" : ` in line ${result.line}`;
    this.#context.log({
      code: "apply-failed",
      severity: "error",
      policy: undefined,
      message: `${tool} failed${line}: ${result.message}`,
    });
  }
}

function setOp(commands: readonly IpsetCommand[]): IpsetRestoreOp {
  return { kind: "ipset-restore", commands };
}
