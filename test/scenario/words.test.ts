/** Durations, ends, ports and expectations: what people write, and what it means. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../src/base/index.ts";
import {
  expectationKeys,
  expectedValue,
  formatEnd,
  formatPort,
  parseDuration,
  parseEnd,
  readExpectation,
  readPort,
} from "../../src/scenario/index.ts";
import { nearestWord } from "../../src/scenario/suggest.ts";

describe("durations", () => {
  it("are read in Go's spelling", () => {
    expect(parseDuration("500ms")).toBe(5e8);
    expect(parseDuration("15s")).toBe(15e9);
    expect(parseDuration("1h30m")).toBe(5400e9);
    expect(parseDuration("1.5s")).toBe(1.5e9);
    expect(parseDuration("7ns")).toBe(7);
    expect(parseDuration("3us")).toBe(3000);
  });

  it("without a unit, negative, empty or past 2^53 ns are refused with what was written", () => {
    for (const text of ["", "5", "-1s", "5 s", "s", "1d", "1.s", "9007200s9007200s"])
      expect(() => parseDuration(text), text).toThrow(InputError);
    expect(() => parseDuration("5")).toThrow(/not a duration: 5; write a number and a unit/);
  });
});

describe("ends of a connection", () => {
  const samples = [
    "x/a",
    "x/deployment/front",
    "x/statefulset/db",
    "node:n1",
    "svc:x/web",
    "lb:x/web",
    "nodeport:n1:30080",
    "ip:10.224.0.4",
    "ip:fd00::1",
  ];

  it("law: what is printed reads back as the same end", () => {
    for (const text of samples) expect(formatEnd(parseEnd(text))).toBe(text);
  });

  it("take kubectl's short names of workloads", () => {
    expect(parseEnd("x/deploy/front")).toEqual({
      kind: "workload",
      namespace: "x",
      workload: "Deployment",
      name: "front",
    });
    expect(parseEnd("x/sts/db")).toMatchObject({ workload: "StatefulSet" });
    expect(parseEnd("x/ds/agent")).toMatchObject({ workload: "DaemonSet" });
  });

  it("that are malformed are refused with the form that was meant", () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ["", /not an end of a connection/],
      ["server", /write ns\/pod/],
      ["x/pod/a", /unknown workload kind pod/],
      ["x/deploy/a/b", /not an end/],
      ["X/a", /not an end/],
      ["host:n1", /unknown kind of end host/],
      ["node:", /write node:NAME/],
      ["svc:web", /write svc:namespace\/name/],
      ["lb:x/web/80", /write lb:namespace\/name/],
      ["nodeport:n1", /write nodeport:NODE:PORT/],
      ["nodeport:n1:70000", /write nodeport:NODE:PORT/],
      ["ip:10.0.0", /not an IP address/],
      ["ip:10.0.0.01", /not an IP address/],
    ];
    for (const [text, message] of wrong) expect(() => parseEnd(text), text).toThrow(message);
  });

  it("law: any text gives an end or an InputError, nothing else", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(parseEnd(text).kind).toBeTypeOf("string");
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
        }
      }),
    );
  });
});

describe("ports", () => {
  it("law: a port that is printed reads back", () => {
    const protocols = ["TCP", "UDP", "SCTP"] as const;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 65535 }), fc.constantFrom(...protocols), (port, protocol) => {
        expect(readPort(formatPort({ port, protocol }))).toEqual({ port, protocol });
      }),
    );
  });

  it("are TCP when no protocol stands there, and ICMP's number is a type", () => {
    expect(readPort("80")).toEqual({ protocol: "TCP", port: 80 });
    expect(readPort("53/udp")).toEqual({ protocol: "UDP", port: 53 });
    expect(readPort("0/ICMP")).toEqual({ protocol: "ICMP", port: 0 });
  });

  it("out of range or of an unknown protocol are refused", () => {
    expect(readPort("0/TCP")).toBe("port out of range: 0/TCP");
    expect(readPort("65536")).toBe("port out of range: 65536");
    expect(readPort("256/ICMP")).toBe("port out of range: 256/ICMP");
    expect(readPort("80/QUIC")).toMatch(/not a port/);
    expect(readPort("http")).toMatch(/not a port/);
  });
});

describe("expectations per engine", () => {
  const expectation = readExpectation({
    default: "deny",
    "azure-npm": "allow",
    "azure-npm@2026-09": "undefined",
  });

  it("take the most particular name that has a value", () => {
    expect(expectedValue(expectation, "oracle")).toBe("deny");
    expect(expectedValue(expectation, "azure-npm")).toBe("allow");
    expect(expectedValue(expectation, "azure-npm@2026-08")).toBe("allow");
    expect(expectedValue(expectation, "azure-npm@2026-09+place-first")).toBe("undefined");
  });

  it("of a product hold for its suffixed names", () => {
    expect(expectedValue(expectation, "azure-npm-linux", "azure-npm")).toBe("allow");
    expect(expectedValue(expectation, "azure-npm-linux@2026-09", "azure-npm")).toBe("undefined");
    expect(expectationKeys("azure-npm-linux@1+a=b", "azure-npm")).toEqual([
      "azure-npm-linux@1+a=b",
      "azure-npm-linux@1",
      "azure-npm@1",
      "azure-npm-linux",
      "azure-npm",
    ]);
  });

  it("written as one value hold for everybody", () => {
    expect(expectedValue(readExpectation("allow"), "cilium")).toBe("allow");
  });
});

describe("suggestions", () => {
  it("find a slip of one or two letters and nothing farther off", () => {
    const known = ["probe", "createPod", "expectMatrix"];
    expect(nearestWord("prob", known)).toBe("probe");
    expect(nearestWord("porbe", known)).toBe("probe");
    expect(nearestWord("expectmatrix", known)).toBe("expectMatrix");
    expect(nearestWord("teleport", known)).toBeUndefined();
  });
});
