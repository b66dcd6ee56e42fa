/**
 * One node's HNS: ACLs at the ports of its endpoints, in VFP and in WFP, with VFP's flows before them. A packet that
 * leaves a pod is asked at its endpoint (Out), one that reaches a pod at that pod's (In).
 */
import { assert, type Questions, unreachable } from "../../base/index.ts";
import type { PacketBatch } from "../../packet/index.ts";
import {
  type ApplyResult,
  type Datapath,
  type FilterObserver,
  Hook,
  type HookResults,
  type LinkContext,
  type NodeFacts,
  type RuleDescription,
  type TableOp,
} from "../datapath.ts";
import { Verdict } from "../verdict.ts";
import { type AclDirection, type AclPolicy, aclDirections } from "./acl.ts";
import type { AclList, AclTried } from "./acl-list.ts";
import { VfpFlows } from "./flows.ts";
import { explainCondition } from "./match.ts";
import { type HnsOp, hnsOps } from "./ops.ts";
import { type KnownRule, type LiveNetwork, linkPort, type Port } from "./port.ts";
import { aclSettings } from "./save.ts";
import { HnsSets } from "./sets.ts";
import type { FlowsOnChange, HnsEndpoint, HnsTables } from "./tables.ts";

const accepted: ApplyResult = { ok: true };

export class HnsDatapath implements Datapath {
  readonly hooks: readonly number[] = [Hook.endpointOut, Hook.endpointIn];
  readonly #context: LinkContext;
  readonly #flows: VfpFlows;
  readonly #endpoints = new Map<string, HnsEndpoint>();
  readonly #rules: KnownRule[] = [];
  /** Trace points: an endpoint's name and a direction. */
  readonly #points: string[] = [];
  readonly #pointOf = new Map<string, number>();
  #flowsOnChange: FlowsOnChange;
  readonly #networks = new Map<string, LiveNetwork>();
  /** By id of the endpoint; made when a packet comes. */
  #ports = new Map<string, Port>();
  /** By number of the interface. */
  #byInterface: (HnsEndpoint | undefined)[] = [];
  #nodeGeneration = -1;

  constructor(tables: HnsTables, context: LinkContext) {
    this.#context = context;
    this.#flowsOnChange = tables.flowsOnChange;
    for (const network of tables.networks)
      this.#networks.set(network.id, { network, sets: new HnsSets(network.sets) });
    this.#flows = new VfpFlows(() => context.nowNs());
    for (const endpoint of tables.endpoints) this.#endpoints.set(endpoint.id, endpoint);
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    const isOut = hook === Hook.endpointOut;
    const interfaces = isOut ? batch.state.iif : batch.state.oif;
    const direction: AclDirection = isOut ? "Out" : "In";
    for (let row = first; row < last; row++) {
      out.detail[row] = 0;
      out.way[row] = 0;
      out.rule[row] = -1;
      const endpoint = this.#endpointAt(interfaces[row]!);
      out.verdict[row] =
        endpoint === undefined
          ? Verdict.accept
          : this.#judge(this.#portOf(endpoint), direction, batch, row, out, observer);
    }
  }

