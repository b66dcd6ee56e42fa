/** `podwire fuzz` against the running kernel, as people call it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { expect, it } from "vitest";
import type { FuzzDocument } from "../../src/harness/index.ts";
import { commandFile, folderWith, podwire } from "../cli/installed.ts";
import { describeNeeding } from "../needs.ts";

const needs = ["root", "tun", "iptables", "iptables-nft", "ipset", "conntrack", "ip"] as const;
const cwd = folderWith("fuzz-kernel", {});

describeNeeding("podwire fuzz against the kernel", needs, () => {
  it.each([
    ["an engine's tables", ["-e", "azure-npm", "--against", "kernel", "--runs", "5"]],
    ["raw rule sets", ["--level", "tables", "--runs", "5", "--packets", "100"]],
  ])("compares %s on both backends", (_, args) => {
    const { code, stdout, stderr } = podwire(["fuzz", ...args, "--seed", "1", "-o", "json"], { cwd });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { against, results } = JSON.parse(stdout) as FuzzDocument;
    expect(against).toBe("kernel");
    expect(results.map(({ backend, runs }) => [backend, runs])).toEqual([
      ["legacy", 5],
      ["nft", 5],
    ]);
    for (const { compared } of results) expect(compared).toBeGreaterThan(400);
  });

  it.each([
    ["an engine's tables", ["-e", "azure-npm", "--against", "kernel"]],
    ["raw rule sets", ["--level", "tables"]],
  ])("comparing %s ends in order when a terminal's Ctrl-C reaches all its processes", async (_, args) => {
    const all = ["fuzz", ...args, "--runs", "100000", "--seed", "1", "-o", "json"];
    const child = spawn(process.execPath, [commandFile(), ...all], { cwd, detached: true });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const ended = once(child, "close");
    await pause(4000);
    process.kill(-(child.pid ?? 0), "SIGINT");
    const [code] = await ended;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    const { interrupted, results } = JSON.parse(stdout) as FuzzDocument;
    expect(interrupted).toBe(true);
    expect(results[0]?.compared).toBeGreaterThan(0);
  });
});
