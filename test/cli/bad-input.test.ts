/** What a user sees who gets something wrong: exit code 2, one line with the place, no stack trace. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commandFile, folderWith, podwire, podwires } from "./installed.ts";

const pods = `apiVersion: v1
kind: Pod
metadata: { name: a, namespace: x, labels: { app: a } }
spec: { containers: [{ name: c, image: i, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: b, namespace: x, labels: { app: b } }
spec: { containers: [{ name: c, image: i, ports: [{ containerPort: 80 }] }] }
`;

const policy = (ingress: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: x }
spec:
  podSelector: {}
  ingress: ${ingress}
`;

const cwd = folderWith("bad-input", {
  "pods.yaml": pods,
  "broken.yaml": "a: [1\nb: 2\n",
  "broken.json": '{ "apiVersion": "v1",',
  "list.json": "[1, 2]",
  "empty.yaml": "",
  "comments.yaml": "# nothing here\n---\n# nor here\n",
  "binary.yaml": "\u0001\u0000\u001b[31m",
  "cidr.yaml": policy('[{ from: [{ ipBlock: { cidr: "10.0.0.0/33" } }] }]'),
  "two.yaml": policy('[{ ports: [{ port: 99999 }], from: [{ ipBlock: { cidr: "10.0.0.0" } }] }]'),
  "ipv6.yaml": policy('[{ from: [{ ipBlock: { cidr: "2001:db8::/32" } }] }]'),
  "scenario.yaml":
    "# one\n# two\nfixture: { nodes: 1, pods: [x/a] }\nengines: [oracle]\nsteps:\n  - prob: { from: x/a }\n",
  "refused.yaml":
    "# one\n# two\ncluster:\n  networkPlugin: kubenet\nfixture: { pods: [x/a] }\nengines: [azure-npm]\nsteps:\n  - advance: 1s\n",
  "windows-node.yaml":
    "# a node\napiVersion: v1\nkind: Node\nmetadata: { name: w, labels: { kubernetes.io/os: windows } }\n",
  "fine.yaml":
    "# one\n# two\nfixture: { nodes: 1, pods: [x/a, x/b], ports: [80/TCP] }\nengines: [azure-npm]\nsteps:\n  - probe: { from: x/a, to: x/b, port: 80, expect: connected }\n",
});
mkdirSync(join(cwd, "nothing"), { recursive: true });

const to = ["--from", "x/a", "--to", "x/b"];

interface Mistake {
  readonly args: readonly string[];
  readonly says: RegExp;
}

const mistakes: readonly Mistake[] = [
  {
    args: ["matrix", "missing.yaml", "-e", "oracle"],
    says: /^podwire: missing\.yaml: no such file or directory$/,
  },
  {
    args: ["matrix", "gone", "pods.yaml", "gone2", "-e", "oracle"],
    says: /gone: no such file.*\n.*gone2: no such file/,
  },
  {
    args: ["matrix", "broken.yaml", "-e", "oracle"],
    says: /^podwire: broken\.yaml:2:\d+: .*YAML.*\n2 \| b: 2\n {4,}\^$/,
  },
  { args: ["matrix", "broken.json", "-e", "oracle"], says: /^podwire: broken\.json:1:\d+: .*JSON/ },
  { args: ["matrix", "list.json", "-e", "oracle"], says: /list\.json:1:1: a manifest must be an object/ },
  { args: ["matrix", "empty.yaml", "-e", "oracle"], says: /no Kubernetes objects.*empty\.yaml/ },
  { args: ["matrix", "comments.yaml", "-e", "oracle"], says: /no Kubernetes objects/ },
  { args: ["matrix", "nothing", "-e", "oracle"], says: /no Kubernetes objects.*nothing/ },
  { args: ["matrix", "-", "-e", "oracle"], says: /no Kubernetes objects/ },
  {
    args: ["matrix", "cidr.yaml", "-e", "oracle"],
    says: /^podwire: cidr\.yaml:6:\d+: spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr: Invalid value: "10\.0\.0\.0\/33".*\n6 \|.*\n *\^$/,
  },
  {
    args: ["matrix", "two.yaml", "-e", "oracle"],
    says: /spec\.ingress\[0\]\.ports\[0\]\.port: .*[\s\S]*spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr: /,
  },
  { args: ["matrix", "pods.yaml"], says: /required option '-e, --engine/ },
  { args: ["matrix", "-e", "oracle"], says: /missing required argument 'manifests'/ },
  { args: ["matrix", "pods.yaml", "-e", "npm"], says: /unknown engine npm; known: .*azure-npm/ },
  { args: ["matrix", "pods.yaml", "-e", "azure-npm@9"], says: /unknown version 9 of azure-npm; known: / },
  { args: ["matrix", "pods.yaml", "-e", "azure-npm+x"], says: /unknown switch x of azure-npm; known: / },
  {
    args: ["matrix", "pods.yaml", "-e", "azure-npm+place-first=2"],
    says: /place-first of azure-npm takes true or false, not 2/,
  },
  { args: ["matrix", "pods.yaml", "-e", "oracle+x"], says: /unknown reading x/ },
  { args: ["matrix", "pods.yaml", "-e", ","], says: /no engine named/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--ports", "80/XYZ"], says: /not a port: 80\/XYZ/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--ports", "70000/TCP"], says: /port out of range/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--ends", "few"], says: /--ends takes pods or all/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--seed", "x"], says: /--seed.*not an integer/ },
  {
    args: ["matrix", "pods.yaml", "-e", "oracle", "-o", "pdf"],
    says: /unknown output format pdf; known here: .*json/,
  },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "-o", "json", "-o", "csv"], says: /only one --output/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "-o", "json="], says: /no file named/ },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "-o", "json=nothing"], says: /nothing: is a directory/ },
  {
    args: ["matrix", "pods.yaml", "-e", "oracle", "-o", "json=pods.yaml/x/y"],
    says: /pods\.yaml\/x\/y: not a directory/,
  },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--wrong"], says: /unknown option '--wrong'/ },
  {
    args: ["matrix", "pods.yaml", "-e", "azure-npm", "--network-plugin", "kubenet"],
    says: /^podwire: --network-plugin: networkPlugin: AKS refuses: .*\(Azure NPM\) needs networkPlugin azure$/m,
  },
  {
    args: ["matrix", "pods.yaml", "-e", "cilium", "--node-pool", "osType=Windows"],
    says: /--node-pool: nodePools\[0\]: AKS refuses: networkDataplane cilium has no Windows node pools/,
  },
  {
    args: ["compile", "pods.yaml", "-e", "azure-npm", "--out", "t", "--network-policy", "calico"],
    says: /--network-policy: networkPolicy: AKS refuses: networkPolicy calico does not install azure-npm/,
  },
  {
    args: ["matrix", "pods.yaml", "windows-node.yaml", "-e", "cilium"],
    says: /windows-node\.yaml:4:1: AKS refuses: networkDataplane cilium has no Windows node pools/,
  },
  {
    args: ["run", "refused.yaml"],
    says: /refused\.yaml:4:18: cluster\.networkPlugin: AKS refuses: networkPolicy azure \(Azure NPM\)/,
  },
  {
    args: ["matrix", "pods.yaml", "-e", "azure-npm", "--network-plugin", "x"],
    says: /networkPlugin: must be azure or kubenet or none/,
  },
  {
    args: ["matrix", "pods.yaml", "-e", "oracle", "--pod-cidr", "10.0.0.0/99"],
    says: /podCidr: .*10\.0\.0\.0\/99/,
  },
  {
    args: ["matrix", "pods.yaml", "-e", "oracle", "--node-pool", "count=x"],
    says: /--node-pool: count takes a number/,
  },
  { args: ["matrix", "pods.yaml", "-e", "oracle", "--node-pool", "size=1"], says: /--node-pool takes/ },
  { args: ["diff", "pods.yaml", "-e", "azure-npm"], says: /diff compares two engines, not 1/ },
  { args: ["probe", "pods.yaml", "-e", "oracle", ...to, "--port", "80"], says: /the oracle has none/ },
  {
    args: ["probe", "pods.yaml", "-e", "azure-npm,none", ...to, "--port", "80"],
    says: /one engine, not on 2/,
  },
  {
    args: ["probe", "pods.yaml", "-e", "azure-npm", "--from", "x/a", "--to", "x/z", "--port", "80"],
    says: /no pod x\/z in the cluster; there is x\/a, x\/b/,
  },
  {
    args: ["probe", "pods.yaml", "-e", "azure-npm", "--from", "x", "--to", "x/b", "--port", "80"],
    says: /not an end of a connection: x; write ns\/pod/,
  },
  {
    args: ["trace", "pods.yaml", "-e", "azure-npm", "--from", "x/a", "--to", "node:n", "--port", "80"],
    says: /no node n/,
  },
  { args: ["trace", "pods.yaml", "-e", "azure-npm", ...to], says: /--port is needed/ },
  {
    args: ["trace", "pods.yaml", "-e", "azure-npm", ...to, "--port", "0"],
    says: /--port takes 1 to 65535, not 0/,
  },
  { args: ["trace", "pods.yaml", "-e", "azure-npm", ...to, "--port", "http"], says: /not an integer/ },
  {
    args: ["trace", "pods.yaml", "-e", "azure-npm", ...to, "--port", "80", "--protocol", "quic"],
    says: /--protocol takes tcp, udp, sctp or icmp, not quic/,
  },
  {
    args: ["trace", "pods.yaml", "-e", "azure-npm", ...to, "--port", "80", "--family", "6"],
    says: /no addresses of one family/,
  },
  {
    args: ["probe", "pods.yaml", "-e", "azure-npm", ...to, "--port", "80", "--timeout", "soon"],
    says: /not a duration: soon/,
  },
  { args: ["compile", "pods.yaml", "-e", "azure-npm"], says: /required option '--out/ },
  { args: ["compile", "pods.yaml", "-e", "oracle", "--out", "t"], says: /the oracle has none/ },
  {
    args: ["compile", "pods.yaml", "-e", "azure-npm", "--out", "t", "--node", "z"],
    says: /no node z; there is aks-/,
  },
  {
    args: ["compile", "pods.yaml", "-e", "azure-npm", "--out", "pods.yaml/t"],
    says: /pods\.yaml\/t\/.*: not a directory/,
  },
  {
    args: ["generate", "--profile", "huge", "--out", "g"],
    says: /unknown profile huge; known: aks-npm-limit/,
  },
  {
    args: ["generate", "--profile", "adversarial", "--pods", "-3", "--out", "g"],
    says: /--pods takes a positive number/,
  },
  {
    args: ["generate", "--profile", "adversarial", "--out", "."],
    says: /\. holds other manifests \(.*, which would become part of the cluster/,
  },
  {
    args: ["generate", "--profile", "adversarial", "--out", "pods.yaml"],
    says: /pods\.yaml: (not|is there already and no) (a )?directory/,
  },
  {
    args: ["generate", "--profile", "adversarial", "--out", "g", "--format", "toml"],
    says: /--format.*Allowed choices are yaml, json/,
  },
  { args: ["capacity", "pods.yaml", "-e", "oracle"], says: /the oracle has none/ },
  { args: ["capacity", "pods.yaml", "--processors", "0"], says: /--processors takes a number from 1/ },
  { args: ["run", "missing"], says: /missing: no such file/ },
  { args: ["run", "nothing"], says: /no scenario files/ },
  { args: ["run", "scenario.yaml"], says: /^podwire: scenario\.yaml:6:5: .*prob.*probe/ },
  { args: ["capture", "scenario.yaml", "--out", "c.pcapng"], says: /scenario\.yaml:6:5/ },
  { args: ["capture", "fine.yaml", "--out", "c.pcapng", "-o", "nonsense"], says: /nonsense/ },
  { args: ["capture", "fine.yaml"], says: /needs --out FILE\.pcapng or --live NETNS:INTERFACE/ },
  {
    args: ["capture", "fine.yaml", "--live", "lab"],
    says: /--live lab: a namespace and an interface in it are needed/,
  },
  { args: ["capture", "fine.yaml", "--live", "lab:"], says: /--live lab:: a namespace and an interface/ },
  { args: ["capture", "fine.yaml", "--live", ":eth0"], says: /a namespace and an interface/ },
  { args: ["capture", "fine.yaml", "--live", "../../proc/1/ns/net:eth0"], says: /no name of a namespace/ },
  { args: ["capture", "fine.yaml", "--live", "lab:interface-too-long"], says: /no name of an interface/ },
  {
    args: ["capture", "fine.yaml", "--live", "lab:eth0=pod"],
    says: /"pod" is neither namespace\/pod nor uplink/,
  },
  {
    args: ["capture", "fine.yaml", "--live", "lab:eth0", "--live", "lab:eth0=x/a"],
    says: /lab:eth0 stands twice/,
  },
  { args: ["bench", "-e", "oracle"], says: /the oracle has none/ },
  { args: ["bench", "--profile", "huge"], says: /unknown profile huge/ },
  { args: ["schema", "x"], says: /no schema x; there is scenario, matrix/ },
  { args: ["matrx"], says: /unknown command 'matrx'\n\(Did you mean matrix\?\)/ },
  { args: [], says: /^Usage: podwire/ },
];

describe("bad input", () => {
  const results = podwires(
    mistakes.map(({ args }) => args),
    cwd,
  );

  it.each(mistakes.map((mistake, i) => [mistake.args.join(" ") || "(no arguments)", mistake, i] as const))(
    "podwire %s",
    (_, { says }, i) => {
      const { code, stdout, stderr } = results[i] ?? { code: null, stdout: "", stderr: "" };
      expect(stderr.trimEnd()).toMatch(says);
      expect(stderr).not.toMatch(/\n\s+at |internal error/);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    },
  );

  it("ends the process with that code too", () => {
    const { code, stdout, stderr } = podwire(["matrix", "missing.yaml", "-e", "oracle"], { cwd });
    expect({ code, stdout, stderr }).toEqual({
      code: 2,
      stdout: "",
      stderr: "podwire: missing.yaml: no such file or directory\n",
    });
  });

  it("is shown without what a terminal would act on", () => {
    const { code, stderr } = podwire(["matrix", "binary.yaml", "-e", "oracle"], { cwd });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^podwire: binary\.yaml:1:\d+: /);
    expect(stderr.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  });

  it("comes with a stack trace for those who ask, wherever they ask", () => {
    for (const args of [
      ["--debug", "matrix", "missing.yaml", "-e", "oracle"],
      ["matrix", "missing.yaml", "-e", "oracle", "--debug"],
    ])
      expect(podwire(args, { cwd }).stderr).toMatch(/no such file[\s\S]*\n\s+at /);
  });

  it("names the link that leads nowhere", () => {
    const folder = folderWith("dangling", { "pods.yaml": pods });
    symlinkSync("nowhere.yaml", join(folder, "link.yaml"));
    const { code, stderr } = podwire(["matrix", "dangling", "-e", "oracle"], { cwd: join(folder, "..") });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: "podwire: dangling/link.yaml: no such file or directory\n",
    });
  });

  it.runIf(process.getuid?.() === 0)(
    "names the folder that may not be read (as root: through nobody)",
    () => {
      const folder = folderWith("unreadable", { "pods.yaml": pods, "inner/pods.yaml": pods });
      chmodSync(join(folder, "inner"), 0o000);
      let stderr = "";
      try {
        execFileSync(process.execPath, [commandFile(), "matrix", folder, "-e", "oracle"], {
          uid: 65534,
          gid: 65534,
          stdio: ["ignore", "ignore", "pipe"],
          encoding: "utf8",
        });
      } catch (error) {
        stderr = (error as { readonly stderr: string }).stderr;
      } finally {
        chmodSync(join(folder, "inner"), 0o755);
      }
      expect(stderr).toBe(`podwire: ${join(folder, "inner")}: permission denied\n`);
    },
  );
});

describe("a policy that an engine cannot express", () => {
  it("is a diagnostic in the engine's words; the run goes on as the engine would", () => {
    const { code, stdout, stderr } = podwire(["matrix", "pods.yaml", "ipv6.yaml", "-e", "azure-npm"], {
      cwd,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/error: .*NetworkPolicy p in namespace x.*unsupported IP address/);
    expect(stderr).toBe("");
  });

  it("is said on standard error where the result is files", () => {
    const { code, stderr } = podwire(["compile", "pods.yaml", "ipv6.yaml", "-e", "azure-npm", "--out", "t"], {
      cwd,
    });
    expect(code).toBe(0);
    expect(stderr).toMatch(/^podwire: error: .*unsupported IP address/);
  });
});