  #judge(
    port: Port,
    direction: AclDirection,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): Verdict {
    const { id, name } = port.endpoint;
    if (this.#flows.passes(id, batch, row)) return Verdict.accept;
    const point = observer === undefined ? 0 : this.#point(`endpoint ${name} ${direction}`);
    observer?.enter(point, row);
    const tried: AclTried | undefined =
      observer === undefined ? undefined : (rule, failed) => observer.rule(rule, failed);
    const { vfp, wfp } = port[direction];
    const verdict = [vfp, [wfp]].every((lists) => layerAllows(lists, port.sets, batch, row, out, tried));
    if (verdict) this.#flows.begin(id, batch, row);
    if (out.rule[row] === -1) observer?.policy?.(point, row);
    const answer = verdict ? Verdict.accept : Verdict.drop;
    observer?.verdict(point, row, answer);
    return answer;
  }

  #endpointAt(index: number): HnsEndpoint | undefined {
    const { facts } = this.#context;
    if (facts.generation !== this.#nodeGeneration) {
      this.#nodeGeneration = facts.generation;
      this.#byInterface = [];
      for (const endpoint of this.#endpoints.values()) {
        const index = endpoint.isRemote ? 0 : portOfEndpoint(endpoint, facts);
        if (index !== 0) this.#byInterface[index] = endpoint;
      }
    }
    return this.#byInterface[index];
  }

  #portOf(endpoint: HnsEndpoint): Port {
    let port = this.#ports.get(endpoint.id);
    if (port === undefined) {
      port = linkPort(endpoint, this.#networkOf(endpoint), (rule) => this.#rules.push(rule) - 1);
      this.#ports.set(endpoint.id, port);
    }
    return port;
  }

  #networkOf({ network }: HnsEndpoint): LiveNetwork {
    const known = this.#networks.get(network);
    assert(known !== undefined, "an endpoint's network is there");
    return known;
  }

  #point(name: string): number {
    let point = this.#pointOf.get(name);
    if (point === undefined) {
      point = this.#points.push(name) - 1;
      this.#pointOf.set(name, point);
    }
    return point;
  }

  apply(op: TableOp): ApplyResult {
    assert(isHnsOp(op), `HNS takes no ${op.kind}`);
    const answer = this.#perform(op);
    if (answer.ok && this.#flowsOnChange === "forget") this.#flows.forget();
    return answer;
  }

  #perform(op: HnsOp): ApplyResult {
    switch (op.kind) {
      case "hns-sets": {
        const { sets } = this.#networks.get(op.network) ?? {};
        if (sets === undefined)
          return {
            ok: false,
            errno: "HCN_E_NETWORK_NOT_FOUND",
            message: `there is no network ${op.network}`,
          };
        const answer =
          op.op === "put" ? sets.put(op.sets) : sets.remove(op.ids, (id) => this.#isNamed(op.network, id));
        if (answer.ok) for (const port of this.#ports.values()) forgetBits(port);
        return answer;
      }
      case "hns-acls": {
        const endpoint = this.#endpoints.get(op.endpoint);
        if (endpoint === undefined) return notFound(op.endpoint);
        const { sets } = this.#networkOf(endpoint);
        const unknown = op.acls.flatMap(setsOf).find((id) => sets.get(id) === undefined);
        if (unknown !== undefined)
          return {
            ok: false,
            errno: "HCN_E_INVALID_POLICY",
            message: `an ACL names ${unknown}, which is not there`,
          };
        const acls = op.op === "add" ? [...endpoint.acls, ...op.acls] : op.acls;
        this.#put({ ...endpoint, acls });
        return accepted;
      }
      case "hns-flows":
        this.#flowsOnChange = op.op;
        return accepted;
      case "hns-endpoint":
        if (op.op === "create") this.#put(op.endpoint);
        else {
          if (!this.#endpoints.delete(op.endpoint)) return notFound(op.endpoint);
          this.#ports.delete(op.endpoint);
          this.#flows.forgetPort(op.endpoint);
        }
        this.#nodeGeneration = -1;
        return accepted;
      default:
        return unreachable(op);
    }
  }

  #put(endpoint: HnsEndpoint): void {
    this.#endpoints.set(endpoint.id, endpoint);
    this.#ports.delete(endpoint.id);
    this.#nodeGeneration = -1;
  }

  #isNamed(network: string, id: string): boolean {
    return [...this.#endpoints.values()].some(
      (one) => one.network === network && one.acls.some((acl) => setsOf(acl).includes(id)),
    );
  }

  forgetFlows(): void {
    this.#flows.forget();
  }

  forgetClients(): void {}

  /** The tables as they are now. */
  tables(): HnsTables {
    return {
      networks: [...this.#networks.values()].map(({ network, sets }) => ({
        ...network,
        sets: sets.policies,
      })),
      endpoints: [...this.#endpoints.values()],
      flowsOnChange: this.#flowsOnChange,
    };
  }

  questions(): Questions | undefined {
    return undefined;
  }

  describeRule(index: number): RuleDescription {
    const { endpoint, direction, acl, tier, number } = this.#rule(index);
    return {
      table: "hns",
      chain: `endpoint ${endpoint} ${direction}${tier === undefined ? "" : ` tier ${tier}`}`,
      number,
      text: JSON.stringify(aclSettings(acl)),
      origin: acl.origin,
    };
  }

  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string {
    const { acl, direction, sets } = this.#rule(index);
    const nameOf = (id: string): string => sets.get(id)?.name ?? id;
    return explainCondition(acl, direction, failedMatch, nameOf, batch, row);
  }

  describePoint(point: number): string {
    const name = this.#points[point];
    assert(name !== undefined, "a point that was reported");
    return `hns/${name}`;
  }

  #rule(index: number): KnownRule {
    const rule = this.#rules[index];
    assert(rule !== undefined, "a rule that was reported");
    return rule;
  }
}

function layerAllows(
  lists: readonly AclList[],
  sets: HnsSets,
  batch: PacketBatch,
  row: number,
  out: HookResults,
  tried: AclTried | undefined,
): boolean {
  for (const list of lists) {
    const acl = list.first(sets, batch, row, tried);
    if (acl === undefined || acl.action === "Pass") continue;
    out.rule[row] = acl.rule;
    return acl.action === "Allow";
  }
  return true;
}

/** The interface that the node has for the endpoint's address alone, with none of its own on it; 0: none. */
function portOfEndpoint({ addresses }: HnsEndpoint, facts: NodeFacts): number {
  for (const ip of addresses) {
    const index = facts.routeTo(ip);
    const found = facts.interfaces.find((one) => one.index === index);
    if (found !== undefined && found.addresses.length === 0) return index;
  }
  return 0;
}

function isHnsOp(op: TableOp): op is HnsOp {
  return (hnsOps as readonly string[]).includes(op.kind);
}

function notFound(endpoint: string): ApplyResult {
  return { ok: false, errno: "HCN_E_ENDPOINT_NOT_FOUND", message: `there is no endpoint ${endpoint}` };
}

function setsOf({ localAddresses, remoteAddresses }: AclPolicy): readonly string[] {
  return [...localAddresses, ...remoteAddresses].flatMap((one) => (one.kind === "set" ? [one.id] : []));
}

function forgetBits(port: Port): void {
  for (const direction of aclDirections)
    for (const list of [...port[direction].vfp, port[direction].wfp]) list.forget();
}

/** A node's HNS, ready to run. */
export function linkHns(tables: HnsTables, context: LinkContext): HnsDatapath {
  return new HnsDatapath(tables, context);
}
