/** Every engine there is, one line each. */
import type { VendorKind } from "../k8s/index.ts";
import { azureNpmLinux, azureNpmWindows } from "./azure-npm/index.ts";
import { ciliumLinux } from "./cilium/index.ts";
import type { Engine, EngineDefinition } from "./engine.ts";

export { featureUses, leftToEngines } from "./features.ts";

import { noneLinux, noneWindows } from "./none/index.ts";

export const engineDefinitions: readonly EngineDefinition[] = [
  azureNpmLinux,
  azureNpmWindows,
  ciliumLinux,
  noneLinux,
  noneWindows,
];

/** API kinds that engines bring along, for loaders to take. */
export const vendorKinds: readonly VendorKind[] = engineDefinitions.flatMap(
  ({ resources = [] }) => resources,
);

/** What runs on a node of a system that a product has no engine for, where such a cluster is emulated all the same. */
export function unpolicedEngine(os: Engine["os"]): Engine {
  const { create, defaultVersion } = os === "linux" ? noneLinux : noneWindows;
  return create(defaultVersion, {});
}
