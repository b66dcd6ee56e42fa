/** What engines there are, what they claim, and which scenarios assert it, as a document. */
import type { Divergence, EngineDefinition, EngineFeatures, ProductName } from "../engine/index.ts";
import { engineDefinitions } from "../engine/registry.ts";
import { aksRetirements, aksRules, overlapReason, overlapRule } from "../k8s/index.ts";
import { type Assertions, assertionsOf } from "./assertions.ts";
import type { EnginesDocument } from "./documents.ts";

/** Where filters of a kind have no truth but what their makers publish. */
const hnsTruth =
  "No outside oracle exists for HNS here: nobody publishes what it does with a packet, and no dump of a real node was at hand; in its place stand the sources of Azure NPM and hcsshim, AKS's documents, and laws (what is written is read back, ACLs asked through bits are the list asked one by one, every verdict over random clusters is the API's but for the divergences listed).";

/** Features, switches, divergences of every engine, and what AKS refuses; with the files of `assertions` that show each. */
export function describeEngines(version: string, assertions: Assertions = assertionsOf([])): EnginesDocument {
  const engines = engineDefinitions.map((definition) => describeEngine(definition, assertions));
  const refusals = [...aksRules, overlap].map(({ id, reason, source }) => ({
    id,
    reason,
    source,
    scenarios: assertions.diagnostics.get(`aks-${id}`) ?? [],
  }));
  const retirements = aksRetirements.map(({ what, until, source }) => ({ what, until, source }));
  return {
    schema: "podwire/engines/v1",
    version,
    products: describeProducts(),
    engines,
    refusals,
    retirements,
    notes: [hnsTruth],
  };
}

const overlap = { id: overlapRule, reason: overlapReason, source: "AKS: configure Azure CNI networking" };

function describeEngine(
  definition: EngineDefinition,
  assertions: Assertions,
): EnginesDocument["engines"][number] {
  const { name, product, os, versions, defaultVersion, switches } = definition;
  const { platforms, networkPlugins, filters, features, beyond = [] } = usual(definition);
  const shown = assertions.features(name);
  const known = engineDefinitions
    .filter((one) => one.product === product)
    .map((one) => assertions.divergences(one.name));
  return {
    name,
    product,
    os,
    versions,
    defaultVersion,
    switches,
    platforms,
    networkPlugins,
    filters,
    beyond,
    features: Object.fromEntries(
      Object.entries(features).map(([feature, row]) => [
        feature,
        { ...row, scenarios: shown.get(feature) ?? [] },
      ]),
    ),
    divergences: everyDivergence(definition).map(({ id, cause, source, versions: concerned }) => ({
      id,
      cause,
      source,
      versions: concerned,
      scenarios: [...new Set(known.flatMap((found) => found.get(id) ?? []))],
    })),
  };
}

function usual({ create, defaultVersion }: EngineDefinition): EngineFeatures {
  return create(defaultVersion, {}).features;
}

/** Of every version, with every value of every switch; each id once, those of the default first. */
function everyDivergence(definition: EngineDefinition): readonly Divergence[] {
  const { versions, defaultVersion, switches } = definition;
  const settings: readonly Readonly<Record<string, string>>[] = [
    {},
    ...switches.flatMap(({ name, values }) => values.map((value) => ({ [name]: value }))),
  ];
  const found = new Map<string, Divergence>();
  for (const version of [defaultVersion, ...versions])
    for (const setting of settings)
      for (const divergence of definition.create(version, setting).divergences)
        if (!found.has(divergence.id)) found.set(divergence.id, divergence);
  return [...found.values()];
}

const pluginName: Readonly<Record<string, string>> = { azure: "Azure CNI", kubenet: "kubenet", none: "none" };

/** The comparison that AKS's article on network policies makes, of what the engines say of themselves. */
function describeProducts(): EnginesDocument["products"] {
  const names = [...new Set(engineDefinitions.map(({ product }) => product))];
  return names.map((product) => {
    const engines = engineDefinitions.filter((one) => one.product === product);
    const each = engines.map((one) => ({ os: one.os, ...usual(one) }));
    const isOne = each.length === 1;
    const said = (os: string, text: string): string => (isOne ? text : `${system(os)}: ${text}`);
    return {
      product: product satisfies ProductName,
      platforms: [...new Set(each.flatMap(({ platforms }) => platforms))],
      networkOptions: each.map(({ os, networkPlugins }) =>
        said(os, networkPlugins.map((plugin) => pluginName[plugin] ?? plugin).join(", ")),
      ),
      networkPolicy: each.map((one) => said(one.os, specText(one))),
      beyond: [...new Set(each.flatMap(({ beyond = [] }) => beyond))],
      filters: each.map(({ os, filters }) => said(os, filters)),
    };
  });
}

function system(os: string): string {
  return os === "windows" ? "Windows" : "Linux";
}

/** How much of NetworkPolicy it obeys. */
function specText({ features, ownUses = {} }: EngineFeatures): string {
  const rows = Object.entries(features).filter(([name]) => ownUses[name] === undefined);
  const lacking = rows.filter(([, { support }]) => support === "no").map(([name]) => name);
  const partly = rows.filter(([, { support }]) => support === "partial").map(([name]) => name);
  if (lacking.includes("ingress") && lacking.includes("egress")) return "none of it";
  const parts = [
    ...(lacking.length === 0 ? [] : [`without ${lacking.join(", ")}`]),
    ...(partly.length === 0 ? [] : [`in part ${partly.join(", ")}`]),
  ];
  return parts.length === 0 ? "all of it" : `all of it, but ${parts.join("; ")}`;
}
