/**
 * Schemas of the result documents, for programs that read them: published as JSON Schema by `podwire schema`, held
 * against real documents by the tests, and by the compiler against the documents' types.
 */
import { z } from "zod";
import { capacitySchema } from "./capacity-schema.ts";
import type {
  BenchDocument,
  CompileDocument,
  DiffDocument,
  EnginesDocument,
  FuzzDocument,
  GenerateDocument,
  MatrixDocument,
  ProbeDocument,
  RunDocument,
  TraceDocument,
  VersionDocument,
} from "./documents.ts";
import type { LiveDocument } from "./netns/index.ts";
import type { ReplayDocument } from "./replay/index.ts";
import { diagnostic, documented, maybe, natural, seeded, stamp, text, texts, whole } from "./schema-words.ts";
import { trafficShapes } from "./traffic.ts";

const family = z.literal([4, 6]);
const verdict = z.enum(["allow", "deny", "undefined", "some"]);
const cellFields = {
  from: text,
  to: text,
  protocol: text,
  port: maybe(natural),
  type: maybe(natural),
  family: maybe(family),
  verdict,
  by: maybe(z.enum(["egress", "ingress", "both"])),
  self: maybe(z.literal(true)),
  place: maybe(z.enum(["same-node", "other-node"])),
};
const cell = z.strictObject(cellFields);

const endKind = z.enum(["pod", "node", "service", "external"]);
const endpoint = z.strictObject({
  id: text,
  kind: endKind,
  node: maybe(text),
  addresses: texts,
  owner: maybe(text),
  hostNetwork: maybe(z.literal(true)),
});

const matrix = documented<MatrixDocument>()(
  z.strictObject({
    schema: z.literal("podwire/matrix/v1"),
    ...seeded,
    endpoints: z.array(endpoint),
    ports: z.array(z.strictObject({ protocol: text, port: maybe(natural), type: maybe(natural) })),
    results: z.array(
      z.strictObject({
        engine: text,
        engineVersion: text,
        method: z.enum(["walk", "table", "oracle"]),
        classes: maybe(z.array(z.strictObject({ id: text, kind: endKind, count: natural, members: texts }))),
        cells: z.array(cell),
        diagnostics: z.array(diagnostic),
      }),
    ),
  }),
);

const diff = documented<DiffDocument>()(
  z.strictObject({
    schema: z.literal("podwire/diff/v1"),
    ...seeded,
    engines: z.tuple([text, text]),
    compared: natural,
    undefined: natural,
    groups: z.array(
      z.strictObject({
        divergence: text,
        cause: maybe(text),
        source: maybe(text),
        cells: natural,
        witness: z.strictObject({ ...cellFields, a: verdict, b: verdict }),
      }),
    ),
  }),
);

const probe = documented<ProbeDocument>()(
  z.strictObject({
    schema: z.literal("podwire/probe/v1"),
    ...seeded,
    engine: text,
    from: text,
    to: text,
    protocol: text,
    port: natural,
    outcome: z.enum(["connected", "refused", "timeout"]),
    elapsedNs: natural,
    packets: z.array(z.strictObject({ atNs: natural, node: text, hook: text, line: text, verdict: text })),
  }),
);

const origin = z.strictObject({
  file: maybe(text),
  line: maybe(natural),
  policy: maybe(text),
  path: maybe(text),
  role: maybe(text),
  direction: maybe(z.enum(["ingress", "egress"])),
});

const traceEntry = z.strictObject({
  node: text,
  hook: text,
  table: text,
  chain: text,
  depth: natural,
  rule: natural,
  text,
  matched: z.boolean(),
  why: maybe(text),
  origin: maybe(origin),
  furtherOrigins: maybe(z.array(origin)),
  decided: maybe(z.literal(true)),
});

const trace = documented<TraceDocument>()(
  z.strictObject({
    schema: z.literal("podwire/trace/v1"),
    ...seeded,
    engine: text,
    engineVersion: text,
    from: text,
    to: text,
    protocol: text,
    port: natural,
    verdict: z.enum(["allow", "deny"]),
    by: maybe(z.enum(["egress", "ingress"])),
    packets: z.array(
      z.strictObject({
        line: text,
        direction: z.enum(["request", "reply"]),
        disposition: text,
        at: maybe(text),
        hooks: z.array(z.strictObject({ node: text, hook: text, verdict: text })),
        entries: z.array(traceEntry),
      }),
    ),
    oracle: z.strictObject({ verdict: text, explanation: texts }),
    decidedBy: maybe(traceEntry),
    deniedBecause: maybe(z.array(origin)),
  }),
);

