/** What Cilium's datapath answers to questions such as `x/a > ip:203.0.113.7 TCP 80`. */
import {
  clusterOf,
  connectionBetween,
  createJudge,
  parseSelection,
  resolveEnd,
  resolveSource,
} from "../../../src/harness/index.ts";
import type { CellProtocol, ClusterWords } from "../../../src/k8s/index.ts";
import { parseEnd } from "../../../src/scenario/index.ts";
import type { RawObject } from "../../oracle/world.ts";

export interface Questions {
  readonly objects: readonly RawObject[];
  readonly asked: readonly string[];
  readonly ipFamilies?: ClusterWords["ipFamilies"];
}

/** Those that are allowed. One that names an address of IPv6 is of that family. */
export function allowed(engine: string, { objects, asked, ipFamilies }: Questions): readonly string[] {
  const selection = parseSelection(engine);
  if (selection.kind !== "product") throw new Error(`${engine} is no product`);
  const { state } = clusterOf(objects, {
    ...selection.aks,
    ...(ipFamilies === undefined ? {} : { ipFamilies, networkPluginMode: "overlay" }),
  });
  const { judge } = createJudge(state, selection, 1);
  return asked.filter((question) => {
    const [source = "", , target = "", protocol, port] = question.split(" ");
    const from = resolveSource(state, parseEnd(source));
    const to = resolveEnd(state, parseEnd(target));
    const family = /ip:\S*:/.test(question) ? 6 : 4;
    const cell = connectionBetween(from, to, {
      protocol: protocol as CellProtocol,
      port: Number(port),
      family,
    });
    return judge({ from, to, cell, isSelf: false }).verdict === "allow";
  });
}

export function cnp(name: string, spec: RawObject): RawObject {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { namespace: "x", name },
    spec: { endpointSelector: {}, ...spec },
  };
}
