/**
 * The shape of a scenario file, once: checked here, published as JSON Schema. Texts inside (ends, ports, durations)
 * are checked by the readers that later take them apart, so that both say the same.
 */
import { z } from "zod";
import { parseIp } from "../addr/index.ts";
import { readDuration } from "./duration.ts";
import { readEnd } from "./end.ts";
import { readPort, readServedPort } from "./port.ts";

export type RawExpectation = string | Readonly<Record<string, string>>;
export type RawManifest = string | Readonly<Record<string, unknown>>;
export type RawManifests = RawManifest | readonly RawManifest[];
/** YAML reads a bare `80` as a number. */
export type RawPort = string | number;
type RawLabels = Readonly<Record<string, string>>;

export interface RawAttempt {
  readonly as?: string | undefined;
  readonly from: string;
  readonly to: string;
  readonly port?: number | undefined;
  readonly type?: number | undefined;
  readonly protocol?: string | undefined;
  readonly family?: 4 | 6 | undefined;
  readonly timeout?: string | undefined;
  readonly expect?: RawExpectation | undefined;
}

export interface RawInjection extends Omit<RawAttempt, "to" | "as" | "timeout" | "expect"> {
  readonly to?: string | undefined;
  readonly sourcePort?: number | undefined;
  readonly flags?: readonly TcpFlagName[] | undefined;
  readonly packet?: string | undefined;
  readonly expect: RawExpectation;
}

/** In the order of their bits, the lowest first (RFC 9293, 3.1). */
export const tcpFlagNames = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"] as const;
export type TcpFlagName = (typeof tcpFlagNames)[number];

export interface RawOverride {
  readonly from: string | readonly string[];
  readonly to: string | readonly string[];
  readonly ports?: readonly RawPort[] | undefined;
  readonly verdict: RawExpectation;
}

export interface RawMatrix {
  readonly ports: readonly RawPort[];
  readonly pods?: readonly string[] | undefined;
  readonly from?: readonly string[] | undefined;
  readonly to?: readonly string[] | undefined;
  readonly family?: 4 | 6 | undefined;
  readonly default?: RawExpectation | undefined;
  readonly overrides?: readonly RawOverride[] | undefined;
  readonly table?: string | undefined;
}

export interface RawPod {
  readonly name: string;
  readonly labels?: RawLabels | undefined;
  readonly node?: string | undefined;
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly hostNetwork?: boolean | undefined;
  readonly ports?: readonly RawPort[] | undefined;
}

export interface RawNode {
  readonly name: string;
  readonly os?: "linux" | "windows" | undefined;
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
}

export interface RawFixture {
  readonly namespaces?:
    | Readonly<Record<string, { readonly labels?: RawLabels | undefined } | null>>
    | undefined;
  readonly nodes?: number | readonly RawNode[] | undefined;
  readonly pods: readonly (string | RawPod)[];
  readonly ports?: readonly RawPort[] | undefined;
}

export interface RawStep {
  readonly note?: string | undefined;
  readonly apply?: RawManifests | undefined;
  readonly delete?: { readonly kind: string; readonly name: string } | undefined;
  readonly label?:
    | {
        readonly pod?: string | undefined;
        readonly namespace?: string | undefined;
        readonly node?: string | undefined;
        readonly labels: Readonly<Record<string, string | null>>;
      }
    | undefined;
  readonly createPod?: RawPod | undefined;
  readonly deletePod?: string | undefined;
  readonly probe?: RawAttempt | undefined;
  readonly connect?: RawAttempt | undefined;
  readonly send?:
    | { readonly flow: string; readonly from: "client" | "server"; readonly expect: RawExpectation }
    | undefined;
  readonly close?: string | undefined;
  readonly inject?: RawInjection | undefined;
  readonly expectMatrix?: RawMatrix | undefined;
  readonly expectDiagnostic?:
    | {
        readonly engines?: readonly string[] | undefined;
        readonly code?: string | undefined;
        readonly policy?: string | undefined;
        readonly message?: string | undefined;
        readonly absent?: boolean | undefined;
      }
    | undefined;
  readonly advance?: string | undefined;
  readonly restart?: RawNodes | undefined;
  readonly uninstall?: RawNodes | undefined;
  readonly install?: RawNodes | undefined;
}

/** One node, or without a name every node. */
export interface RawNodes {
  readonly node?: string | undefined;
}

