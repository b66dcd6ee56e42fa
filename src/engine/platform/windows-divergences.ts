/** Where Services on Windows nodes are not what the API says, whatever engine filters there: kube-proxy's own doing. */
import type { Cell, ClusterState } from "../../k8s/index.ts";
import type { Divergence } from "../engine.ts";
import { isCauseOf } from "../index.ts";
import { type WindowsQuirk, windowsRoutes } from "./windows-routes.ts";

const proxier = "kubernetes pkg/proxy/winkernel/proxier.go";

const statements: readonly (Omit<Divergence, "when"> & { readonly quirk: WindowsQuirk })[] = [
  {
    quirk: "local-inside",
    id: "windows-local-policy-inside",
    cause:
      "on Windows nodes externalTrafficPolicy Local binds clients inside as well: load balancers of external addresses and node ports hold the node's own endpoints alone, and without any the address is nobody's",
    source: `${proxier} (hnsLocalEndpoints); kubernetes PR 115344`,
    versions: "all",
  },
  {
    quirk: "own-node-port",
    id: "windows-own-node-port",
    cause: "a Windows node does not reach node ports of its own: what it sends there goes to its own port",
    source: "kubernetes.io: Windows networking, limitations (local NodePort access from the node itself)",
    versions: "all",
  },
  {
    quirk: "unserved-node-port",
    id: "windows-unserved-node-port",
    cause:
      "a node port without endpoints is no load balancer on Windows, and nothing refuses it as on Linux: it is a port of the node's own",
    source: `${proxier} (no policy where there are no endpoints)`,
    versions: "all",
  },
  {
    quirk: "source-ranges",
    id: "windows-source-ranges",
    cause:
      "kube-proxy on Windows does not look at loadBalancerSourceRanges: every client that gets there passes",
    source: `${proxier} (reads LoadBalancer.Ingress, no source ranges)`,
    versions: "all",
  },
  {
    quirk: "target-port",
    id: "windows-one-target-port",
    cause:
      "an HNS load balancer has one internal port: where a named target port is another on each pod, all are asked at that of the endpoint that comes last",
    source: `${proxier} (targetPort)`,
    versions: "all",
  },
  {
    quirk: "conditions",
    id: "windows-endpoint-conditions",
    cause:
      "on Windows nodes endpoints that end take no new connections where no others are left, unless the Service has a load balancer's address; those that are published without serving take none",
    source: `${proxier} (isAllEndpointsTerminating, isAllEndpointsNonServing)`,
    versions: "all",
  },
  {
    quirk: "host-network",
    id: "windows-host-network-backend",
    cause:
      "pods of a Windows node's host network are no backends on that node: HNS has no endpoint of its address",
    source: `${proxier} (Local endpoint not found)`,
    versions: "all",
  },
];

const all: ReadonlySet<WindowsQuirk> = new Set(statements.map(({ quirk }) => quirk));

/** @param verdictOf what the engine makes of a connection that a Service brought to its final addresses */
export function windowsServiceDivergences(
  verdictOf: (state: ClusterState, cell: Cell) => "allow" | "deny",
): readonly Divergence[] {
  return statements.map(
    ({ quirk, ...statement }): Divergence => ({
      ...statement,
      when: () => null,
      whenService(state, connection) {
        const verdictWith = (quirks: ReadonlySet<WindowsQuirk>): "allow" | "deny" | "some" | null => {
          const routes = windowsRoutes(state, connection, quirks);
          if (routes === undefined) return null;
          const verdicts = new Set(
            routes.map((route) => (route === "closed" ? "deny" : verdictOf(state, route))),
          );
          const [only = "deny"] = verdicts;
          return verdicts.size > 1 ? "some" : only;
        };
        const verdict = verdictWith(all);
        if (verdict === null || verdict === verdictWith(new Set())) return null;
        return isCauseOf(quirk, all, (quirks) => verdictWith(quirks) === verdict) ? verdict : null;
      },
    }),
  );
}
