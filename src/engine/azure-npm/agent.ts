/**
 * NPM's agent on a Linux node: watch events in, `ipset restore` and `iptables-restore` out, in the order that the real
 * one keeps: boot clears everything, sets come before the rules that name them, an update is a removal and an addition,
 * pods change sets only, and every five minutes sets that nothing needs and chains of removed policies are collected
 * and the jump from FORWARD is put where it belongs.
 */
import type { IpsetCommand } from "../../filter/ipset/index.ts";
import type {
  Chain,
  IpsetRestoreOp,
  IptablesRestoreOp,
  Rule,
  RuleCommand,
} from "../../filter/iptables/index.ts";
import type { ClusterState, NetworkPolicy, Pod } from "../../k8s/index.ts";
import type { Agent, AgentContext, WatchEvent } from "../engine.ts";
import { activeRules, forwardJump, jumpNumber, npmChain, policyChains, staticRules } from "./chains.ts";
import { collisionDiagnostic, translationDiagnostic } from "./linux.ts";
import { setPrefix, specText } from "./naming.ts";
import { ChainOwners } from "./owners.ts";
import { isWatched } from "./pods.ts";
import { SetCache } from "./sets.ts";
import { type TranslatedPolicy, translatePolicy } from "./translate.ts";
import type { NpmVariant } from "./versions.ts";

/** Period of the reconcile task. */
const reconcileNs = 300e9;

export function createLinuxAgent(variant: NpmVariant, context: AgentContext): Agent {
  return new LinuxAgent(variant, context);
}

/** A policy whose rules are in the kernel. */
interface AppliedPolicy {
  readonly translated: TranslatedPolicy;
  /** The spec that they were made of, for comparison. */
  readonly spec: string;
}

class LinuxAgent implements Agent {
  readonly #variant: NpmVariant;
  readonly #context: AgentContext;
  #cache: SetCache;
  readonly #policies = new Map<string, AppliedPolicy>();
  readonly #owners: ChainOwners;
  /** Flushed chains of removed policies, waiting for the reconcile task. */
  readonly #stale = new Set<string>();

  constructor(variant: NpmVariant, context: AgentContext) {
    this.#variant = variant;
    this.#context = context;
    this.#cache = new SetCache(variant);
    this.#owners = new ChainOwners(variant);
  }

  /**
   * Boot: chains that an earlier life left are flushed, the base chains written anew (AZURE-NPM stays empty), the jump
   * placed, and only then all sets cleared. Until the policies are back nothing is enforced.
   */
  start(state: ClusterState): void {
    this.#forget();
    this.#removeJumps();
    const left = this.#npmChains();
    const base: ReadonlySet<string> = new Set(Object.values(npmChain));
    const fixed = staticRules(this.#variant);
    this.#rules([
      ...left.map(({ name }): RuleCommand => ({ op: "chain", chain: name })),
      ...Object.values(npmChain).map((chain): RuleCommand => ({ op: "chain", chain })),
      ...append(npmChain.ingress, fixed.ingressTail),
      ...append(npmChain.allowMark, fixed.allowMark),
      ...append(npmChain.egress, fixed.egressTail),
      ...append(npmChain.accept, fixed.accept),
    ]);
    for (const { name } of left) if (!base.has(name)) this.#stale.add(name);
    this.#placeJump();
    this.#clearSets();
    for (const namespace of state.namespaces.values()) this.#cache.addNamespace(namespace);
    for (const pod of state.pods.values()) if (this.#knows(pod)) this.#cache.addPod(pod);
    this.#applySets();
    for (const policy of state.networkPolicies.values()) this.#addPolicy(policy);
    this.#context.wakeAt(this.#context.nowNs() + reconcileNs);
  }

