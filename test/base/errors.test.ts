/** Errors as data first, and assertions that stay on. */
import { describe, expect, it } from "vitest";
import {
  AssertionError,
  assert,
  formatIssue,
  InputError,
  unreachable,
  usageError,
} from "../../src/base/index.ts";

describe("an issue is written", () => {
  const issue = { code: "invalid", path: "spec.ports[0]", message: "must be 1-65535" } as const;
  it.each([
    [
      "with file, line, column and path",
      { file: "a.yaml", line: 3, column: 5 },
      "a.yaml:3:5: spec.ports[0]: must be 1-65535",
    ],
    ["without a column", { file: "a.yaml", line: 3 }, "a.yaml:3: spec.ports[0]: must be 1-65535"],
    ["without a file", { line: 3, column: 5 }, "line 3:5: spec.ports[0]: must be 1-65535"],
    [
      "with a byte offset where there are no lines",
      { file: "a.pcap", offset: 24 },
      "a.pcap:byte 24: spec.ports[0]: must be 1-65535",
    ],
    ["with nothing but its path", {}, "spec.ports[0]: must be 1-65535"],
  ])("%s", (_, place, text) => {
    expect(formatIssue({ ...issue, ...place })).toBe(text);
  });

  it("without a path where it is about the whole", () => {
    expect(formatIssue({ ...issue, path: "" })).toBe("must be 1-65535");
  });
});

describe("an input error", () => {
  it("carries all issues, and its message is all of them", () => {
    const issues = [
      { code: "required", path: "a", message: "x" },
      { code: "duplicate", path: "b", message: "y" },
    ] as const;
    const error = new InputError(issues);
    expect(error.issues).toEqual(issues);
    expect(error.message).toBe("a: x\nb: y");
    expect(error.name).toBe("InputError");
  });

  it("about arguments has no place", () => {
    expect(usageError("no such flag").issues).toEqual([{ code: "usage", path: "", message: "no such flag" }]);
  });
});

describe("assertions", () => {
  it("stop what is broken, and let pass what holds", () => {
    expect(() => assert(false, "the floor")).toThrow(AssertionError);
    expect(() => assert(0, "zero is no truth")).toThrow("zero is no truth");
    expect(assert(true, "never")).toBeUndefined();
  });

  it("name the case that nobody handled", () => {
    expect(() => unreachable("new kind" as never)).toThrow('unreachable case: "new kind"');
    expect(() => unreachable(7 as never, "opcode")).toThrow("opcode: 7");
  });
});