export interface RawScenario {
  readonly name?: string | undefined;
  readonly cluster?: Readonly<Record<string, unknown>> | undefined;
  readonly fixture?: RawFixture | undefined;
  readonly manifests?: RawManifests | undefined;
  readonly engines: readonly string[];
  readonly steps: readonly RawStep[];
}

export type StepAction = Exclude<keyof RawStep, "note">;

export const stepActions: readonly StepAction[] = [
  "apply",
  "delete",
  "label",
  "createPod",
  "deletePod",
  "probe",
  "connect",
  "send",
  "close",
  "inject",
  "expectMatrix",
  "expectDiagnostic",
  "advance",
  "restart",
  "uninstall",
  "install",
];

/** A string that a reader accepts: readers answer with a text when something is wrong. */
function textOf(read: (text: string) => unknown, description: string): z.ZodType<string> {
  return z
    .string()
    .superRefine((text, context) => {
      const value = read(text);
      if (typeof value === "string") context.addIssue({ code: "custom", message: value });
    })
    .describe(description);
}

const patternOf = (pattern: RegExp, message: string): z.ZodType<string> => z.string().regex(pattern, message);
const namespacedName = patternOf(/^[a-z0-9][-a-z0-9.]*\/[a-z0-9][-a-z0-9.]*$/, "must be namespace/name");
const objectName = patternOf(/^[a-z0-9][-a-z0-9.]*$/, "must be an object name");
const nodes = z.strictObject({ node: objectName.optional() });
const flowName = patternOf(/^[A-Za-z0-9_-]+$/, "must be a flow name of letters, digits, _ and -");
const end = textOf(
  readEnd,
  "ns/pod, ns/deploy/name, node:NAME, svc:ns/name, lb:ns/name, nodeport:NODE:PORT or ip:ADDRESS",
);
const portNumber = z.int().min(1).max(65535).describe("a TCP port");
const port = z.union([portNumber, textOf(readPort, "80/TCP, 53/UDP, 80/SCTP, or 8/ICMP (the ICMP type)")]);
const servedPort = z.union([portNumber, textOf(readServedPort, "80/TCP, 53/UDP or 80/SCTP")]);
const duration = textOf(readDuration, "500ms, 15s, 5m, 1h30m");
const labels = z.record(z.string(), z.string());
const family = z.union([z.literal(4), z.literal(6)]).describe("address family; the primary one if absent");

function expectation(values: readonly [string, ...string[]]): z.ZodType<RawExpectation> {
  const value = z.enum(values);
  return z
    .union([value, z.object({ default: value }).catchall(value)])
    .describe("one value, or `default` and a value per engine");
}

const probeOutcome = expectation(["connected", "refused", "timeout", "undefined"]);
const verdict = expectation(["allow", "deny", "undefined", "some"]);
const manifest = z.union([z.string(), z.record(z.string(), z.unknown())]);
const manifests = z
  .union([manifest, z.array(manifest)])
  .describe("YAML text, an API object, `{ path: file }`, or a list of these");

const attemptFields = {
  from: end,
  to: end,
  port: z.int().min(1).max(65535).optional(),
  type: z.int().min(0).max(255).optional().describe("ICMP only: the message type, 8 if absent"),
  protocol: z.enum(["TCP", "UDP", "SCTP", "ICMP"]).optional().describe("TCP if absent"),
  family: family.optional(),
};

const needsPort = (
  attempt: Pick<RawAttempt, "protocol" | "port" | "type">,
  context: z.RefinementCtx,
): void => {
  const icmp = attempt.protocol === "ICMP";
  if (icmp && attempt.port !== undefined)
    context.addIssue({ code: "custom", path: ["port"], message: "ICMP has no ports; give `type`" });
  if (!icmp && attempt.type !== undefined)
    context.addIssue({ code: "custom", path: ["type"], message: "`type` is for ICMP; give `port`" });
  if (!icmp && attempt.port === undefined) context.addIssue({ code: "custom", message: "`port` is missing" });
};

const probe = z
  .strictObject({
    ...attemptFields,
    timeout: duration.optional().describe("3s if absent"),
    expect: probeOutcome,
  })
  .superRefine(needsPort)
  .describe("one connection attempt");
const connect = z
  .strictObject({
    as: flowName,
    ...attemptFields,
    expect: probeOutcome.optional().describe("connected if absent"),
  })
  .superRefine(needsPort)
  .describe("opens a flow that later steps name");

