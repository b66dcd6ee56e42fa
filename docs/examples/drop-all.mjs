// An engine as a module: it answers with tables, as the engines of this package do. This one drops everything that
// is forwarded: an iptables rule set whose FORWARD chain has the policy DROP.

const features = {
  platforms: ["Linux"],
  networkPlugins: ["azure"],
  filters: "iptables",
  features: { ingress: { support: "partial" }, egress: { support: "partial" } },
};

const isolated = ({ iptables }) => {
  const filter = iptables.v4.tables.filter;
  const chains = filter.chains.map((chain) => (chain.name === "FORWARD" ? { ...chain, policy: "DROP", rules: [] } : chain));
  const v4 = { ...iptables.v4, tables: { ...iptables.v4.tables, filter: { ...filter, chains } } };
  return { iptables: { ...iptables, v4 } };
};

export const engine = {
  name: "drop-all-linux",
  product: "program",
  os: "linux",
  version: "1",
  switches: {},
  features,
  divergences: [],
  isStatic: true,
  compile: () => (_node, base) => ({ tables: isolated(base), diagnostics: [] }),
  agent: () => ({ start() {}, event() {}, wake() {}, stop() {} }),
};
