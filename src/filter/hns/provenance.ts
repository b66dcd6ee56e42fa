/** What the numbers stand for that an observer of HNS is told: ACLs, choices of load balancers, and places. */
import { formatIp } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import type { PacketBatch } from "../../packet/index.ts";
import type { RuleDescription } from "../datapath.ts";
import type { AclDirection } from "./acl.ts";
import type { LbChoice } from "./balancing.ts";
import { explainCondition } from "./match.ts";
import type { KnownAcl } from "./port.ts";
import { aclSettings, loadBalancerDocument } from "./save.ts";

type KnownRule = KnownAcl | { readonly kind: "choice"; readonly choice: LbChoice };

export class HnsProvenance {
  readonly #rules: (KnownRule | undefined)[] = [];
  /** Numbers that stand for nothing any more. */
  readonly #free: number[] = [];
  readonly #choices = new Map<LbChoice, number>();
  /** Places and directions. */
  readonly #points: string[] = [];
  readonly #pointOf = new Map<string, number>();

  add(rule: KnownRule): number {
    const number = this.#free.pop() ?? this.#rules.length;
    this.#rules[number] = rule;
    return number;
  }

  /** The numbers will stand for others. */
  release(numbers: readonly number[]): void {
    for (const number of numbers) {
      this.#rules[number] = undefined;
      this.#free.push(number);
    }
  }

  ofChoice(choice: LbChoice): number {
    let number = this.#choices.get(choice);
    if (number === undefined) {
      number = this.add({ kind: "choice", choice });
      this.#choices.set(choice, number);
    }
    return number;
  }

  forgetChoices(): void {
    this.release([...this.#choices.values()]);
    this.#choices.clear();
  }

  /** How many rules there is room for. */
  get size(): number {
    return this.#rules.length;
  }

  describe(index: number): RuleDescription {
    const rule = this.#rule(index);
    if (rule.kind === "choice") return describeChoice(rule.choice);
    const { endpoint, direction, acl, tier, number, sets } = rule;
    const nameOf = (id: string): string => sets.get(id)?.name ?? id;
    return {
      table: "hns",
      chain: `endpoint ${endpoint} ${direction}${tier === undefined ? "" : ` tier ${tier}`}`,
      number,
      text: JSON.stringify(aclSettings(acl, nameOf)),
      origin: acl.origin,
    };
  }

  explainMiss(index: number, failedMatch: number, batch: PacketBatch, row: number): string {
    const rule = this.#rule(index);
    assert(rule.kind === "acl", "only ACLs miss");
    const nameOf = (id: string): string => rule.sets.get(id)?.name ?? id;
    return explainCondition(rule.acl, rule.direction, failedMatch, nameOf, batch, row);
  }

  /** Of a place (`endpoint ns/pod`, `host`, `uplink`) and a direction. */
  point(place: string, direction: AclDirection): number {
    const name = `hns/${place} ${direction}`;
    let point = this.#pointOf.get(name);
    if (point === undefined) {
      point = this.#points.push(name) - 1;
      this.#pointOf.set(name, point);
    }
    return point;
  }

  pointName(point: number): string {
    const name = this.#points[point];
    assert(name !== undefined, "a point that was reported");
    return name;
  }

  #rule(index: number): KnownRule {
    const rule = this.#rules[index];
    assert(rule !== undefined, "a rule that was reported");
    return rule;
  }
}

function describeChoice({ balancer, mapping, backend }: LbChoice): RuleDescription {
  const { ID, HostComputeEndpoints, SchemaVersion, ...shown } = loadBalancerDocument(balancer) as Record<
    string,
    unknown
  >;
  const address = backend.family === 6 ? `[${formatIp(backend)}]` : formatIp(backend);
  return {
    table: "hns",
    chain: "load balancers",
    number: balancer.portMappings.indexOf(mapping) + 1,
    text: `${JSON.stringify(shown)} -> ${address}:${mapping.internalPort}`,
    origin: balancer.origin,
  };
}
