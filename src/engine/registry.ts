/** Every engine there is, one line each. */
import type { VendorKind } from "../k8s/index.ts";
import { azureNpmLinux, azureNpmWindows } from "./azure-npm/index.ts";
import { ciliumLinux } from "./cilium/index.ts";
import type { EngineDefinition } from "./engine.ts";
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
