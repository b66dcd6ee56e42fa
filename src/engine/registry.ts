/** Every engine there is, one line each. */
import { azureNpmLinux } from "./azure-npm/index.ts";
import type { EngineDefinition } from "./engine.ts";
import { noneLinux } from "./none/index.ts";

export const engineDefinitions: readonly EngineDefinition[] = [azureNpmLinux, noneLinux];
