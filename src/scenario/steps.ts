/** Steps: from the checked raw form to the closed union that the harness walks. */
import { assert, type Issue, unreachable } from "../base/index.ts";
import { type FieldPath, formatPath, type PlacedDocument } from "./document.ts";
import { readDuration } from "./duration.ts";
import { type End, readEnd } from "./end.ts";
import { type Expectation, readExpectation, sameForAll } from "./expectation.ts";
import { podObject } from "./fixture.ts";
import { readTable, samePort } from "./matrix.ts";
import { formatPort, readPort, type ScenarioPort } from "./port.ts";
import type {
  Attempt,
  ExpectedVerdict,
  InjectedPacket,
  ManifestText,
  MatrixExpectation,
  MatrixOverride,
  ProbeOutcome,
  SendOutcome,
  Step,
} from "./scenario.ts";
import {
  type RawAttempt,
  type RawExpectation,
  type RawInjection,
  type RawManifests,
  type RawMatrix,
  type RawPort,
  type RawStep,
  stepActions,
  tcpFlagNames,
} from "./schema.ts";

export interface StepContext {
  readonly document: PlacedDocument;
  readonly issues: Issue[];
  /** Flows opened so far; `false` = closed. */
  readonly flows: Map<string, boolean>;
  texts(value: RawManifests, path: FieldPath): readonly ManifestText[];
  /** An object that the loader made, on the line of what it was made from. */
  made(object: unknown, path: FieldPath): ManifestText;
  /** Reports an engine that nobody knows. */
  checkEngine(label: string, path: FieldPath): void;
}

/** agnhost connect's timeout in the AKS walk-through. */
const defaultTimeoutNs = 3e9;
/** ICMP echo request. */
const echoType = 8;

/** `undefined` when the step was reported as bad. `raw` has been checked against the schema. */
export function readStep(raw: RawStep, path: FieldPath, context: StepContext): Step | undefined {
  const action = stepActions.find((name) => raw[name] !== undefined);
  assert(action !== undefined, "a checked step has an action");
  const base = { place: context.document.keyPlace([...path, action]), note: raw.note };
  const at = [...path, action];
  switch (action) {
    case "apply":
      return { ...base, action, manifests: context.texts(given(raw.apply), at) };
    case "delete": {
      const { kind, name } = given(raw.delete);
      const [namespace, ownName] = splitOptional(name);
      return { ...base, action, kind, namespace, name: ownName };
    }
    case "label":
      return { ...base, action, ...labelTarget(given(raw.label)), labels: given(raw.label).labels };
    case "createPod": {
      const pod = given(raw.createPod);
      const manifest = context.made(podObject(pod, [], undefined), at);
      return { ...base, action, ...splitNamespaced(pod.name), manifest };
    }
    case "deletePod":
      return { ...base, action, ...splitNamespaced(given(raw.deletePod)) };
    case "probe": {
      const probe = given(raw.probe);
      const timeoutNs = probe.timeout === undefined ? defaultTimeoutNs : durationOf(probe.timeout);
      return { ...base, action, ...attemptOf(probe), timeoutNs, expect: outcomeOf(probe, at, context) };
    }
    case "connect": {
      const connect = given(raw.connect);
      const flow = given(connect.as);
      if (context.flows.get(flow) === true)
        report(context, [...at, "as"], "duplicate", `flow ${flow} is open already`);
      context.flows.set(flow, true);
      return { ...base, action, flow, ...attemptOf(connect), expect: outcomeOf(connect, at, context) };
    }
    case "send": {
      const { flow, from, expect } = given(raw.send);
      checkFlow(flow, [...at, "flow"], context);
      return {
        ...base,
        action,
        flow,
        from,
        expect: perEngine<SendOutcome>(expect, [...at, "expect"], context),
      };
    }
    case "close": {
      const flow = given(raw.close);
      checkFlow(flow, at, context);
      context.flows.set(flow, false);
      return { ...base, action, flow };
    }
    case "inject": {
      const { from, expect: expected, ...packet } = given(raw.inject);
      const expect = perEngine<SendOutcome>(expected, [...at, "expect"], context);
      return { ...base, action, from: endOf(from), packet: injectedPacket(packet), expect };
    }
    case "expectMatrix": {
      const matrix = readMatrix(given(raw.expectMatrix), at, context);
      return matrix === undefined ? undefined : { ...base, action, matrix };
    }
    case "expectDiagnostic": {
      const { engines = [], code, policy, message, absent = false } = given(raw.expectDiagnostic);
      for (const [index, engine] of engines.entries()) context.checkEngine(engine, [...at, "engines", index]);
      return { ...base, action, engines, code, policy, message, absent };
    }
    case "advance":
      return { ...base, action, durationNs: durationOf(given(raw.advance)) };
    case "restart":
    case "uninstall":
    case "install":
      return { ...base, action, node: given(raw[action]).node };
    default:
      return unreachable(action);
  }
}

