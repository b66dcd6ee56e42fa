/** Ctrl-C stops a command cleanly and keeps what is finished; a closed pipe ends it quietly. */
import { execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { LinkType, pcapHeader, pcapPacket, readCapture } from "../../src/capture/index.ts";
import { udp } from "../../src/packet/index.ts";
import { commandFile, folderWith } from "./installed.ts";

const tables = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
const cwd = folderWith("interrupt", { "t.save": tables });

const record = pcapPacket({
  interfaceIndex: 0,
  seconds: 1,
  nanoseconds: 0,
  bytes: udp({ src: "10.0.0.1", dst: "10.0.0.2", sport: 1, dport: 53 }),
});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Sends SIGINT when standard output shows that work is going on. `input` is all that has come by then, not the end. */
function interrupted(
  args: readonly string[],
  isWorking: (stdout: string) => boolean,
  input: Uint8Array = new Uint8Array(0),
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [commandFile(), ...args], { cwd, stdio: ["pipe", "pipe", "pipe"] });
    child.stdin.write(input);
    let [stdout, stderr, isSent] = ["", "", false];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (isSent || !isWorking(stdout)) return;
      isSent = true;
      child.kill("SIGINT");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

describe("Ctrl-C", () => {
  it("keeps the scenarios that have run", async () => {
    const scenarios = join(import.meta.dirname, "../../scenarios");
    // live text shows when the first is done; the whole takes seconds
    const { code, stdout, stderr } = await interrupted(
      ["run", scenarios, scenarios, scenarios, scenarios, scenarios],
      (text) => text.split("\n").length > 3,
    );
    expect(code).toBe(130);
    const ran = stdout.match(/^ok /gm)?.length ?? 0;
    expect(stdout).toMatch(new RegExp(`\n${ran} passed, 0 failed\n$`));
    expect(stderr).toMatch(new RegExp(`^podwire: stopped after ${ran} of \\d+ runs\n$`));
  });

  it("keeps what a replay has found of a capture that is still coming, in whole files", async () => {
    const capture = Buffer.concat([pcapHeader(LinkType.raw), record, record.subarray(0, 20)]);
    const { code, stdout } = await interrupted(
      [
        "replay",
        "-",
        "--iptables",
        "t.save",
        "--packets",
        "--write",
        "w.pcapng",
        "-o",
        "text",
        "-o",
        "json=d.json",
      ],
      (text) => text.includes("delivered"),
      capture,
    );
    expect(code).toBe(130);
    expect(stdout).toMatch(/1 packets in 1 flows;.*; interrupted\n$/);
    expect(JSON.parse(readFileSync(join(cwd, "d.json"), "utf8"))).toMatchObject({
      counts: { packets: 1 },
      interrupted: true,
    });
    expect(readCapture(readFileSync(join(cwd, "w.pcapng")), "w.pcapng").records).toHaveLength(1);
    expect(readdirSync(cwd).sort()).toEqual(["d.json", "t.save", "w.pcapng"]);
  });

  it("leaves nothing of a cluster that is not yet whole", async () => {
    const folder = folderWith("interrupt-generate", {});
    const args = [commandFile(), "generate", "--profile", "aks-max", "--out", "."];
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    const watcher = watch(folder).once("change", () => child.kill("SIGINT"));
    const [stderr, code] = await Promise.all([
      text(child.stderr),
      new Promise((resolve) => void child.on("close", resolve)),
    ]);
    watcher.close();
    expect(code).toBe(130);
    expect(stderr).toBe("podwire: stopped; nothing was written\n");
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("a reader that has seen enough", () => {
  it("leaves no half of another file behind", async () => {
    const folder = folderWith("interrupt-pipe", { "t.save": tables });
    writeFileSync(
      join(folder, "c.pcap"),
      Buffer.concat([pcapHeader(LinkType.raw), ...Array(2000).fill(record)]),
    );
    const line = `"${process.execPath}" "${commandFile()}" replay c.pcap --iptables t.save --packets --write w.pcapng | head -1`;
    expect(execFileSync("sh", ["-c", line], { cwd: folder, encoding: "utf8" })).toContain("delivered");
    expect(readdirSync(folder).sort()).toEqual(["c.pcap", "t.save"]);
  });

  it("ends the command without a word", async () => {
    const ended = await new Promise<Ended>((resolve, reject) => {
      const child = spawn(process.execPath, [commandFile(), "schema"], {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
      });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      child.stdout.destroy();
      child.on("error", reject);
      child.on("close", (code, signal) => resolve({ code, signal, stdout: "", stderr }));
    });
    expect(ended).toMatchObject({ code: 0, stderr: "" });
  });
});