  #forget(): void {
    this.#cache = new SetCache(this.#variant);
    this.#policies.clear();
    this.#owners.clear();
    this.#stale.clear();
  }

  #filterChains(): readonly Chain[] {
    return this.#context.tables().iptables?.v4.tables.filter?.chains ?? [];
  }

  #forwardRules(): readonly Rule[] {
    return this.#filterChains().find((chain) => chain.name === "FORWARD")?.rules ?? [];
  }

  #npmChains(): readonly Chain[] {
    return this.#filterChains().filter((chain) => chain.name.startsWith(npmChain.entry));
  }

  #removeJumps(): void {
    const jumps = this.#forwardRules().filter(isNpmJump);
    this.#rules(jumps.map((rule): RuleCommand => ({ op: "delete", chain: "FORWARD", rule })));
  }

  /** Puts the jump where it belongs, if it is not there. */
  #placeJump(): void {
    const rules = this.#forwardRules();
    const others = rules.filter((rule) => !isNpmJump(rule));
    const number = jumpNumber(others, this.#variant.placeFirst);
    if (rules.length === others.length + 1 && isNpmJump(rules[number - 1] as Rule)) return;
    this.#removeJumps();
    this.#rules([{ op: "insert", chain: "FORWARD", number, rule: forwardJump }]);
  }

  /** Flushes all sets that bear NPM's name, then destroys them. */
  #clearSets(): void {
    const names = [...(this.#context.tables().iptables?.sets.keys() ?? [])].filter((name) =>
      name.startsWith(setPrefix),
    );
    const commands = [
      ...names.map((name) => ({ op: "flush", name }) as const),
      ...names.map((name) => ({ op: "destroy", name }) as const),
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
        if (!this.#knows(object)) return;
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
      case "EndpointSlice":
      case "VendorObject":
        break; // NPM does not watch these
    }
  }

  /** The reconcile task. */
  #knows(pod: Pod): boolean {
    return isWatched(pod, this.#context.node, this.#variant);
  }

  wake(): void {
    this.#cache.collectGarbage();
    this.#applySets();
    this.#placeJump();
    for (const chain of [...this.#stale])
      if (this.#rules([{ op: "delete-chain", chain }])) this.#stale.delete(chain);
    this.#context.wakeAt(this.#context.nowNs() + reconcileNs);
  }

  stop(): void {
    this.#forget();
    this.#removeJumps();
    const chains = this.#npmChains().map(({ name }) => name);
    this.#rules([
      ...chains.map((chain): RuleCommand => ({ op: "flush", chain })),
      ...chains.map((chain): RuleCommand => ({ op: "delete-chain", chain })),
    ]);
    this.#clearSets();
  }

  /**
   * An update is a removal, then an addition; an object whose spec is the one applied changes nothing. A policy that
   * cannot be translated is logged and dropped: rules of its earlier form stay.
   */
  #addPolicy(source: NetworkPolicy): void {
    const key = `${source.namespace}/${source.name}`;
    const spec = specText(source);
    if (this.#policies.get(key)?.spec === spec) return;
    const translation = translatePolicy(source, this.#variant);
    if (!translation.ok) {
      this.#context.log(translationDiagnostic(source, translation));
      return;
    }
    this.#removePolicy(key);
    const { policy } = translation;
    const collision = this.#owners.claim(policy, this.#cache);
    if (collision !== undefined) {
      this.#context.log(collisionDiagnostic(policy, collision));
      return;
    }
    const isFirst = this.#policies.size === 0;
    this.#policies.set(key, { translated: policy, spec });
    this.#cache.addPolicy(policy);
    this.#applySets();
    const chains = policyChains(policy, this.#variant, (set) => this.#cache.kernelName(set));
    for (const { chain } of chains) this.#stale.delete(chain);
    this.#rules([
      ...chains.map(({ chain }): RuleCommand => ({ op: "chain", chain })),
      ...(isFirst ? this.#activation() : []),
      ...chains.flatMap(({ chain, rules }) => append(chain, rules)),
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
    return [{ op: "flush", chain: npmChain.entry }, ...append(npmChain.entry, activeRules)];
  }

  #removePolicy(key: string): void {
    const policy = this.#policies.get(key)?.translated;
    if (policy === undefined) return;
    this.#policies.delete(key);
    this.#owners.release(key);
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

  #rules(commands: readonly RuleCommand[]): boolean {
    if (commands.length === 0) return true;
    const op: IptablesRestoreOp = { kind: "iptables-restore", family: 4, table: "filter", commands };
    return this.#check(this.#context.apply(op), "iptables-restore");
  }

  #applySets(): void {
    const commands = this.#cache.drain();
    if (commands.length === 0) return;
    this.#check(this.#context.apply(setOp(commands)), "ipset restore");
  }

  #check(result: ReturnType<AgentContext["apply"]>, tool: string): boolean {
    if (result.ok) return true;
    const line = result.line === undefined ? "" : ` in line ${result.line}`;
    this.#context.log({
      code: "apply-failed",
      severity: "error",
      policy: undefined,
      message: `${tool} failed${line}: ${result.message}`,
    });
    return false;
  }
}

function setOp(commands: readonly IpsetCommand[]): IpsetRestoreOp {
  return { kind: "ipset-restore", commands };
}

function append(chain: string, rules: readonly Rule[]): readonly RuleCommand[] {
  return rules.map((rule): RuleCommand => ({ op: "append", chain, rule }));
}

function isNpmJump({ target }: Rule): boolean {
  return target?.kind === "jump" && target.chain === npmChain.entry;
}