const run = documented<RunDocument>()(
  z.strictObject({
    schema: z.literal("podwire/run/v1"),
    ...seeded,
    results: z.array(
      z.strictObject({
        scenario: text,
        file: text,
        engine: text,
        engineVersion: text,
        seed: whole,
        ok: z.boolean(),
        virtualNs: natural,
        packets: natural,
        steps: z.array(
          z.strictObject({
            step: natural,
            action: text,
            line: maybe(natural),
            ok: z.boolean(),
            problems: texts,
            undefined: maybe(natural),
          }),
        ),
        diagnostics: z.array(diagnostic),
      }),
    ),
    passed: natural,
    failed: natural,
  }),
);

const engines = documented<EnginesDocument>()(
  z.strictObject({
    schema: z.literal("podwire/engines/v1"),
    ...stamp,
    products: z.array(
      z.strictObject({
        product: text,
        platforms: texts,
        networkOptions: texts,
        networkPolicy: texts,
        beyond: texts,
        filters: texts,
      }),
    ),
    engines: z.array(
      z.strictObject({
        name: text,
        product: text,
        os: text,
        versions: texts,
        defaultVersion: text,
        switches: z.array(z.strictObject({ name: text, values: texts, summary: text })),
        platforms: texts,
        networkPlugins: texts,
        filters: text,
        beyond: texts,
        features: z.record(text, z.strictObject({ support: text, note: maybe(text), scenarios: texts })),
        divergences: z.array(
          z.strictObject({ id: text, cause: text, source: text, versions: text, scenarios: texts }),
        ),
      }),
    ),
    refusals: z.array(z.strictObject({ id: text, reason: text, source: text, scenarios: texts })),
    retirements: z.array(z.strictObject({ what: text, until: text, source: text })),
    notes: texts,
  }),
);

const cluster = z.strictObject({
  profile: text,
  nodes: natural,
  pods: natural,
  namespaces: natural,
  policies: natural,
});
const figure = z.number().nonnegative();

const bench = documented<BenchDocument>()(
  z.strictObject({
    schema: z.literal("podwire/bench/v1"),
    ...seeded,
    traffic: z.enum(trafficShapes),
    machine: z.strictObject({ node: text, cpu: text, cores: natural, load: figure }),
    cluster,
    results: z.array(
      z.strictObject({
        engine: text,
        engineVersion: text,
        path: z.enum(["decide", "parse+decide", "slice", "walk", "walk-traced"]),
        connections: z.enum(["new", "established"]),
        nsPerDecision: figure,
        decisionsPerSecond: figure,
        p50: figure,
        p99: figure,
        packets: natural,
        accepted: natural,
        asked: natural,
        resultHash: text,
        rules: natural,
        setEntries: natural,
        buildMs: figure,
        compileMs: figure,
        linkMs: figure,
        verdictTableMs: figure,
        verdictTableBytes: natural,
        classes: natural,
        tableBytes: natural,
        allTablesBytes: natural,
        rssBytes: natural,
      }),
    ),
  }),
);

const compile = documented<CompileDocument>()(
  z.strictObject({
    schema: z.literal("podwire/compile/v1"),
    ...stamp,
    engine: text,
    engineVersion: text,
    nodes: z.array(z.strictObject({ node: text, directory: text, files: texts })),
    diagnostics: z.array(diagnostic),
  }),
);

const generate = documented<GenerateDocument>()(
  z.strictObject({
    schema: z.literal("podwire/generate/v1"),
    ...seeded,
    cluster,
    files: texts,
  }),
);

const version = documented<VersionDocument>()(
  z.strictObject({
    schema: z.literal("podwire/version/v1"),
    ...stamp,
    node: text,
  }),
);

