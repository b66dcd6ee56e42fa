/**
 * One node's HNS: ACLs at the ports of its endpoints, in VFP and in WFP, with VFP's flows before them, and load balancers
 * at every port of its switch. A packet that leaves a pod is asked at its endpoint (Out), one that reaches a pod at that
 * pod's (In); the host's own port and the uplink have no ACLs.
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
import { hostPort, type LbChoice, LoadBalancing, uplinkPort } from "./balancing.ts";
import { VfpFlows } from "./flows.ts";
import type { HnsLoadBalancer } from "./load-balancer.ts";
import { type HnsOp, hnsOps } from "./ops.ts";
import { type LiveNetwork, linkPort, type Port } from "./port.ts";
import { HnsProvenance } from "./provenance.ts";
import { hnsQuestions, type StatedPort } from "./questions.ts";
import { HnsSets } from "./sets.ts";
import type { FlowsOnChange, HnsEndpoint, HnsTables } from "./tables.ts";

const accepted: ApplyResult = { ok: true };

export class HnsDatapath implements Datapath {
  readonly hooks: readonly number[] = [Hook.endpointOut, Hook.endpointIn];
  readonly #context: LinkContext;
  readonly #flows: VfpFlows;
  readonly #endpoints = new Map<string, HnsEndpoint>();
  readonly #balancers = new Map<string, HnsLoadBalancer>();
  readonly #balancing: LoadBalancing;
  /** Load balancers or endpoints have changed since the last packet. */
  #isBalancingStale = true;
  readonly #provenance = new HnsProvenance();
  #flowsOnChange: FlowsOnChange;
  readonly #networks = new Map<string, LiveNetwork>();
  /** By id of the endpoint; made when a packet comes. */
  #ports = new Map<string, Port>();
  /** By number of the interface. */
  #byInterface: (HnsEndpoint | undefined)[] = [];
  /** Numbers of interfaces that lead to the node itself. */
  #hostInterfaces: ReadonlySet<number> = new Set();
  #nodeGeneration = -1;

  constructor(tables: HnsTables, context: LinkContext) {
    this.#context = context;
    this.#flowsOnChange = tables.flowsOnChange;
    for (const network of tables.networks)
      this.#networks.set(network.id, { network, sets: new HnsSets(network.sets) });
    this.#flows = new VfpFlows(() => context.nowNs());
    for (const endpoint of tables.endpoints) this.#endpoints.set(endpoint.id, endpoint);
    for (const balancer of tables.loadBalancers) this.#balancers.set(balancer.id, balancer);
    this.#balancing = new LoadBalancing(context);
  }

  run(
    hook: number,
    batch: PacketBatch,
    first: number,
    last: number,
    out: HookResults,
    observer?: FilterObserver,
  ): void {
    if (this.#isBalancingStale) this.#relinkBalancing();
    const isOut = hook === Hook.endpointOut;
    const interfaces = isOut ? batch.state.iif : batch.state.oif;
    for (let row = first; row < last; row++) {
      out.detail[row] = 0;
      out.way[row] = 0;
      out.rule[row] = -1;
      const index = interfaces[row]!;
      const endpoint = this.#endpointAt(index);
      const place: Place = {
        id: endpoint?.id ?? (this.#hostInterfaces.has(index) ? hostPort : uplinkPort),
        port: endpoint && this.#portOf(endpoint),
      };
      out.verdict[row] = isOut
        ? this.#comeFrom(place, batch, row, out, observer)
        : this.#goTo(place, batch, row, out, observer);
    }
  }

  /** From a port into the switch: to a backend; Out ACLs; back to the client whose source was rewritten. */
  #comeFrom(
    place: Place,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): Verdict {
    if (this.#balancing.isIdle) return this.#judge(place, "Out", batch, row, out, observer);
    const isAnswer = this.#balancing.isUnmasked(batch, row);
    const choice = isAnswer ? undefined : this.#balancing.translate(place.id, batch, row);
    this.#report(choice, place, "Out", row, observer);
    const verdict = this.#judge(place, "Out", batch, row, out, observer);
    if (isAnswer && verdict === Verdict.accept)
      this.#report(this.#balancing.unmask(batch, row), place, "Out", row, observer);
    return verdict;
  }

  /** From the switch to a port: with the source that the backend is to see; In ACLs; from the virtual address. */
  #goTo(
    place: Place,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): Verdict {
    if (this.#balancing.isIdle) return this.#judge(place, "In", batch, row, out, observer);
    this.#report(this.#balancing.mask(batch, row), place, "In", row, observer);
    const verdict = this.#judge(place, "In", batch, row, out, observer);
    if (verdict === Verdict.accept)
      this.#report(this.#balancing.restore(place.id, batch, row), place, "In", row, observer);
    return verdict;
  }

  #report(
    choice: LbChoice | undefined,
    place: Place,
    direction: AclDirection,
    row: number,
    observer: FilterObserver | undefined,
  ): void {
    if (choice === undefined || observer === undefined) return;
    observer.enter(this.#provenance.point(placeName(place), direction), row);
    observer.rule(this.#provenance.ofChoice(choice), -1);
  }

  #judge(
    { port }: Place,
    direction: AclDirection,
    batch: PacketBatch,
    row: number,
    out: HookResults,
    observer: FilterObserver | undefined,
  ): Verdict {
    if (port === undefined) return Verdict.accept;
    const { id, name } = port.endpoint;
    const point = observer === undefined ? 0 : this.#provenance.point(`endpoint ${name}`, direction);
    observer?.enter(point, row);
    if (this.#flows.passes(id, batch, row)) return Verdict.accept;
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
      const loopbacks = facts.interfaces.filter(({ isLoopback }) => isLoopback);
      this.#hostInterfaces = new Set([0, ...loopbacks.map((one) => one.index)]);
      for (const endpoint of this.#endpoints.values()) {
        const index = endpoint.isRemote ? 0 : portOfEndpoint(endpoint, facts);
        if (index !== 0) this.#byInterface[index] = endpoint;
      }
    }
    return this.#byInterface[index];
  }

  #relinkBalancing(): void {
    this.#isBalancingStale = false;
    this.#provenance.forgetChoices();
    this.#balancing.set([...this.#balancers.values()], this.#endpoints);
  }

  #portOf(endpoint: HnsEndpoint): Port {
    let port = this.#ports.get(endpoint.id);
    if (port === undefined) {
      port = linkPort(endpoint, this.#networkOf(endpoint), (rule) => this.#provenance.add(rule));
      this.#ports.set(endpoint.id, port);
    }
    return port;
  }

  #networkOf({ network }: HnsEndpoint): LiveNetwork {
    const known = this.#networks.get(network);
    assert(known !== undefined, "an endpoint's network is there");
    return known;
  }

  #forgetPort(id: string): void {
    const port = this.#ports.get(id);
    if (port === undefined) return;
    this.#provenance.release(port.rules);
    this.#ports.delete(id);
  }

  apply(op: TableOp): ApplyResult {
    assert(isHnsOp(op), `HNS takes no ${op.kind}`);
    const answer = this.#perform(op);
    const isOfAcls = op.kind !== "hns-load-balancers";
    if (answer.ok && isOfAcls && this.#flowsOnChange === "forget") this.#flows.forget();
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
          this.#forgetPort(op.endpoint);
          this.#flows.forgetPort(op.endpoint);
          this.#nodeGeneration = -1;
          this.#isBalancingStale = true;
        }
        return accepted;
      case "hns-load-balancers":
        return this.#balance(op);
      default:
        return unreachable(op);
    }
  }

  #balance(op: Extract<HnsOp, { kind: "hns-load-balancers" }>): ApplyResult {
    if (op.op === "put") {
      const unknown = op.balancers.flatMap((one) => one.endpoints).find((id) => !this.#endpoints.has(id));
      if (unknown !== undefined) return notFound(unknown);
      for (const one of op.balancers) this.#balancers.set(one.id, one);
    } else {
      const unknown = op.ids.find((id) => !this.#balancers.has(id));
      if (unknown !== undefined)
        return {
          ok: false,
          errno: "HCN_E_LOADBALANCER_NOT_FOUND",
          message: `there is no load balancer ${unknown}`,
        };
      for (const id of op.ids) this.#balancers.delete(id);
    }
    this.#isBalancingStale = true;
    return accepted;
  }

  #put(endpoint: HnsEndpoint): void {
    const { addresses } = this.#endpoints.get(endpoint.id) ?? {};
    this.#endpoints.set(endpoint.id, endpoint);
    this.#forgetPort(endpoint.id);
    this.#nodeGeneration = -1;
    if (addresses !== endpoint.addresses) this.#isBalancingStale = true;
  }

  #isNamed(network: string, id: string): boolean {
    return [...this.#endpoints.values()].some(
      (one) => one.network === network && one.acls.some((acl) => setsOf(acl).includes(id)),
    );
  }

  forgetFlows(): void {
    this.#flows.forget();
    this.#balancing.forget();
  }

  forgetClients(): void {
    this.#balancing.forgetClients();
  }

  /** The tables as they are now. */
  tables(): HnsTables {
    return {
      networks: [...this.#networks.values()].map(({ network, sets }) => ({
        ...network,
        sets: sets.policies,
      })),
      endpoints: [...this.#endpoints.values()],
      loadBalancers: [...this.#balancers.values()],
      flowsOnChange: this.#flowsOnChange,
    };
  }

  questions(): Questions {
    const { facts } = this.#context;
    this.#endpointAt(0); // as interfaces are now
    const ports = this.#byInterface.flatMap((endpoint, index): readonly StatedPort[] => {
      if (endpoint === undefined) return [];
      const { network, sets } = this.#networkOf(endpoint);
      const addresses = endpoint.addresses.filter((ip) => facts.routeTo(ip) === index);
      return [{ endpoint, network: { ...network, sets: sets.policies }, addresses }];
    });
    return hnsQuestions({ ports, balancers: [...this.#balancers.values()], facts });
  }

  describeRule(index: number): RuleDescription {
    return this.#provenance.describe(index);
  }

  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string {
    return this.#provenance.explainMiss(index, failedMatch, batch, row);
  }

  describePoint(point: number): string {
    return this.#provenance.pointName(point);
  }
}

/** A port of the switch. */
interface Place {
  /** Of its endpoint, or `hostPort`, or `uplinkPort`. */
  readonly id: string;
  /** With ACLs; the host's and the uplink have none. */
  readonly port: Port | undefined;
}

function placeName({ id, port }: Place): string {
  return port === undefined ? id : `endpoint ${port.endpoint.name}`;
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
