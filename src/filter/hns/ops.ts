/** What agents ask of HNS while a node runs: requests as hcsshim's hcn package sends them. */
import type { TableOp } from "../datapath.ts";
import type { AclPolicy } from "./acl.ts";
import type { HnsLoadBalancer } from "./load-balancer.ts";
import type { FlowsOnChange, HnsEndpoint, SetPolicy } from "./tables.ts";

export type HnsOp = TableOp &
  (
    | {
        readonly kind: "hns-sets";
        readonly network: string;
        readonly op: "put";
        readonly sets: readonly SetPolicy[];
      }
    | {
        readonly kind: "hns-sets";
        readonly network: string;
        readonly op: "remove";
        readonly ids: readonly string[];
      }
    /** `add` appends to an endpoint's ACLs; `update` gives it these instead of those that it has. */
    | {
        readonly kind: "hns-acls";
        readonly op: "add" | "update";
        readonly endpoint: string;
        readonly acls: readonly AclPolicy[];
      }
    /** Those of the same id are replaced, others come after those that are there. */
    | {
        readonly kind: "hns-load-balancers";
        readonly op: "put";
        readonly balancers: readonly HnsLoadBalancer[];
      }
    | { readonly kind: "hns-load-balancers"; readonly op: "remove"; readonly ids: readonly string[] }
    /** No request of HNS's: how this model treats the flows that VFP knows, from now on. */
    | { readonly kind: "hns-flows"; readonly op: FlowsOnChange }
    | { readonly kind: "hns-endpoint"; readonly op: "create"; readonly endpoint: HnsEndpoint }
    | { readonly kind: "hns-endpoint"; readonly op: "delete"; readonly endpoint: string }
  );

export const hnsOps: readonly HnsOp["kind"][] = [
  "hns-sets",
  "hns-acls",
  "hns-load-balancers",
  "hns-flows",
  "hns-endpoint",
];
