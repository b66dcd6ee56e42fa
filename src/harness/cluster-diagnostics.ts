/** What is said of a cluster whatever engine runs in it: why AKS would refuse it. */
import type { Diagnostic } from "../engine/index.ts";
import { aksFacts, aksRefusals, type ClusterState } from "../k8s/index.ts";

/** A cluster that AKS refuses is only there where someone forced it. */
export function clusterDiagnostics(state: ClusterState): readonly Diagnostic[] {
  return aksRefusals(aksFacts(state)).map(
    ({ rule, reason }): Diagnostic => ({
      code: `aks-${rule}`,
      severity: "warning",
      policy: undefined,
      message: `AKS refuses such a cluster: ${reason}`,
    }),
  );
}
