/**
 * Cluster options in the words of `az aks create`, and their defaults. Governing sources: the AKS articles on Azure CNI,
 * Azure CNI Overlay and Azure CNI powered by Cilium.
 */
import { type Cidr, type Family, hasHostBits, parseCidr } from "../addr/index.ts";
import { InputError, type Issue } from "../base/index.ts";
import type { ClusterOptions, NodePool } from "./cluster.ts";

/** Options as written by people: every word optional. */
export interface ClusterWords {
  readonly networkPlugin?: ClusterOptions["networkPlugin"];
  readonly networkPluginMode?: "overlay";
  readonly networkDataplane?: ClusterOptions["networkDataplane"];
  readonly networkPolicy?: ClusterOptions["networkPolicy"];
  readonly kubernetesVersion?: string;
  /** One CIDR a family, comma-separated. */
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  readonly nodeSubnet?: string;
  readonly ipFamilies?: readonly ("ipv4" | "ipv6")[];
  readonly nodePools?: readonly {
    readonly name?: string;
    readonly osType?: "Linux" | "Windows";
    readonly osSku?: string;
    readonly count?: number;
  }[];
}

const choices: ReadonlyMap<string, readonly string[]> = new Map([
  ["networkPlugin", ["azure", "kubenet", "none"]],
  ["networkPluginMode", ["overlay"]],
  ["networkDataplane", ["azure", "cilium"]],
  ["networkPolicy", ["none", "azure", "calico", "cilium"]],
]);
const lists = ["nodePools", "ipFamilies"];
const texts = ["kubernetesVersion", "podCidr", "serviceCidr", "nodeSubnet"];

/** @throws InputError for an unknown word, value or CIDR; every problem at once. */
export function parseClusterOptions(words: ClusterWords): ClusterOptions {
  const issues: Issue[] = [];
  const fail = (path: string, message: string): void => {
    issues.push({ code: "invalid", path, message });
  };
  for (const [name, value] of Object.entries(words)) {
    const allowed = choices.get(name);
    if (allowed === undefined && !lists.includes(name) && !texts.includes(name))
      fail(name, `unknown cluster option; known: ${[...choices.keys(), ...texts, ...lists].join(", ")}`);
    else if (allowed !== undefined && !allowed.includes(String(value)))
      fail(name, `must be ${allowed.join(" or ")}, not ${String(value)}`);
  }
  const families = (words.ipFamilies ?? ["ipv4"]).map((name): Family => {
    if (name !== "ipv4" && name !== "ipv6")
      fail("ipFamilies", `must be ipv4, ipv6 or both, not ${String(name)}`);
    return name === "ipv6" ? 6 : 4;
  });
  const ranges = (
    name: "podCidr" | "serviceCidr" | "nodeSubnet",
    defaults: Readonly<Record<Family, string>>,
  ): readonly Cidr[] => {
    const given = (words[name] ?? "").split(",").filter((text) => text !== "");
    const parsed = given.map((text) => {
      const cidr = parseCidr(text.trim());
      if (cidr === undefined || hasHostBits(text.trim())) fail(name, `${text} is no network in CIDR form`);
      return cidr;
    });
    return families.map(
      (family) => parsed.find((cidr) => cidr?.family === family) ?? (parseCidr(defaults[family]) as Cidr),
    );
  };
  const options: ClusterOptions = {
    networkPlugin: words.networkPlugin ?? "azure",
    networkPluginMode: words.networkPluginMode,
    networkDataplane: words.networkDataplane ?? "azure",
    networkPolicy: words.networkPolicy ?? "none",
    kubernetesVersion: words.kubernetesVersion ?? "1.34",
    ipFamilies: families,
    podCidrs: ranges("podCidr", { 4: "10.244.0.0/16", 6: "fd12:3456:789a::/48" }),
    serviceCidrs: ranges("serviceCidr", { 4: "10.0.0.0/16", 6: "fd12:3456:789b::/108" }),
    nodeSubnets: ranges("nodeSubnet", { 4: "10.224.0.0/16", 6: "fd00:10:224::/64" }),
    nodePools: (words.nodePools ?? []).map((pool, i) => parsePool(pool, i, fail)),
  };
  if (!/^1\.[0-9]+(\.[0-9]+)?$/.test(options.kubernetesVersion))
    fail("kubernetesVersion", `must be a version such as 1.31, not ${options.kubernetesVersion}`);
  const names = options.nodePools.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) fail("nodePools", `two pools have the name ${twice}`);
  if (issues.length > 0) throw new InputError(issues);
  return options;
}

function parsePool(
  pool: NonNullable<ClusterWords["nodePools"]>[number],
  index: number,
  fail: (path: string, message: string) => void,
): NodePool {
  const path = `nodePools[${index}]`;
  const osType = pool.osType ?? "Linux";
  if (osType !== "Linux" && osType !== "Windows")
    fail(`${path}.osType`, `must be Linux or Windows, not ${String(osType)}`);
  const count = pool.count ?? 1;
  if (!Number.isInteger(count) || count < 0 || count > 5000)
    fail(`${path}.count`, `must be 0 to 5000, not ${String(count)}`);
  const name = pool.name ?? (osType === "Windows" ? "win" : "nodepool1");
  const longest = osType === "Windows" ? 6 : 12;
  if (!/^[a-z][a-z0-9]*$/.test(name) || name.length > longest)
    fail(
      `${path}.name`,
      `must be at most ${longest} lower-case letters and digits, starting with a letter, not ${name}`,
    );
  const known = osType === "Windows" ? ["Windows2019", "Windows2022"] : ["Ubuntu", "AzureLinux"];
  const osSku = pool.osSku ?? (osType === "Windows" ? "Windows2022" : "Ubuntu");
  if (!known.includes(osSku))
    fail(`${path}.osSku`, `must be ${known.join(" or ")} for ${osType}, not ${osSku}`);
  return { name, osType, osSku, count };
}
