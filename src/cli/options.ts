/** Options that several commands share, in the words of `az aks create`. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Issue, usageError } from "../base/index.ts";
import type { ClusterWords } from "../k8s/index.ts";

export interface CommonOptions {
  readonly output: readonly string[];
  readonly quiet?: boolean;
  readonly seed: number;
  readonly color?: boolean;
}

export interface ClusterFlags {
  readonly networkPlugin?: string;
  readonly networkPluginMode?: string;
  readonly networkDataplane?: string;
  readonly networkPolicy?: string;
  readonly kubernetesVersion?: string;
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  readonly nodeSubnet?: string;
  readonly ipFamilies?: string;
  readonly nodePool?: readonly string[];
  readonly force?: boolean;
}

const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];

/** `-o`, `--quiet`, `--seed`, `--color`. */
export function addCommonOptions(command: Command): Command {
  return command
    .addOption(
      new Option("-o, --output <format[=file]>", "text, json, jsonl, junit, md or csv; repeatable")
        .argParser(collect)
        .default([] as readonly string[], "text"),
    )
    .option("-q, --quiet", "no progress and no notes on standard error")
    .option("--seed <n>", "seed of everything random", parseInteger, 1)
    .option("--color", "colour even when standard output is no terminal")
    .option("--no-color", "never colour");
}

export function addClusterOptions(command: Command): Command {
  return command
    .option("--network-plugin <plugin>", "azure, kubenet or none")
    .option("--network-plugin-mode <mode>", "overlay")
    .option("--network-dataplane <dataplane>", "azure or cilium")
    .option("--network-policy <policy>", "none, azure, calico or cilium")
    .option("--kubernetes-version <version>", "such as 1.31")
    .option("--pod-cidr <cidr,...>", "pod range, one a family")
    .option("--service-cidr <cidr,...>", "Service range, one a family")
    .option(
      "--node-subnet <cidr,...>",
      "range of nodes, and of pods of Azure CNI without overlay, one a family",
    )
    .option("--ip-families <families>", "ipv4, ipv6 or both (ipv4,ipv6)")
    .option(
      "--node-pool <pool>",
      "name=...,osType=Linux|Windows,osSku=...,count=...; repeatable",
      collect,
      [],
    )
    .option("--force", "emulate combinations that AKS refuses");
}

export function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^-?[0-9]+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError("not an integer");
  return value;
}

/** The flags as the words of the cluster options; only what was given. @throws InputError for a malformed pool. */
export function clusterWords(flags: ClusterFlags): ClusterWords {
  const words: Record<string, unknown> = {};
  for (const name of [
    "networkPlugin",
    "networkPluginMode",
    "networkDataplane",
    "networkPolicy",
    "kubernetesVersion",
    "podCidr",
    "serviceCidr",
    "nodeSubnet",
  ] as const)
    if (flags[name] !== undefined) words[name] = flags[name];
  if (flags.ipFamilies !== undefined) words["ipFamilies"] = flags.ipFamilies.split(",");
  const pools = flags.nodePool ?? [];
  if (pools.length > 0) words["nodePools"] = pools.map(parsePool);
  return words as ClusterWords;
}

/** What is wrong with the words of `clusterWords`, each after the flag that gave it. */
export function flagIssues(issues: readonly Issue[], words: ClusterWords): readonly Issue[] {
  return issues.map((issue) => {
    const [word = ""] = issue.path.split(/[.[]/, 1);
    if (issue.file !== undefined || !Object.hasOwn(words, word)) return issue;
    const flag = word === "nodePools" ? "nodePool" : word;
    const name = flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return { ...issue, path: `--${name}: ${issue.path}` };
  });
}

function parsePool(text: string): Record<string, string | number> {
  const pool: Record<string, string | number> = {};
  for (const part of text.split(",")) {
    const [key, value, ...rest] = part.split("=");
    if (
      key === undefined ||
      value === undefined ||
      rest.length > 0 ||
      !["name", "osType", "osSku", "count"].includes(key)
    )
      throw usageError(`--node-pool takes name=...,osType=...,osSku=...,count=..., not ${part}`);
    if (key === "count" && !/^[0-9]{1,6}$/.test(value))
      throw usageError(`--node-pool: count takes a number, not ${value}`);
    pool[key] = key === "count" ? Number(value) : value;
  }
  return pool;
}