const sendOutcome = expectation(["delivered", "lost", "reset", "undefined"]);
const { from: _, ...targetFields } = attemptFields;
const injection = z
  .strictObject({
    from: end,
    ...targetFields,
    to: end.optional(),
    sourcePort: z.int().min(1).max(65535).optional().describe("40000 if absent"),
    flags: z.array(z.enum(tcpFlagNames)).optional().describe("of TCP; [ACK] if absent"),
    packet: patternOf(/^([0-9a-fA-F]{2}){20,}$/, "must be an IP packet in hexadecimal digits").optional(),
    expect: sendOutcome,
  })
  .superRefine(({ from, packet, expect, ...fields }, context) => {
    const named = Object.entries(fields).filter(([, value]) => value !== undefined);
    if (packet !== undefined && named.length > 0)
      context.addIssue({
        code: "custom",
        path: ["packet"],
        message: `\`packet\` says all; leave out ${named[0]?.[0]}`,
      });
    if (packet !== undefined) return;
    if (fields.to === undefined)
      context.addIssue({ code: "custom", message: "needs `to`, or a whole `packet`" });
    if (fields.flags !== undefined && (fields.protocol ?? "TCP") !== "TCP")
      context.addIssue({ code: "custom", path: ["flags"], message: "`flags` are TCP's" });
    needsPort(fields, context);
  })
  .describe("one packet that belongs to no flow: `to` and what it is made of, or all of its bytes");

const pattern = patternOf(
  /^(\*|[a-z0-9][-a-z0-9.]*\/(\*|[a-z0-9][-a-z0-9.]*))$/,
  "must be ns/pod, ns/* or *",
);
const patterns = z.union([pattern, z.array(pattern).min(1)]);
const matrix = z
  .strictObject({
    ports: z.array(port).min(1),
    pods: z.array(namespacedName).optional().describe("every pod not on the host's network, if absent"),
    from: z.array(end).min(1).optional().describe("ends of any kind that open connections, instead of pods"),
    to: z.array(end).min(1).optional().describe("ends of any kind that they go to"),
    family: family.optional(),
    default: verdict.optional().describe("allow if absent"),
    overrides: z
      .array(
        z.strictObject({ from: patterns, to: patterns, ports: z.array(port).min(1).optional(), verdict }),
      )
      .optional()
      .describe("the last that matches a cell wins"),
    table: z
      .string()
      .optional()
      .describe("rows = from, columns = to; a cell has one letter per port: . allow, X deny, ? undefined"),
  })
  .superRefine((value, context) => {
    const hasEnds = value.from !== undefined || value.to !== undefined;
    const hasPods = value.overrides !== undefined || value.pods !== undefined;
    if (value.table !== undefined && (value.default !== undefined || hasPods || hasEnds))
      context.addIssue({
        code: "custom",
        path: ["table"],
        message: "`table` says all; leave out pods, from, to, default and overrides",
      });
    if (hasEnds && (value.from === undefined || value.to === undefined || hasPods))
      context.addIssue({
        code: "custom",
        path: [value.from === undefined ? "to" : "from"],
        message: "`from` and `to` go together, without pods and overrides",
      });
  });

const addressOf = (family: 4 | 6): z.ZodType<string> =>
  textOf(
    (text) => (parseIp(text)?.family === family ? undefined : `not an IPv${family} address: ${text}`),
    `an IPv${family} address`,
  );
const podFields = {
  name: namespacedName,
  labels: labels.optional().describe("{ pod: NAME } if absent"),
  node: objectName.optional(),
  ip: addressOf(4).optional().describe("status.podIP; assigned by the virtual cluster if absent"),
  ip6: addressOf(6).optional(),
  hostNetwork: z.boolean().optional(),
  ports: z.array(servedPort).optional(),
};
const pod = z.strictObject(podFields);
const fixture = z
  .strictObject({
    namespaces: z
      .record(z.string(), z.strictObject({ labels: labels.optional() }).nullable())
      .optional()
      .describe("labels beside `ns: NAME`; namespaces of pods need not be listed"),
    nodes: z
      .union([
        z.int().min(1).max(100),
        z
          .array(
            z.strictObject({
              name: objectName,
              os: z.enum(["linux", "windows"]).optional().describe("linux if absent"),
              ip: addressOf(4).optional(),
              ip6: addressOf(6).optional(),
            }),
          )
          .min(1),
      ])
      .optional()
      .describe("how many (named n1, n2, ...), or a list; 1 if absent. Pods are placed in turn"),
    pods: z.array(z.union([namespacedName, pod])).min(1),
    ports: z.array(servedPort).optional().describe("served by every pod, each named serve-80-tcp and so on"),
  })
  .describe(
    "Namespaces labelled `ns: NAME`, Pods labelled `pod: NAME`, Nodes: the arrangement of the upstream tests",
  );