const disposition = z.enum([
  "delivered",
  "denied-egress",
  "denied-ingress",
  "no-route",
  "no-listener",
  "lost",
  "malformed",
]);
const replayRule = z.nullable(
  z.strictObject({
    node: text,
    hook: text,
    table: text,
    chain: text,
    number: natural,
    text,
    origin: maybe(origin),
    lookup: maybe(z.strictObject({ node: text, map: text, text, origin: maybe(origin) })),
    report: maybe(text),
  }),
);

const replayCounts = z.strictObject({
  packets: natural,
  judged: natural,
  delivered: natural,
  denied: natural,
  failed: natural,
  notIp: natural,
  unknownAddress: natural,
  notUnicast: natural,
  noTables: natural,
  held: natural,
  copies: natural,
  flows: natural,
});

const replay = documented<ReplayDocument>()(
  z.strictObject({
    schema: z.literal("podwire/replay/v1"),
    ...seeded,
    packets: z.array(
      z.strictObject({
        index: natural,
        engine: maybe(text),
        timestampNs: z.number(),
        time: text,
        line: text,
        verdict: z.enum(["accept", "drop", "reject", "none"]),
        disposition: z.enum([
          ...disposition.options,
          "not-ip",
          "unknown-address",
          "not-unicast",
          "no-tables",
          "held",
          "copy",
        ]),
        rule: replayRule,
        flow: maybe(natural),
        copyOf: maybe(natural),
      }),
    ),
    flows: z.array(
      z.strictObject({
        flow: natural,
        engine: maybe(text),
        protocol: text,
        client: text,
        server: text,
        from: maybe(text),
        to: maybe(text),
        verdict: z.enum(["allow", "deny", "mixed"]),
        packets: natural,
        delivered: natural,
        bytes: natural,
        firstPacket: natural,
        lastPacket: natural,
        denied: maybe(
          z.strictObject({
            packet: natural,
            disposition,
            rule: replayRule,
            because: z.array(origin),
          }),
        ),
      }),
    ),
    engines: z.array(z.strictObject({ engine: text, engineVersion: text, counts: maybe(replayCounts) })),
    counts: replayCounts,
    fault: maybe(z.strictObject({ offset: natural, message: text })),
    interrupted: maybe(z.literal(true)),
  }),
);

const live = documented<LiveDocument>()(
  z.strictObject({
    schema: z.literal("podwire/live/v1"),
    ...seeded,
    scenario: text,
    engine: text,
    engineVersion: text,
    node: text,
    places: z.array(z.strictObject({ namespace: text, interface: text, ends: texts })),
    packets: natural,
    sent: natural,
    expected: natural,
    cameOut: natural,
    differences: z.array(
      z.strictObject({
        packet: maybe(natural),
        sent: maybe(text),
        place: text,
        line: text,
        kind: z.enum(["missing", "unexpected"]),
      }),
    ),
    leftOut: z.strictObject({ nodesOwn: natural, noPlace: natural, later: natural, masqueraded: natural }),
    interrupted: maybe(z.literal(true)),
  }),
);

const fuzz = documented<FuzzDocument>()(
  z.strictObject({
    schema: z.literal("podwire/fuzz/v1"),
    ...seeded,
    level: z.enum(["cluster", "tables"]),
    against: z.enum(["oracle", "kernel", "engine"]),
    runs: natural,
    results: z.array(
      z.strictObject({
        engine: maybe(text),
        engineVersion: maybe(text),
        backend: maybe(z.enum(["legacy", "nft"])),
        runs: natural,
        compared: natural,
        divergences: maybe(texts),
        finding: maybe(z.strictObject({ run: natural, lines: texts, files: texts })),
      }),
    ),
    interrupted: maybe(z.literal(true)),
  }),
);

const schemas = {
  matrix,
  diff,
  probe,
  trace,
  replay,
  live,
  fuzz,
  run,
  engines,
  bench,
  capacity: capacitySchema,
  compile,
  generate,
  version,
};

/** Names that `podwire schema` takes beside `scenario`. */
export const documentNames: readonly string[] = Object.keys(schemas);

/** JSON Schema (draft 2020-12) of each result document, by the name in its `schema` field. */
export function documentJsonSchemas(): Readonly<Record<string, object>> {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [
      name,
      { ...z.toJSONSchema(schema), title: `podwire/${name}/v1` },
    ]),
  );
}
