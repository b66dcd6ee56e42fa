/** The machine that runs the kernel checks is what they take it for. */
import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { describeNeeding } from "../needs.ts";

describeNeeding("a machine for kernel checks", ["root", "tun", "ip"], () => {
  it("makes and removes a network namespace", () => {
    const name = `podwire-needs-${process.pid}`;
    execFileSync("ip", ["netns", "add", name]);
    try {
      expect(execFileSync("ip", ["netns", "list"], { encoding: "utf8" })).toContain(name);
    } finally {
      execFileSync("ip", ["netns", "delete", name]);
    }
  });
});