const step = z
  .strictObject({
    note: z.string().optional(),
    apply: manifests.optional(),
    delete: z
      .strictObject({
        kind: z.string(),
        name: patternOf(/^[a-z0-9][-a-z0-9.]*(\/[a-z0-9][-a-z0-9.]*)?$/, "must be name or namespace/name"),
      })
      .optional(),
    label: z
      .strictObject({
        pod: namespacedName.optional(),
        namespace: objectName.optional(),
        node: objectName.optional(),
        labels: z.record(z.string(), z.string().nullable()).describe("null removes a label"),
      })
      .superRefine((value, context) => {
        const named = [value.pod, value.namespace, value.node].filter((name) => name !== undefined);
        if (named.length !== 1)
          context.addIssue({ code: "custom", message: "needs one of pod, namespace and node" });
      })
      .optional(),
    createPod: pod.optional(),
    deletePod: namespacedName.optional(),
    probe: probe.optional(),
    connect: connect.optional(),
    send: z
      .strictObject({
        flow: flowName,
        from: z.enum(["client", "server"]),
        expect: sendOutcome,
      })
      .optional(),
    close: flowName.optional(),
    inject: injection.optional(),
    expectMatrix: matrix.optional(),
    expectDiagnostic: z
      .strictObject({
        engines: z.array(z.string()).optional().describe("every engine but the oracle, if absent"),
        code: z.string().optional(),
        policy: namespacedName.optional(),
        message: z.string().optional().describe("text that the message contains"),
        absent: z.boolean().optional().describe("true: no such diagnostic may have been given"),
      })
      .superRefine((value, context) => {
        if (value.code === undefined && value.policy === undefined && value.message === undefined)
          context.addIssue({ code: "custom", message: "needs one of code, policy and message" });
      })
      .optional(),
    advance: duration.optional(),
    restart: nodes.optional(),
    uninstall: nodes.optional(),
    install: nodes.optional(),
  })
  .superRefine((value, context) => {
    const actions = stepActions.filter((action) => value[action] !== undefined);
    if (actions.length === 0)
      context.addIssue({ code: "custom", message: `a step needs one of ${stepActions.join(", ")}` });
    if (actions.length > 1)
      context.addIssue({ code: "custom", message: `a step does one thing; split ${actions.join(" and ")}` });
  });

const cluster = z.strictObject({
  networkPlugin: z.enum(["azure", "kubenet", "none"]).optional(),
  networkPluginMode: z.enum(["overlay"]).optional(),
  networkDataplane: z.enum(["azure", "cilium"]).optional(),
  networkPolicy: z.enum(["none", "azure", "calico", "cilium"]).optional(),
  kubernetesVersion: patternOf(/^1\.[0-9]+(\.[0-9]+)?$/, 'must be a version such as "1.31"').optional(),
  ipFamilies: z
    .array(z.enum(["ipv4", "ipv6"]))
    .min(1)
    .max(2)
    .optional(),
  nodeSubnet: z.string().optional().describe("the subnet of nodes, and of pods of Azure CNI without overlay"),
  podCidr: z.string().optional().describe("one prefix a family, separated by commas"),
  serviceCidr: z.string().optional(),
  nodePools: z
    .array(
      z.strictObject({
        name: objectName,
        osType: z.enum(["Linux", "Windows"]).optional(),
        osSku: z.string().optional(),
        count: z.int().min(0).max(5000).optional(),
      }),
    )
    .optional(),
  force: z.boolean().optional().describe("emulate combinations that AKS refuses"),
});

export const scenarioSchema: z.ZodType<RawScenario> = z
  .strictObject({
    name: z.string().optional().describe("the file's name if absent"),
    cluster: cluster.optional().describe("the words of `az aks create`"),
    fixture: fixture.optional(),
    manifests: manifests.optional(),
    engines: z
      .array(z.string().min(1))
      .min(1)
      .describe("as --engine takes them: azure-npm@2026-08, oracle, all"),
    steps: z.array(step).min(1),
  })
  .describe("A podwire scenario. The leading comment says what it shows and what to look at.");

/** JSON Schema (draft 2020-12) of scenario files, for editors and `podwire schema`. */
export function scenarioJsonSchema(): object {
  return { ...z.toJSONSchema(scenarioSchema, { io: "input" }), title: "podwire scenario" };
}