function readMatrix(raw: RawMatrix, path: FieldPath, context: StepContext): MatrixExpectation | undefined {
  const ports = raw.ports.map(portOf);
  const place = context.document.place(path);
  const ends =
    raw.from === undefined || raw.to === undefined
      ? undefined
      : { from: raw.from.map(endOf), to: raw.to.map(endOf) };
  const base = { ports, ends, family: raw.family, place };
  if (raw.table !== undefined) {
    const table = readTable(raw.table, ports, place);
    if (typeof table !== "string")
      return { ...base, pods: table.pods, default: sameForAll("allow"), overrides: table.overrides };
    report(context, [...path, "table"], "invalid", table);
    return undefined;
  }
  const overrides = (raw.overrides ?? []).map((override, index): MatrixOverride => {
    const at = [...path, "overrides", index];
    const own = (override.ports ?? []).map(portOf);
    for (const port of own)
      if (!ports.some((known) => samePort(known, port)))
        report(
          context,
          [...at, "ports"],
          "unknown-name",
          `${formatPort(port)} is not among the matrix's ports`,
        );
    return {
      from: asList(override.from),
      to: asList(override.to),
      ports: own,
      verdict: perEngine<ExpectedVerdict>(override.verdict, [...at, "verdict"], context),
      place: context.document.place(at),
    };
  });
  const fallback = perEngine<ExpectedVerdict>(raw.default ?? "allow", [...path, "default"], context);
  return { ...base, pods: raw.pods ?? [], default: fallback, overrides };
}

function labelTarget(raw: NonNullable<RawStep["label"]>): {
  readonly kind: "Pod" | "Namespace" | "Node";
  readonly namespace: string | undefined;
  readonly name: string;
} {
  if (raw.pod !== undefined) return { kind: "Pod", ...splitNamespaced(raw.pod) };
  if (raw.namespace !== undefined) return { kind: "Namespace", namespace: undefined, name: raw.namespace };
  return { kind: "Node", namespace: undefined, name: given(raw.node) };
}

function attemptOf(raw: RawAttempt): Attempt {
  return { from: endOf(raw.from), ...targetOf(raw) };
}

function targetOf(raw: Omit<RawAttempt, "from">): Omit<Attempt, "from"> {
  const protocol = (raw.protocol ?? "TCP") as ScenarioPort["protocol"];
  const port = protocol === "ICMP" ? (raw.type ?? echoType) : given(raw.port);
  return { to: endOf(raw.to), port: { protocol, port }, family: raw.family };
}

function injectedPacket(raw: Omit<RawInjection, "from" | "expect">): InjectedPacket {
  if (raw.packet !== undefined) return { kind: "bytes", hex: raw.packet };
  const { sourcePort = 40_000, flags = ["ACK"] } = raw;
  const bits = flags.reduce((sum, name) => sum | (1 << tcpFlagNames.indexOf(name)), 0);
  return { kind: "fields", ...targetOf({ ...raw, to: given(raw.to) }), sourcePort, flags: bits };
}

function outcomeOf(raw: RawAttempt, path: FieldPath, context: StepContext): Expectation<ProbeOutcome> {
  return perEngine(raw.expect ?? "connected", [...path, "expect"], context);
}

/** An expectation whose values the schema has checked to be of `T`. */
function perEngine<T extends string>(
  raw: RawExpectation,
  path: FieldPath,
  context: StepContext,
): Expectation<T> {
  const expectation = readExpectation(raw) as Expectation<T>;
  for (const engine of expectation.perEngine.keys()) context.checkEngine(engine, [...path, engine]);
  return expectation;
}

function checkFlow(flow: string, path: FieldPath, context: StepContext): void {
  const isOpen = context.flows.get(flow);
  if (isOpen === true) return;
  report(
    context,
    path,
    "unknown-name",
    isOpen === false ? `flow ${flow} is closed` : `no step before opens flow ${flow}`,
  );
}

function report(context: StepContext, path: FieldPath, code: Issue["code"], message: string): void {
  context.issues.push({ code, path: formatPath(path), message, ...context.document.place(path) });
}

function given<T>(value: T | undefined): T {
  assert(value !== undefined, "checked by the schema");
  return value;
}

function endOf(text: string): End {
  const end = readEnd(text);
  assert(typeof end !== "string", "checked by the schema");
  return end;
}

function portOf(raw: RawPort): ScenarioPort {
  const port = readPort(String(raw));
  assert(typeof port !== "string", "checked by the schema");
  return port;
}

function durationOf(text: string): number {
  const durationNs = readDuration(text);
  assert(typeof durationNs !== "string", "checked by the schema");
  return durationNs;
}

function asList(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

function splitNamespaced(text: string): { readonly namespace: string; readonly name: string } {
  const slash = text.indexOf("/");
  return { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}

function splitOptional(text: string): readonly [string | undefined, string] {
  const slash = text.indexOf("/");
  return slash < 0 ? [undefined, text] : [text.slice(0, slash), text.slice(slash + 1)];
}
